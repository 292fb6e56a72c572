"""The import direction: the core knows neither ROS nor training, training knows no ROS."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROS = {"ament_index_python", "cv_bridge", "launch", "launch_ros", "message_filters", "rclpy", "tf2_ros"}
FORBIDDEN = {
    "spda_sam_core": ROS | {"spda_sam_ros", "training"},
    "training": ROS | {"spda_sam_ros"},
}


def imported_packages(source):
    """Return the top-level packages that a module imports, at its head or inside a function."""
    packages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            packages.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "importlib.import_module",
        ):
            packages |= {a.value.split(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    return packages


def violations(package, source):
    def forbidden(name):
        return name in FORBIDDEN[package] or name.endswith(("_msgs", "_interfaces", "_srvs"))

    return sorted(filter(forbidden, imported_packages(source)))


@pytest.mark.parametrize(
    ("package", "source", "expected"),
    [
        ("spda_sam_core", "import numpy, rclpy.node", ["rclpy"]),
        ("spda_sam_core", "def f():\n    from sensor_msgs.msg import Image", ["sensor_msgs"]),
        ("spda_sam_core", "import importlib\nimportlib.import_module('training.render')", ["training"]),
        ("spda_sam_core", "from std_srvs.srv import SetBool\nfrom . import model", ["std_srvs"]),
        ("training", "from spda_sam_ros import node\nfrom spda_sam_core import model", ["spda_sam_ros"]),
        ("training", "import spda_sam_core.depth.normalisation as training_depth", []),
    ],
)
def test_the_check_sees_imports_wherever_they_stand(package, source, expected):
    assert violations(package, source) == expected


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_module_imports_against_the_direction(package):
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    found = {str(m.relative_to(ROOT)): violations(package, m.read_text(encoding="utf-8")) for m in modules}
    assert {name: names for name, names in found.items() if names} == {}


WITHOUT_TORCH = (
    "spda_sam_core.config", "spda_sam_core.depth.normalisation", "spda_sam_core.preprocess",
    "spda_sam_core.results.draw",
    "spda_sam_core.results.instances", "spda_sam_core.results.metric", "spda_sam_core.results.postprocess",
    "spda_sam_core.runtimes.memory", "spda_sam_core.runtimes.runtime", "spda_sam_core.spda_sam", "spda_sam_ros.node",
    "spda_sam_ros.demo.camera", "spda_sam_ros.demo.recorder",
)  # fmt: skip


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_another_runtime_needs_imports_no_torch_nor_what_only_tracking_needs(module):
    if module.startswith("spda_sam_ros"):
        pytest.importorskip("rclpy")
    heavy = {"torch", "torchvision", "transformers", "scipy.optimize"}  # the last one for tracking alone
    code = f"import sys, {module}; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_core_runs_where_no_ros_is_installed():
    code = f"""
import sys
class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ROS | {"training"}!r} or name.endswith("_msgs"):
            raise ImportError(name)
sys.meta_path.insert(0, NoRos())
import importlib.util, pkgutil, spda_sam_core
optional = {{"spda_sam_core.runtimes.openvino": "openvino"}}
optional |= {{f"spda_sam_core.bags.{{name}}": "rosbags" for name in ("bag", "recording", "result_bag", "topics")}}
for module in pkgutil.walk_packages(spda_sam_core.__path__, "spda_sam_core."):
    if importlib.util.find_spec(optional.get(module.name, "sys")) is not None:
        __import__(module.name)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
