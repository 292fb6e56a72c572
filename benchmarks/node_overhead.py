"""What the node adds to the network: milliseconds from the image message to the published results, less the network's.

taskset -c 0,1 python -m benchmarks.node_overhead
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, cast

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header
from tqdm import tqdm

from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.metric import Pinhole
from spda_sam_core.results.postprocess import postprocess
from spda_sam_core.runtimes.memory import keep_freed_memory
from spda_sam_core.runtimes.runtime import NetworkInfo, RawOutput
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_ros.messages.results import encode_image
from spda_sam_ros.outputs import Outputs
from spda_sam_ros.pairing import DepthPairing
from spda_sam_ros.parameters import Settings
from spda_sam_ros.segmenter import Frame, Segmented, Segmenter

INPUT_SIZE = 384
CLASSES = tuple(f"class_{i}" for i in range(11))
RADII = (60, 30, 20, 15, 12, 10, 8, 6, 5, 4, 3, 2)
"""Of the instances, in cells of four pixels of the network's input: one covers a quarter of the picture."""
DOUBLES = 4
PASTED = 20
"""Masks of the last row."""


class Replay:
    """A runtime that takes no time: its answer is made before."""

    info = NetworkInfo("replay", CLASSES, INPUT_SIZE, True, "")
    device = "cpu"

    def __init__(self, output: RawOutput) -> None:
        self._output = output

    def run(self, *_: NDArray[np.float32]) -> RawOutput:
        """The same for every image."""
        return self._output

    def facts(self) -> Mapping[str, str]:
        """None."""
        return {}

    def close(self) -> None:
        """Nothing to give back."""


def make_output(size_hw: tuple[int, int], radii: Sequence[int] = RADII, doubles: int = DOUBLES) -> RawOutput:
    """Ellipses of these sizes within the picture, and doubles of the first ones."""
    rng = np.random.default_rng(1)
    cells = INPUT_SIZE // 4
    height, width = (side / 4 for side in Letterbox(*size_hw, INPUT_SIZE).resized_hw)
    y, x = np.mgrid[0:cells, 0:cells].astype(np.float32)
    masks = [
        4 - 8 * np.hypot((x - rng.uniform(0, width)) / radius, (y - rng.uniform(0, height)) / (0.7 * radius))
        for radius in radii
    ]
    masks += [mask + 0.2 for mask in masks[:doubles]]
    n = len(masks)
    classes = np.full((n, len(CLASSES)), -6, np.float32)
    classes[np.arange(n), np.arange(n) % len(CLASSES)] = np.linspace(3, 1, n)
    return RawOutput(
        np.stack(masks).astype(np.float32)[None],
        classes[None],
        np.full((1, n), 0.9, np.float32),
        np.full((1, 1, cells, cells), 0.5, np.float32),
    )


def make_picture(size_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A picture and a depth in metres with noise, and holes in a fifth of it."""
    rng = np.random.default_rng(0)
    height, width = size_hw
    patches, holes = (
        cv2.resize(rng.random((45, 80, n)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for n in (3, 1)
    )
    depth_m = np.linspace(5, 1, height)[:, None] + rng.normal(0, 0.01, size_hw)
    depth_m[holes < 0.25] = 0
    return np.clip(patches * 255, 0, 255).astype(np.uint8), depth_m.astype(np.float32)


def finished(steps: Generator[float, None, Segmented]) -> Segmented:
    """The result of steps none of which has to wait."""
    try:
        wait_s = next(steps)
    except StopIteration as end:
        return cast(Segmented, end.value)
    raise RuntimeError(f"depth is there, and yet {wait_s:.3f} s are to be waited for it")


def measure(size_hw: tuple[int, int], rounds: int, *, with_depth: bool) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each stage and of all, one value per frame; the network takes none of it."""
    rgb, depth_m = make_picture(size_hw)
    camera = Pinhole(0.7 * size_hw[1], 0.7 * size_hw[1], size_hw[1] / 2, size_hw[0] / 2)
    node = LifecycleNode("node_overhead")
    outputs = Outputs(node, "~", lambda topic, problem: None)
    node.trigger_configure()
    node.trigger_activate()
    pairing = DepthPairing(lambda: None)
    segmenter = Segmenter(SpdaSam(Replay(make_output(size_hw))), pairing)
    measured: list[dict[str, float]] = []
    try:
        for i in tqdm(range(rounds + 5), desc="timing", unit="frame"):
            header = Header(stamp=node.get_clock().now().to_msg(), frame_id="camera")
            frame = Frame(encode_image(rgb, "rgb8", header), time.monotonic())
            if with_depth:
                pairing.add_depth(encode_image(depth_m, "32FC1", header))
            start = time.perf_counter()
            result = finished(segmenter.segment(frame, Settings(), now_ns=node.get_clock().now().nanoseconds))
            published: dict[str, Any] = outputs.publish(result, camera=camera if with_depth else None)
            total = (time.perf_counter() - start) * 1e3 - result.stage_ms["model"]
            stages = {name: ms for name, ms in result.stage_ms.items() if name != "model"}
            if i >= 5:  # the first ones warm up
                measured.append({**stages, "publish": published["stage.publish_ms"], "all": total})
    finally:
        node.destroy_node()
    return {name: np.array([each[name] for each in measured]) for name in measured[0]}


def measure_pasting(size_hw: tuple[int, int], rounds: int) -> NDArray[np.float64]:
    """Milliseconds from `PASTED` candidates, all to be kept, to masks and boxes at the size of the picture."""
    output = make_output(size_hw, [RADII[i % len(RADII)] for i in range(PASTED)], doubles=0)
    box = Letterbox(*size_hw, INPUT_SIZE)
    taken = []
    for i in range(rounds + 5):
        start = time.perf_counter()
        masks, classes, iou = output.mask_logits[0], output.class_logits[0], output.predicted_iou[0]
        found = postprocess(masks, classes, iou, letterbox=box, class_names=CLASSES, score_threshold=0.0)
        if i >= 5:
            taken.append((time.perf_counter() - start) * 1e3)
        assert len(found) == PASTED, f"{len(found)} of {PASTED} masks were pasted"
    return np.array(taken)


def main(arguments: list[str] | None = None) -> None:
    """Measure what the node adds to the network, and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog=f"Each frame has {len(RADII)} instances, from 6 to 250 pixels in radius at 1280x720, and {DOUBLES} "
        "doubles of them. No one subscribes to overlay and depth. Best on an idle machine.",
    )
    parser.add_argument("--rounds", type=int, default=200, help="frames (default: %(default)s)")
    parser.add_argument("--width", type=int, default=1280, help="of the image (default: %(default)s)")
    parser.add_argument("--height", type=int, default=720, help="of the image (default: %(default)s)")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    rclpy.init(args=[])
    try:
        print("| input | stage | p50 ms | p95 ms |\n|---|---|---|---|")
        for title, with_depth in (("RGB-D", True), ("RGB, depth estimated", False)):
            for stage, ms in measure((options.height, options.width), options.rounds, with_depth=with_depth).items():
                print(f"| {title} | {stage} | {np.median(ms):.2f} | {np.percentile(ms, 95):.2f} |", flush=True)
        ms = measure_pasting((options.height, options.width), options.rounds)
        print(f"| | postprocess of {PASTED} masks | {np.median(ms):.2f} | {np.percentile(ms, 95):.2f} |")
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
