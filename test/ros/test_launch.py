"""The launch file against stand-ins for `launch` and `launch_ros`, which are not on PyPI.

Shows which arguments it declares and what it hands to the node; not that launch itself accepts it.
"""

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from spda_sam_ros.parameters import Settings

FILE = Path(__file__).parents[2] / "launch/segment.launch.py"


class Recorded(SimpleNamespace):
    def __init__(self, *args, **options):
        super().__init__(args=args, **options)


class LaunchConfiguration(Recorded):
    def perform(self, context):
        return context[self.args[0]]


@pytest.fixture
def description(monkeypatch):
    stand_ins = {
        "launch": ["LaunchContext", "LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument", "OpaqueFunction"],
        "launch.substitutions": ["LaunchConfiguration", "PathJoinSubstitution"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.substitutions": ["FindPackageShare"],
    }
    for module_name, names in stand_ins.items():
        module = ModuleType(module_name)
        for name in names:
            made = LaunchConfiguration if name == "LaunchConfiguration" else type(name, (Recorded,), {})
            setattr(module, name, made)
        monkeypatch.setitem(sys.modules, module_name, module)
    return runpy.run_path(str(FILE))["generate_launch_description"]().args[0]


def declared(description):
    return {entry.args[0]: entry.default_value for entry in description if entry.args}


def node_for(description, **given):
    (function,) = (entry.function for entry in description if hasattr(entry, "function"))
    texts = {name: value for name, value in declared(description).items() if isinstance(value, str)}
    (node,) = function({**texts, **given})
    return node


def test_it_has_the_arguments_that_a_robot_needs(description):
    assert {"image", "depth", "camera_info", "checkpoint", "device", "namespace"} <= set(declared(description))


def test_topics_are_remapped_and_stay_as_they_are_by_default(description):
    remapped = dict(node_for(description).remappings)
    assert remapped == {"image": "image", "depth": "depth", "camera_info": "camera_info"}
    assert all(declared(description)[topic] == topic for topic in remapped)
    assert dict(node_for(description, image="/cam/image_raw").remappings)["image"] == "/cam/image_raw"


@pytest.mark.parametrize("text", ["front,rov/port", " front, rov/port ,", "['front', 'rov/port']", "/front/,/rov/port"])
def test_a_list_of_cameras_reaches_one_node_with_topics_below_each_name(description, text):
    node = node_for(description, cameras=text, image="image_raw", camera_info="info")
    assert node.parameters[1] == {"cameras": ["front", "rov/port"]}
    assert Settings(cameras=tuple(node.parameters[1]["cameras"])).camera_names == ("front", "rov/port")
    assert dict(node.remappings) == {
        "front/image": "front/image_raw",
        "front/depth": "front/depth",
        "front/camera_info": "front/info",
        "rov/port/image": "rov/port/image_raw",
        "rov/port/depth": "rov/port/depth",
        "rov/port/camera_info": "rov/port/info",
    }


def test_one_topic_for_several_cameras_is_refused_with_what_to_give(description):
    with pytest.raises(ValueError, match=r"image is '/camera/image_raw', one topic for the cameras front, port: give"):
        node_for(description, cameras="front,port", image="/camera/image_raw")


def test_only_given_arguments_override_the_parameter_file(description):
    assert [type(p).__name__ for p in node_for(description).parameters] == ["LaunchConfiguration"]
    overrides = node_for(description, device="cuda:1", checkpoint="/models/a.safetensors").parameters[1]
    assert overrides == {"device": "cuda:1", "checkpoint": "/models/a.safetensors"}
    Settings(**overrides)


def test_truth_values_reach_the_node_as_such_for_a_parameter_that_is_one_takes_no_text(description):
    overrides = node_for(description, autostart="false", use_sim_time="True", tracking="true").parameters[1]
    assert overrides == {"autostart": False, "use_sim_time": True, "tracking": True}
    with pytest.raises(ValueError, match="autostart is 'off': give true or false"):
        node_for(description, autostart="off")


def test_what_the_node_advises_to_launch_with_can_be_given(description):
    overrides = node_for(description, image_transport="compressed", depth_transport="compressedDepth").parameters[1]
    assert (Settings(**overrides).image_transport, Settings(**overrides).depth_transport) == (
        "compressed",
        "compressedDepth",
    )


def test_a_log_level_is_handed_on_and_none_by_default(description):
    assert node_for(description).ros_arguments == []
    assert node_for(description, log_level="debug").ros_arguments == ["--log-level", "debug"]


PROFILE_VARIABLES = {"FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"}


@pytest.fixture
def bare_environment(monkeypatch):
    for variable in (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


@pytest.mark.usefixtures("bare_environment")
def test_fast_dds_gets_the_shipped_profile_under_both_of_its_names(description):
    given = node_for(description).additional_env
    assert set(given) == PROFILE_VARIABLES
    for path in given.values():
        share, *folders = path.args[0]
        assert (share.args[0], *folders) == ("spda_sam_ros", "config", "fastdds_large_images.xml")
        assert (FILE.parents[1] / Path(*folders)).is_file()


@pytest.mark.usefixtures("bare_environment")
def test_another_profile_or_none_can_be_asked_for(description, tmp_path):
    assert node_for(description, dds_profile="none").additional_env == {}
    mine = tmp_path / "dds.xml"
    with pytest.raises(ValueError, match=r"dds\.xml', no such file: give shipped, none, or the path"):
        node_for(description, dds_profile=str(mine))
    mine.touch()
    assert node_for(description, dds_profile=str(mine)).additional_env == dict.fromkeys(PROFILE_VARIABLES, str(mine))


@pytest.mark.parametrize("variable", [*sorted(PROFILE_VARIABLES), "FASTDDS_BUILTIN_TRANSPORTS"])
def test_what_the_environment_says_of_transports_stays(description, bare_environment, variable):
    bare_environment.setenv(variable, "LARGE_DATA")
    assert node_for(description).additional_env == {}


def test_it_starts_the_segment_executable_under_its_name(description):
    node = node_for(description)
    assert (node.package, node.executable, node.name) == ("spda_sam_ros", "segment", "spda_sam")
