"""The node from start to end: lifecycle, checkpoints that cannot be loaded, and what may change when."""

import shutil

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import picture

from spda_sam_core.weights.files import read_header


def image_only(header):
    return {"image": picture(header)}


def missing(_, folder):
    return folder / "nowhere.safetensors"


def truncated(good, folder):
    path = folder / "truncated.safetensors"
    path.write_bytes(good.read_bytes()[:-1000])
    return path


def no_checkpoint_at_all(_, folder):
    path = folder / "picture.safetensors"
    path.write_bytes(b"\x89PNG" + bytes(100))
    return path


BAD_CHECKPOINTS = {
    missing: "no such file: give the path of a .safetensors file, or 'tiny' for the shipped one",
    truncated: "bytes: copy or download the file again",
    no_checkpoint_at_all: "not a safetensors file (104 bytes): give a file written by training/train.py",
}


@pytest.mark.parametrize(
    "make", [missing, *(pytest.param(m, marks=pytest.mark.slow) for m in (truncated, no_checkpoint_at_all))]
)
def test_a_bad_checkpoint_fails_configure_with_path_and_fix_and_the_node_can_still_be_used(
    start, tiny_checkpoint, tmp_path, make
):
    bad = make(tiny_checkpoint, tmp_path)
    with start({"checkpoint": bad}) as (node, robot):
        status, values = robot.diagnostics(lambda s: s.level == DiagnosticStatus.ERROR, deadline_s=60)
        assert values["state"] == "unconfigured"
        assert str(bad) in status.message
        assert BAD_CHECKPOINTS[make] in status.message
        assert robot.state() == "unconfigured"
        assert robot.set_parameters(checkpoint=str(tiny_checkpoint)) == ""
        assert robot.transition("configure")
        assert robot.transition("activate")
        robot.segment(image_only)
        assert node.alive


def test_a_shipped_name_with_the_checkpoint_of_another_preset_behind_it_fails_configure(
    start, tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv("SPDA_SAM_CHECKPOINTS", str(tmp_path))
    shutil.copy(tiny_checkpoint, tmp_path / "spda_sam_base.safetensors")
    assert read_header(tiny_checkpoint)["preset"] == "tiny"
    with start({"checkpoint": "base"}) as (node, robot):
        status, _ = robot.diagnostics(lambda s: s.level == DiagnosticStatus.ERROR, deadline_s=60)
        assert str(tmp_path / "spda_sam_base.safetensors") in status.message
        assert "is for preset 'tiny', but 'base' was asked for" in status.message
        assert robot.state() == "unconfigured"
        assert node.alive


def test_a_base_without_trained_heads_fails_configure_with_the_remedy(start):
    with start({"checkpoint": "sam_vit_b"}) as (node, robot):
        status, _ = robot.diagnostics(lambda s: s.level == DiagnosticStatus.ERROR, deadline_s=60)
        assert "'sam_vit_b' is a pretrained base without trained heads" in status.message
        assert "config/train/fine_tune_sam.yaml" in status.message
        assert robot.state() == "unconfigured"
        assert node.alive


def test_lifecycle_there_and_back(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint, "autostart": "false"}) as (node, robot):
        assert robot.state() == "unconfigured"
        assert robot.transition("configure")
        assert robot.state() == "inactive"
        assert not robot.node.get_subscriptions_info_by_topic("/image")
        for _ in range(2):
            assert robot.transition("activate")
            robot.segment(image_only)
            assert robot.transition("deactivate")
        assert "while the model is loaded" in robot.set_parameters(checkpoint="other")
        assert robot.transition("cleanup")
        assert robot.state() == "unconfigured"
        assert robot.set_parameters(checkpoint="other") == ""
        assert not robot.transition("configure")
        assert robot.set_parameters(checkpoint=str(tiny_checkpoint)) == ""
        assert robot.transition("configure")
        assert node.stop() == 0


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"device": "gpu"}, "segment: device is 'gpu': choose auto, cpu, cuda or cuda:N"),
        ({"score_threshold": 1.5}, "score_threshold"),
        ({"depth_policy": "guess"}, "depth_policy is 'guess': choose from estimate, rgb_only, drop"),
    ],
)
def test_bad_start_up_parameters_end_the_node_with_code_2_and_the_reason(start, parameters, text):
    with start(parameters) as (node, _):
        assert node.process.wait(60) == 2
        assert text in node.log.read_text()
