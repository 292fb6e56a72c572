"""The repository as a package in a colcon workspace."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COLCON = shutil.which("colcon", path=str(Path(sys.executable).parent)) or shutil.which("colcon")

pytestmark = pytest.mark.skipif(COLCON is None, reason="colcon is not installed")


def ignore_what_git_ignores(folder, names):
    made = {"build", "data", "demo_out", "install", "log", "runs"} if Path(folder) == ROOT else set()
    return {n for n in names if n in made or n.startswith(".") or n.endswith((".egg-info", "__pycache__"))}


@pytest.fixture(scope="module", params=["--merge-install", "--symlink-install"])
def prefix(request, tmp_path_factory):
    workspace = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT, workspace / "src/spda_sam_ros", ignore=ignore_what_git_ignores)
    command = [COLCON, "build", request.param]
    result = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 package finished" in result.stdout  # and not the message package that is for tests
    merged = request.param == "--merge-install"
    return workspace / "install" if merged else workspace / "install/spda_sam_ros"


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"}


@pytest.mark.parametrize("folder", ["launch", "config", "checkpoints"])
def test_launch_config_and_checkpoints_are_installed(prefix, folder):
    assert files(ROOT / folder) - {"COLCON_IGNORE"} == files(prefix / "share/spda_sam_ros" / folder) != set()


def test_ros_finds_the_package_and_its_executables(prefix):
    assert (prefix / "share/ament_index/resource_index/packages/spda_sam_ros").is_file()
    assert (prefix / "share/spda_sam_ros/package.xml").is_file()
    assert {p.name for p in (prefix / "lib/spda_sam_ros").iterdir()} == {
        "segment",
        "spda-sam",
        "camera",
        "recorder",
        "demo",
    }


def test_an_installed_executable_runs_in_the_environment_that_is_active(prefix):
    script = prefix / "lib/spda_sam_ros/recorder"
    if prefix.name == "install":  # --symlink-install writes the interpreter that colcon ran in
        assert script.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/env python3"
    environment = {**os.environ, "COLCON_CURRENT_PREFIX": str(prefix)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    result = subprocess.run(
        ["bash", "-c", f". {prefix}/share/spda_sam_ros/package.sh && {script} --help"],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "usage: recorder" in result.stdout
