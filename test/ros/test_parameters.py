"""What the parameter table accepts and refuses, and that its YAML file says the same."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from spda_sam_ros.parameters import Settings

REPOSITORY = Path(__file__).parents[2]
CLASSES = ("anode", "ship_hull")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"score_threshold": 1.5}, "score_threshold is 1.5: must be between 0.0 and 1.0"),
        ({"score_threshold": -0.1}, "must be between 0.0 and 1.0"),
        ({"score_threshold": float("nan")}, "score_threshold is nan"),
        ({"max_rate_hz": float("inf")}, "max_rate_hz is inf"),
        ({"max_age_s": -1.0}, "max_age_s is -1.0: must be between 0.0 and 3600.0"),
        ({"num_threads": 1000}, "num_threads is 1000: must be between 0 and 256"),
        ({"depth_policy": "guess"}, "depth_policy is 'guess': choose from estimate, rgb_only, drop"),
        ({"image_transport": "theora"}, "choose from raw, compressed"),
        ({"device": "gpu"}, "device is 'gpu': choose auto, cpu, cuda or cuda:N"),
        ({"checkpoint": ""}, "checkpoint is empty: give a preset name or a path"),
        ({"cameras": ("front", "/port")}, "cameras has '/port', which is no relative ROS name"),
        ({"cameras": ("2nd",)}, "not a digit first, such as front or rov/port"),
        ({"cameras": ("front", "port", "front")}, "cameras has 'front' 2 times: give each camera a name of its own"),
        ({"cameras": "front"}, "cameras is 'front': give a list of names, such as ['front', 'port']"),
    ],
)
def test_bad_values_are_refused_with_their_limits(changes, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        Settings(**changes)


def test_limits_belong_to_the_range():
    assert Settings(score_threshold=0.0).score_threshold == 0.0
    assert Settings(score_threshold=1.0, num_threads=256, device="cuda:1").device == "cuda:1"


def test_live_parameters_change_while_the_model_is_loaded():
    settings = Settings().changed({"score_threshold": 0.7, "class_filter": ["anode", ""]}, configured=True)
    assert settings.score_threshold == 0.7
    assert settings.wanted_classes == ("anode",)
    assert settings.changed({"class_filter": [""]}, configured=True).wanted_classes is None


@pytest.mark.parametrize("name", ["checkpoint", "device", "depth_estimator", "image_transport", "cameras"])
def test_others_are_refused_then_with_the_way_to_do_it(name):
    value = {"image_transport": "compressed", "device": "cpu", "cameras": ("front",)}.get(name, "other")
    with pytest.raises(ValueError, match="deactivate and clean up the node"):
        Settings().changed({name: value}, configured=True)
    assert getattr(Settings().changed({name: value}, configured=False), name) == value


def test_setting_the_value_that_is_there_is_no_change():
    assert Settings().changed({"checkpoint": "tiny"}, configured=True) == Settings()


def test_without_names_there_is_one_camera_that_has_none():
    for nothing in ((), ("",), ("", "")):
        assert Settings(cameras=nothing).camera_names == ("",)
    assert Settings(cameras=("front", "", "rov/port")).camera_names == ("front", "rov/port")


def test_a_change_is_all_or_nothing():
    settings = Settings()
    with pytest.raises(ValueError, match="depth_policy"):
        settings.changed({"score_threshold": 0.9, "depth_policy": "guess"}, configured=True)
    assert settings == Settings()


def test_parameters_of_others_are_ignored():
    assert Settings().changed({"use_sim_time": True}, configured=True) == Settings()


def test_the_class_filter_is_checked_against_the_model():
    Settings(class_filter=("anode", "")).check_classes(CLASSES)
    with pytest.raises(ValueError, match=r"unknown \['anod'\]: choose from anode, ship_hull"):
        Settings(class_filter=("anod", "ship_hull")).check_classes(CLASSES)


def test_the_yaml_file_lists_every_parameter_with_its_default():
    text = (REPOSITORY / "config/node.yaml").read_text(encoding="utf-8")
    listed = yaml.safe_load(text)["/**"]["ros__parameters"]
    defaults = {row.name: row.default for row in dataclasses.fields(Settings)}
    assert {name: tuple(v) if isinstance(v, list) else v for name, v in listed.items()} == defaults
    # ROS refuses a whole number where a double is declared
    assert {name: type(value) for name, value in listed.items() if not isinstance(value, list)} == {
        name: type(value) for name, value in defaults.items() if not isinstance(value, tuple)
    }
