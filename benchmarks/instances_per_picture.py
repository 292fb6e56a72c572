"""AP and time of checkpoints over K and L: how many proposals pass 1 draws, and how many masks pass 2 draws again.

python -m benchmarks.instances_per_picture tiny --k 24 40 100 --l 16 24 100
python -m benchmarks.instances_per_picture sea --data config/data/aquarium.yaml --depth none --k 20 100 --l 16 100
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import torch

from benchmarks.timing import median_ms
from benchmarks.torch_calls import changed
from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import load_checkpoint
from training.data.dataset import open_split
from training.measuring.measure import evaluate
from training.measuring.predict import DepthMode

Variant = tuple[str, int, int]
"""Checkpoint, K and L."""


@torch.inference_mode()
def times_ms(networks: Mapping[Variant, SpdaSamNetwork], rounds: int) -> dict[Variant, float]:
    """Median milliseconds of one picture."""

    def call(network: SpdaSamNetwork) -> Callable[[int], object]:
        side = network.config.input_size
        image = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8)
        depth = torch.rand(1, 1, side, side)
        return lambda _: network(image, depth, torch.ones_like(depth), torch.ones(1))

    return median_ms({variant: call(network) for variant, network in networks.items()}, rounds)


def main(arguments: list[str] | None = None) -> None:
    """Measure AP and time of checkpoints at several K on the CPU, and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog="Times are comparable within one run only, and best on an idle machine."
    )
    parser.add_argument("checkpoints", nargs="+", help="files, or presets of shipped ones")
    parser.add_argument("--data", type=Path, default=Path("config/data/rendered.yaml"), help="default: %(default)s")
    parser.add_argument("--split", default="val", help="of the data (default: val)")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures")
    parser.add_argument(
        "--depth", default="true", choices=get_args(DepthMode), help="what the network gets of it (default: true)"
    )
    parser.add_argument("--k", nargs="+", type=int, default=[16, 24, 100], help="default: 16 24 100")
    parser.add_argument("--l", nargs="+", type=int, default=[12, 16, 100], help="one for each K (default: 12 16 100)")
    parser.add_argument("--rounds", type=int, default=20, help="pictures that each time is the median of (default: 20)")
    options = parser.parse_args(arguments)
    networks: dict[Variant, SpdaSamNetwork] = {}
    for checkpoint in options.checkpoints:
        network, info = load_checkpoint(checkpoint)
        name = f"{info.path.parent.name}/{info.path.stem}"
        networks |= {
            (name, k, drawn): changed(network, num_proposals=k, num_instances=drawn)
            for k, drawn in zip(options.k, options.l, strict=True)
        }
    milliseconds = times_ms(networks, options.rounds)
    dataset = open_split(options.data, options.split, limit=options.limit)
    print("| checkpoint | K | L | mask AP | class-agnostic AP | AR@100 | ms per picture | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    first = next(iter(milliseconds.values()))
    for (name, k, drawn), network in networks.items():
        metrics = evaluate(SpdaSam(TorchRuntime(network)), dataset, options.depth)
        ms = milliseconds[name, k, drawn]
        scores = " | ".join(f"{metrics[key]:.1f}" for key in ("mask_ap", "mask_ap_agnostic", "mask_ar100_agnostic"))
        print(f"| {name} | {k} | {drawn} | {scores} | {ms:.0f} | {ms / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
