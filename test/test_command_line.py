"""`spda-sam`: which commands there are, what a mistake says, and what `predict` writes for a person."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from spda_sam_core import SpdaSam
from spda_sam_core.cli import doctor, main, predict
from spda_sam_core.cli.main import summary

HELD = "spda_sam_core.cli.main"


def run(*arguments: str) -> int:
    return main.main(arguments)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures with something to see, one of them in a sub-folder, and one that is none."""
    folder = tmp_path / "pictures"
    (folder / "dive 2").mkdir(parents=True)
    for i, name in enumerate(("a.png", "dive 2/b.jpg")):
        picture = np.full((120, 160, 3), (120, 80, 20), np.uint8)
        cv2.circle(picture, (60 + 20 * i, 60), 30, (20, 200, 240), -1)
        assert cv2.imwrite(str(folder / name), picture)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def test_every_command_is_listed_with_what_it_says_of_itself_and_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\nfrom spda_sam_core.cli.main import main\nmain(['--help'])\n"
        "sys.exit(sorted({'torch', 'matplotlib', 'pycocotools'} & set(sys.modules)) or 0)"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    for name in (
        "predict",
        "doctor",
        "engine",
        "weights",
        "train",
        "evaluate",
        "check",
        "calibrate",
        "export",
        "render",
        "survey",
    ):
        line = next(line for line in listed.stdout.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 3, line


def test_the_summary_is_the_first_line_of_the_docstring() -> None:
    assert summary(EntryPoint("predict", f"{predict.__name__}:main", main.GROUP)) == predict.main.__doc__


@pytest.mark.parametrize("entry", entry_points(group=main.GROUP), ids=lambda entry: entry.name)
def test_every_command_has_help_under_its_own_name(entry: EntryPoint, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        run(entry.name, "--help")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "usage:" in out
    assert "--help" in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["predikt"], 2, "there is no command 'predikt': choose from calibrate, "),
        (["predict", "nowhere", "--out", "out"], 1, "spda-sam predict: nowhere: no such file or folder"),
        (["predict", ".", "--out", "out", "--every", "2"], 1, "--every 2 is for videos"),
        (["train", "--config", "nowhere.yaml"], 1, "nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(arguments, status, message, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == status
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_traceback_shows_where_an_error_came_from(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        run(main.TRACEBACK, "predict", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))


def test_predict_writes_what_its_help_promises(pictures: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "found"
    arguments = ("predict", str(pictures), "--out", str(out), "--threshold", "0.05", "--for-labelling")
    assert run(*arguments) == predict.SKIPPED
    printed = capsys.readouterr().out
    assert "skipped" in printed
    assert "broken.jpg" in printed
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == {
        "overlays/a.jpg", "overlays/dive 2/b.jpg", "labels/a.png", "labels/dive 2/b.png", "coco.json", "results.json",
        "labelling.json", "contact_sheet.jpg",
    }  # fmt: skip
    coco, labelling = COCO(str(out / "coco.json")), COCO(str(out / "labelling.json"))
    assert [image["file_name"] for image in coco.dataset["images"]] == ["a.png", "dive 2/b.jpg"]
    assert coco.loadRes(str(out / "results.json")).getAnnIds() == coco.getAnnIds()
    model = SpdaSam.from_pretrained("tiny")
    rgb = cv2.cvtColor(cv2.imread(str(pictures / "a.png")), cv2.COLOR_BGR2RGB)
    expected = model.predict(rgb, score_threshold=0.05)
    found = coco.imgToAnns[1]
    assert len(found) == len(expected) > 0
    for annotation, mask, score in zip(found, expected.masks, expected.scores, strict=True):
        assert np.array_equal(coco.annToMask(annotation) > 0, mask)
        assert annotation["score"] == pytest.approx(float(score))
        assert annotation["area"] == mask.sum()
    label = cv2.imread(str(out / "labels/a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(label, expected.to_label_image())
    for annotation in labelling.dataset["annotations"]:
        assert "score" not in annotation
        assert all(len(polygon) >= 6 for polygon in annotation["segmentation"])


def test_what_an_earlier_run_found_is_not_written_over(pictures: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found/coco.json").write_text("mine", encoding="utf-8")
    assert run("predict", str(pictures), "--out", str(tmp_path / "found")) == main.FAILED
    assert "choose another --out" in capsys.readouterr().err
    assert (tmp_path / "found/coco.json").read_text(encoding="utf-8") == "mine"


def test_depth_beside_the_pictures_is_what_the_network_sees(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    depth_mm = np.full((120, 160), 3000, np.uint16)
    depth_mm[40:80, 40:80] = 1000
    (tmp_path / "depth/dive 2").mkdir(parents=True)
    assert cv2.imwrite(str(tmp_path / "depth/dive 2/b.png"), depth_mm)
    seen = {}
    real = SpdaSam.predict

    def spy(self, rgb, depth_m=None, **options):
        seen[len(seen)] = depth_m
        return real(self, rgb, depth_m, **options)

    monkeypatch.setattr(SpdaSam, "predict", spy)
    run("predict", str(pictures), "--depth", str(tmp_path / "depth"), "--out", str(tmp_path / "found"))
    assert seen[0] is None
    np.testing.assert_allclose(seen[1], depth_mm / 1000.0, rtol=1e-6)


def test_each_nth_frame_of_a_video_is_looked_at_under_its_number(tmp_path: Path, capsys) -> None:
    video = tmp_path / "dive.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for value in range(7):
        writer.write(np.full((120, 160, 3), 30 * value, np.uint8))
    writer.release()
    assert run("predict", str(video), "--every", "3", "--out", str(tmp_path / "found")) == 0
    images = json.loads((tmp_path / "found/coco.json").read_text(encoding="utf-8"))["images"]
    assert [image["file_name"] for image in images] == ["000000.jpg", "000003.jpg", "000006.jpg"]


def test_what_was_found_before_ctrl_c_is_kept(pictures: Path, tmp_path: Path) -> None:
    for i in range(300):
        (pictures / f"many_{i:03d}.png").write_bytes((pictures / "a.png").read_bytes())
    out = tmp_path / "found"
    command = [sys.executable, "-m", HELD, "predict", str(pictures), "--out", str(out)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that runs these tests in the background lets its children ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not (out / "labels/many_000.png").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == main.INTERRUPTED
    assert 0 < len(json.loads((out / "coco.json").read_text(encoding="utf-8"))["images"]) < 303


def test_the_doctor_names_what_is_broken_and_ends_with_its_status(monkeypatch, capsys) -> None:
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    for part in ("python", "torch", "gpu", "checkpoint tiny", "ROS 2", "vision_msgs"):
        assert part in said
    monkeypatch.setenv("SPDA_SAM_CHECKPOINTS", "/nowhere")
    monkeypatch.setattr(doctor, "version_of", lambda _: "1")
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: ast.literal_eval("1/0"))
    assert doctor.main([]) == 1
    assert "BROKEN" in capsys.readouterr().out
