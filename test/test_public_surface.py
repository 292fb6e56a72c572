"""What users build on: names of executables, topics and types, parameters, message fields, the version."""

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import distribution
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ElementTree.parse(ROOT / "package.xml")

PARAMETERS = {
    "autostart", "backend", "cameras", "checkpoint", "class_filter", "depth_estimator", "depth_policy", "depth_slop_s",
    "depth_transport", "depth_wait_s", "device", "image_transport", "max_age_s", "max_rate_hz", "num_threads",
    "overlay", "score_threshold", "tracking",
}  # fmt: skip

SHOW_TOPICS = """
import rclpy, sys
from spda_sam_ros import node as module
class Runtime:
    device = "cpu"
    def facts(self): return {"backend": "none"}
    def close(self): pass
class SpdaSam:
    class_names, preset, checkpoint_sha256, input_size = ("anode",), "tiny", "0" * 64, 384
    runtime, terms, backend_reason = Runtime(), (), ""
    from_pretrained = classmethod(lambda cls, *a, **k: cls())
    def warm_up(self): pass
module.SpdaSam = SpdaSam
rclpy.init()
node = module.SpdaSamNode(lambda: False)
assert node.trigger_configure() == module.TransitionCallbackReturn.SUCCESS
assert node.trigger_activate() == module.TransitionCallbackReturn.SUCCESS
for kind, of in (("pub", node.get_publisher_names_and_types_by_node),
                 ("sub", node.get_subscriber_names_and_types_by_node),
                 ("srv", node.get_service_names_and_types_by_node)):
    for name, types in of("spda_sam", "/"):
        print(kind, name, *types)
node.trigger_shutdown()
"""


def test_the_version_is_that_of_package_xml():
    assert distribution("spda_sam_ros").version == MANIFEST.findtext("version")


def test_the_executables_exist():
    scripts = [e for e in distribution("spda_sam_ros").entry_points if e.group == "console_scripts"]
    assert {e.name for e in scripts} == {"segment", "camera", "recorder", "demo", "spda-sam"}
    for script in scripts:
        assert not [p for p in inspect.signature(script.load()).parameters.values() if p.default is p.empty], (
            f"{script.name} is called without arguments"
        )


@pytest.mark.parametrize("name", ["demo.camera", "demo.recorder", "demo"])
def test_help_names_the_options_that_the_readme_uses(name):
    command = [sys.executable, "-m", f"spda_sam_ros.{name}", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    wanted = {
        "demo.camera": ["--source", "--rate"],
        "demo.recorder": ["--out", "--duration"],
        "demo": ["--source", "--out"],
    }
    assert not [option for option in wanted[name] if option not in text]


def topics_shown(code):
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines())


def test_topics_and_services_have_their_names_and_types():
    assert topics_shown(SHOW_TOPICS) >= {
        "pub /spda_sam/instances sensor_msgs/msg/Image",
        "pub /spda_sam/detections vision_msgs/msg/Detection2DArray",
        "pub /spda_sam/detections_3d vision_msgs/msg/Detection3DArray",
        "pub /spda_sam/label_info vision_msgs/msg/LabelInfo",
        "pub /spda_sam/measurements sensor_msgs/msg/PointCloud2",
        "pub /spda_sam/overlay sensor_msgs/msg/Image",
        "pub /spda_sam/depth sensor_msgs/msg/Image",
        "pub /diagnostics diagnostic_msgs/msg/DiagnosticArray",
        "sub /image sensor_msgs/msg/Image",
        "sub /depth sensor_msgs/msg/Image",
        "sub /camera_info sensor_msgs/msg/CameraInfo",
        "srv /spda_sam/enable std_srvs/srv/SetBool",
        "srv /spda_sam/segment std_srvs/srv/Trigger",
    }


def test_annotations_are_published_where_foxglove_msgs_is_installed():
    pytest.importorskip("foxglove_msgs.msg")
    assert "pub /spda_sam/annotations foxglove_msgs/msg/ImageAnnotations" in topics_shown(SHOW_TOPICS)


def test_without_foxglove_msgs_there_is_everything_else():
    hidden = "import sys; sys.modules['foxglove_msgs'] = sys.modules['foxglove_msgs.msg'] = None\n"
    lines = topics_shown(hidden + SHOW_TOPICS)
    assert not [line for line in lines if "annotations" in line]
    assert "pub /spda_sam/overlay sensor_msgs/msg/Image" in lines


def test_parameters_have_their_names():
    parameters = pytest.importorskip("spda_sam_ros.parameters")
    assert {row.name for row in fields(parameters.Settings)} == PARAMETERS


def test_the_shipped_configuration_sets_known_parameters_to_their_defaults():
    parameters = pytest.importorskip("spda_sam_ros.parameters")
    (node,) = yaml.safe_load((ROOT / "config/node.yaml").read_text(encoding="utf-8")).values()
    defaults = {
        r.name: list(r.default) if isinstance(r.default, tuple) else r.default for r in fields(parameters.Settings)
    }
    shipped = node["ros__parameters"]
    assert {name: defaults.get(name) for name in shipped} == shipped


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Point2D", {"x": "double", "y": "double"}),
        ("Pose2D", {"position": "vision_msgs/Point2D", "theta": "double"}),
        ("BoundingBox2D", {"center": "vision_msgs/Pose2D", "size_x": "double", "size_y": "double"}),
        ("ObjectHypothesis", {"class_id": "string", "score": "double"}),
        (
            "ObjectHypothesisWithPose",
            {"hypothesis": "vision_msgs/ObjectHypothesis", "pose": "geometry_msgs/PoseWithCovariance"},
        ),
        (
            "Detection2D",
            {
                "header": "std_msgs/Header",
                "results": "sequence<vision_msgs/ObjectHypothesisWithPose>",
                "bbox": "vision_msgs/BoundingBox2D",
                "id": "string",
            },
        ),
        (
            "Detection2DArray",
            {"header": "std_msgs/Header", "detections": "sequence<vision_msgs/Detection2D>"},
        ),
        ("BoundingBox3D", {"center": "geometry_msgs/Pose", "size": "geometry_msgs/Vector3"}),
        (
            "Detection3D",
            {
                "header": "std_msgs/Header",
                "results": "sequence<vision_msgs/ObjectHypothesisWithPose>",
                "bbox": "vision_msgs/BoundingBox3D",
                "id": "string",
            },
        ),
        (
            "Detection3DArray",
            {"header": "std_msgs/Header", "detections": "sequence<vision_msgs/Detection3D>"},
        ),
        ("VisionClass", {"class_id": "uint16", "class_name": "string"}),
        (
            "LabelInfo",
            {
                "header": "std_msgs/Header",
                "class_map": "sequence<vision_msgs/VisionClass>",
                "threshold": "float",
            },
        ),
    ],
)
def test_vision_msgs_have_the_fields_of_version_4_in_their_order(name, expected):
    msg = pytest.importorskip("vision_msgs.msg")
    actual = getattr(msg, name).get_fields_and_field_types()
    assert list(actual.items()) == list(expected.items())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Point2", {"x": "double", "y": "double"}),
        ("Color", dict.fromkeys("rgba", "double")),
        (
            "PointsAnnotation",
            {
                "timestamp": "builtin_interfaces/Time",
                "type": "uint8",
                "points": "sequence<foxglove_msgs/Point2>",
                "outline_color": "foxglove_msgs/Color",
                "outline_colors": "sequence<foxglove_msgs/Color>",
                "fill_color": "foxglove_msgs/Color",
                "thickness": "double",
            },
        ),
        (
            "TextAnnotation",
            {
                "timestamp": "builtin_interfaces/Time",
                "position": "foxglove_msgs/Point2",
                "text": "string",
                "font_size": "double",
                "text_color": "foxglove_msgs/Color",
                "background_color": "foxglove_msgs/Color",
            },
        ),
    ],
)
def test_foxglove_msgs_have_the_fields_that_all_versions_3_have_in_their_order(name, expected):
    msg = pytest.importorskip("foxglove_msgs.msg")
    actual = getattr(msg, name).get_fields_and_field_types()
    assert {field: kind for field, kind in actual.items() if field != "metadata"} == expected  # later versions add it
    assert list(actual)[: len(expected)] == list(expected)


def test_every_ros_package_that_the_code_imports_is_declared():
    declared = {e.text for e in MANIFEST.findall("exec_depend")}
    optional = {"foxglove_msgs"}
    assert all(name in (ROOT / "package.xml").read_text(encoding="utf-8") for name in optional)
    sources = [*(ROOT / "spda_sam_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    text = "\n".join(p.read_text(encoding="utf-8") for p in sources)
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    ros = {
        name
        for name in imported
        if re.fullmatch(r"rclpy|launch\w*|ament_\w+|cv_bridge|\w+_(msgs|srvs|interfaces)", name)
    }
    assert ros <= declared | optional
