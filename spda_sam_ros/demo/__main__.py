"""The whole path in a minute: a camera, the node and a recorder, three processes on one DDS graph.

For instance
    demo                                # the rendered world, true depth
    demo --source my_pictures/          # a folder, a video file or /dev/video0, estimated depth
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

from spda_sam_core.weights.files import CheckpointError, read_header
from spda_sam_core.weights.find import find_checkpoint
from spda_sam_ros.demo.children import ChildDied, Children, ChildSpec
from spda_sam_ros.demo.frame_sources import SourceError, open_source, rendered_frames
from spda_sam_ros.lost_messages import PROFILE_VARIABLES, shipped_profile

_SEED = 7
_FRAMES = 150


def _specs(options: argparse.Namespace) -> list[ChildSpec]:
    """Return recorder, node and camera. The camera starts when the other two have subscribed to it."""
    python = [sys.executable, "-m"]
    camera = [*python, "spda_sam_ros.demo.camera", "--rate", str(options.rate), "--subscribers", "2"]
    if options.source is None:
        camera += ["--seed", str(_SEED), "--frames", str(_FRAMES)]
    else:
        camera += ["--source", options.source]
    node = [*python, "spda_sam_ros.node"]
    if options.checkpoint is not None:
        node += ["--ros-args", "-p", f"checkpoint:={options.checkpoint}"]
    recorder = [
        *python,
        "spda_sam_ros.demo.recorder",
        "--out",
        str(options.out),
        "--duration",
        str(options.duration),
    ]
    logs = options.out / "logs"
    return [
        ChildSpec("recorder", recorder),
        ChildSpec("node", node, logs / "node.log"),
        ChildSpec("camera", camera, logs / "camera.log"),
    ]


def environment() -> dict[str, str]:
    """Return an environment in which processes share a DDS graph of their own.

    It spans this machine only, has a domain that no one else is likely to use, and passes large images; what
    the caller has set of these stays.
    """
    variables = dict(os.environ)
    variables.setdefault("ROS_DOMAIN_ID", str(random.randint(1, 101)))  # above, ports may be taken on Linux
    if variables.get("ROS_DISTRO") == "humble":
        variables["ROS_LOCALHOST_ONLY"] = "1"
    else:
        variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    for variable in PROFILE_VARIABLES:
        variables.setdefault(variable, str(shipped_profile()))
    return variables


def run(specs: list[ChildSpec], variables: dict[str, str]) -> int:
    """Run the children until the one named recorder ends.

    Returns:
        The recorder's exit code; 1 if another child died before.
    """
    try:
        with Children(specs, environment=variables) as children:
            code = children.wait_for("recorder")
            if code:
                print(f"demo: no result.{children.log_tail('node')}", file=sys.stderr)
            return code
    except ChildDied as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def main(arguments: list[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0, 1 when no mask arrived or a process died, 2 when source or checkpoint cannot be opened, 130 on Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="demo", description="Camera, node and recorder for a minute.")
    parser.add_argument("--source", help="folder, video file or /dev/video* (default: the rendered world)")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds to record (default: 60)")
    parser.add_argument("--rate", type=float, default=5.0, help="frames per second (default: 5)")
    parser.add_argument("--checkpoint", help="checkpoint of the node (default: the one it comes with)")
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder (default: demo_out)")
    options = parser.parse_args(arguments)
    try:
        # here, because the node says what it lacks in its log only, and the recorder would wait for its masks
        read_header(find_checkpoint(options.checkpoint or "tiny"))
        # here, with its progress bar, and not in the camera process, whose output goes to a log
        next(rendered_frames(_SEED, _FRAMES) if options.source is None else open_source(options.source))
        return run(_specs(options), environment())
    except (CheckpointError, SourceError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
