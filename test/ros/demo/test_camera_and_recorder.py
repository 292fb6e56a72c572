"""Camera, a stand-in for the node, and recorder, as processes on a DDS graph of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from spda_sam_ros.demo import __main__ as demo
from spda_sam_ros.demo.children import Children, ChildSpec

ECHO = str(Path(__file__).parents[1] / "echo_node.py")

LISTENER = """
import sys, time, rclpy, numpy as np
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
rclpy.init()
node = rclpy.create_node("listener")
got = {"image": [], "depth": [], "camera_info": []}
for topic, kind in [("image", Image), ("depth", Image), ("camera_info", CameraInfo)]:
    node.create_subscription(kind, topic, lambda m, t=topic: got[t].append(m), qos_profile_sensor_data)
until = time.monotonic() + 20
while time.monotonic() < until and len(got["image"]) < 3:
    rclpy.spin_once(node, timeout_sec=0.1)
until = time.monotonic() + 0.5
while time.monotonic() < until:
    rclpy.spin_once(node, timeout_sec=0.1)
now = node.get_clock().now().nanoseconds
"""


@pytest.fixture
def environment():
    return demo.environment() | {"ROS_DOMAIN_ID": str(os.getpid() % 100 + 1)}


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        bgr = np.full((48, 64, 3), (30, 60 * i, 200), np.uint8)
        assert cv2.imwrite(str(folder / f"{i}.png"), bgr)
    return folder


def listen(environment, camera_arguments, checks):
    camera = [sys.executable, "-m", "spda_sam_ros.demo.camera", *camera_arguments]
    with Children([ChildSpec("camera", camera)], environment=environment):
        command = [sys.executable, "-c", LISTENER + checks]
        return subprocess.run(command, env=environment, timeout=60, check=False).returncode


def test_pictures_come_out_as_rgb8_with_the_time_of_now_and_no_depth(environment, pictures):
    checks = """
m = got["image"][0]
assert (m.encoding, m.height, m.width, m.step, m.is_bigendian) == ("rgb8", 48, 64, 192, 0)
rgb = np.frombuffer(m.data, np.uint8).reshape(48, 64, 3)
assert (rgb[..., 0] == 200).all() and (rgb[..., 2] == 30).all(), rgb[0, 0]
assert m.header.frame_id == "camera_optical_frame"
age = now - (m.header.stamp.sec * 10**9 + m.header.stamp.nanosec)
assert 0 < age < 25e9
stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in got["image"]]
assert all(80e6 < b - a < 400e6 for a, b in zip(stamps, stamps[1:])), stamps
assert not got["depth"] and not got["camera_info"]
"""
    assert listen(environment, ["--source", str(pictures), "--rate", "10"], checks) == 0


def test_the_rendered_world_comes_with_metric_depth_and_calibration_of_the_same_stamp(environment, tmp_path):
    checks = """
by = {t: {(m.header.stamp.sec, m.header.stamp.nanosec): m for m in got[t]} for t in got}
stamp = next(s for s in by["image"] if s in by["depth"] and s in by["camera_info"])
depth, info = by["depth"][stamp], by["camera_info"][stamp]
assert (depth.encoding, depth.height, depth.width, depth.step) == ("32FC1", 480, 640, 2560)
metres = np.frombuffer(depth.data, np.float32)
assert 0.1 < np.nanmedian(metres) < 20
assert (info.height, info.width) == (480, 640)
assert info.k[0] > 100 and info.k[8] == 1 and info.p[0] == info.k[0]
"""
    assert listen(environment, ["--frames", "2", "--rate", "10", "--cache", str(tmp_path)], checks) == 0


def test_the_camera_waits_for_its_subscribers(environment, pictures):
    command = [sys.executable, "-m", "spda_sam_ros.demo.camera", "--source", str(pictures), "--subscribers", "2"]
    with Children([ChildSpec("camera", command)], environment=environment):
        silent = LISTENER.replace("+ 20", "+ 3") + "assert not got['image']\n"
        code = subprocess.run([sys.executable, "-c", silent], env=environment, timeout=60, check=False).returncode
    assert code == 0


def test_a_bad_source_ends_the_camera_with_code_2_and_the_reason(environment):
    command = [sys.executable, "-m", "spda_sam_ros.demo.camera", "--source", "/no/such/folder"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("camera: source '/no/such/folder' does not exist")


def specs(out, pictures, every):
    python = [sys.executable, "-m"]
    camera = [*python, "spda_sam_ros.demo.camera", "--source", str(pictures), "--subscribers", "2", "--rate", "10"]
    recorder = [*python, "spda_sam_ros.demo.recorder", "--out", str(out), "--duration", "3", "--timeout", "30"]
    return [
        ChildSpec("recorder", [*recorder, "--pictures", "5"]),
        ChildSpec("node", [sys.executable, ECHO, str(every)], out / "node.log"),
        ChildSpec("camera", camera, out / "camera.log"),
    ]


def test_a_run_leaves_summary_overlays_and_contact_sheet(environment, pictures, tmp_path):
    out = tmp_path / "out"
    began = time.monotonic()
    assert demo.run(specs(out, pictures, every=1), environment) == 0
    assert time.monotonic() - began < 40
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == [
        "frames_in", "frames_out", "dropped", "latency_ms_p50", "latency_ms_p95", "fps", "instances",
    ]  # fmt: skip
    assert 24 <= summary["frames_in"] <= 33
    assert summary["frames_out"] + summary["dropped"] == summary["frames_in"]
    assert summary["dropped"] <= 3
    assert summary["instances"] == {"ship_hull": summary["frames_out"], "anode": summary["frames_out"]}
    assert 0 < summary["latency_ms_p50"] <= summary["latency_ms_p95"] < 2000
    assert summary["fps"] == pytest.approx(10, abs=2)
    overlays = sorted((out / "overlays").iterdir())
    assert len(overlays) == 5
    assert cv2.imread(str(overlays[0])).shape == (48, 64, 3)
    assert cv2.imread(str(out / "contact_sheet.png")).size > 5 * 48 * 64


def test_a_full_disk_ends_the_recorder_with_code_1_and_what_it_counted(environment, pictures, tmp_path, capfd):
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").symlink_to("/dev/full")
    assert demo.run(specs(out, pictures, every=1), environment) == 1
    said = capfd.readouterr()
    assert f"recorder: not all of {out} could be written ([Errno 28] No space left on device): free space" in said.err
    assert "ship_hull" in said.out
    assert "wrote" not in said.out


def test_frames_which_the_node_leaves_out_are_counted_as_dropped(environment, pictures, tmp_path):
    out = tmp_path / "out"
    assert demo.run(specs(out, pictures, every=3), environment) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_out"] == pytest.approx(summary["frames_in"] / 3, abs=2)
    assert summary["dropped"] == summary["frames_in"] - summary["frames_out"]


def test_large_images_all_arrive(environment, tmp_path):
    big = tmp_path / "big"
    big.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    assert cv2.imwrite(str(big / "0.bmp"), noise)
    out = tmp_path / "out"
    assert demo.run(specs(out, big, every=1), environment) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_in"] >= 15
    assert summary["dropped"] <= 0.1 * summary["frames_in"]
