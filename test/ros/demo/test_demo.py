import json
import os
import signal
import subprocess
import sys
import time

import pytest

from spda_sam_ros.demo import __main__ as demo
from spda_sam_ros.demo.children import ChildDied, Children, ChildSpec


def python(name, code, log=None):
    return ChildSpec(name, [sys.executable, "-c", code], log)


def sleeper(name, pid_file, log=None):
    code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    return python(name, code, log)


def pid_in(file, deadline_s=10.0):
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if file.exists() and file.read_text():
            return int(file.read_text())
        time.sleep(0.02)
    raise AssertionError(f"no process wrote {file}")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("code", [0, 1])
def test_the_demo_ends_as_its_recorder_ends_and_takes_the_others_along(tmp_path, code):
    specs = [
        python("recorder", f"import time; time.sleep(0.5); raise SystemExit({code})"),
        sleeper("node", tmp_path / "pid", tmp_path / "node.log"),
    ]
    assert demo.run(specs, dict(os.environ)) == code
    assert not is_alive(pid_in(tmp_path / "pid"))


def test_the_log_of_the_node_is_shown_when_no_mask_arrived(tmp_path, capsys):
    specs = [
        python("recorder", "import time; time.sleep(0.5); raise SystemExit(1)"),
        python("node", "print('no such file', flush=True); import time; time.sleep(60)", tmp_path / "log"),
    ]
    assert demo.run(specs, dict(os.environ)) == 1
    assert "no such file" in capsys.readouterr().err


def test_a_child_that_dies_fails_the_demo_with_its_name_code_and_last_words(tmp_path, capsys):
    specs = [
        sleeper("recorder", tmp_path / "pid", tmp_path / "recorder.log"),
        python("camera", "import time; time.sleep(0.5); raise SystemExit('lens cap on')", tmp_path / "camera.log"),
    ]
    assert demo.run(specs, dict(os.environ)) == 1
    assert not is_alive(pid_in(tmp_path / "pid"))
    error = capsys.readouterr().err
    assert "camera ended with exit code 1" in error
    assert "lens cap on" in error


def test_children_of_a_demo_in_the_background_of_a_shell_end_at_once(tmp_path):
    """A shell lets what it starts with `&` ignore SIGINT, and that is inherited."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Children([sleeper("node", tmp_path / "pid")], environment=dict(os.environ), grace_s=30):
            pid = pid_in(tmp_path / "pid")
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert not is_alive(pid)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_child_that_ignores_the_interrupt_is_killed(tmp_path):
    code = (
        "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    with Children([python("stubborn", code)], environment=dict(os.environ), grace_s=0.3):
        pid = pid_in(tmp_path / "pid")
    assert not is_alive(pid)


def test_no_child_is_left_when_one_cannot_be_started(tmp_path):
    specs = [sleeper("first", tmp_path / "pid"), ChildSpec("second", ["/no/such/program"])]
    with pytest.raises(FileNotFoundError), Children(specs, environment=dict(os.environ)):
        pass
    assert not (tmp_path / "pid").exists() or not is_alive(pid_in(tmp_path / "pid"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_children_do_not_outlive_a_killed_parent(tmp_path):
    parent = (
        "import os, sys, time; from spda_sam_ros.demo.children import Children, ChildSpec\n"
        f"spec = ChildSpec('child', {sleeper('child', tmp_path / 'pid').command!r})\n"
        "with Children([spec], environment=dict(os.environ)):\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        pid = pid_in(tmp_path / "pid")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_waiting_for_a_child_notices_another_one_that_ended_well(tmp_path):
    specs = [sleeper("recorder", tmp_path / "pid"), python("camera", "pass")]
    with Children(specs, environment=dict(os.environ)) as children:
        with pytest.raises(ChildDied, match="camera ended with exit code 0"):
            children.wait_for("recorder")


def test_a_bad_source_ends_the_demo_before_anything_is_started(tmp_path, capsys):
    assert demo.main(["--source", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_checkpoint_ends_the_demo_before_anything_is_started(tmp_path, capsys):
    missing = tmp_path / "none.safetensors"
    assert demo.main(["--checkpoint", str(missing), "--out", str(tmp_path / "out")]) == 2
    assert f"{missing}: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_recorder_that_hears_nothing_fails_and_says_what_to_look_at(tmp_path):
    environment = demo.environment() | {"ROS_DOMAIN_ID": str(os.getpid() % 100 + 1)}
    command = [sys.executable, "-m", "spda_sam_ros.demo.recorder", "--out", str(tmp_path), "--timeout", "1"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "no mask in 0 label images for 0 images" in result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames_in"] == summary["frames_out"] == 0
    assert not (tmp_path / "contact_sheet.png").exists()
