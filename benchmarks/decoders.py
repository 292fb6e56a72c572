"""AP and time of checkpoints over K, the number of instances that are decoded in each picture.

python -m benchmarks.decoders --data config/data/rendered.yaml runs/ablation/full-0/*.safetensors \
    runs/ablation/per_prompt-0/*.safetensors
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks.timing import median_ms
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import load_checkpoint
from training.data.dataset import open_split
from training.measuring.measure import evaluate

Variant = tuple[str, int]
"""Checkpoint and K."""


def with_k(network: SpdaSamNetwork, k: int) -> SpdaSamNetwork:
    """The same weights, K instances per picture."""
    changed = build_network(dataclasses.replace(network.config, num_proposals=k))
    changed.load_state_dict(network.state_dict())
    return changed.eval()


@torch.inference_mode()
def times_ms(networks: Mapping[Variant, SpdaSamNetwork], rounds: int) -> dict[Variant, float]:
    """Median milliseconds of one picture."""

    def call(network: SpdaSamNetwork) -> Callable[[int], object]:
        side = network.config.input_size
        image, depth = torch.randn(1, 3, side, side), torch.rand(1, 1, side, side)
        return lambda _: network(image, depth, torch.ones_like(depth))

    return median_ms({variant: call(network) for variant, network in networks.items()}, rounds)


def main(arguments: list[str] | None = None) -> None:
    """Measure AP and time of checkpoints at several K on the CPU, and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog="Times are comparable within one run only, and best on an idle machine."
    )
    parser.add_argument("checkpoints", nargs="+", type=Path, help="files of training/train.py")
    parser.add_argument("--data", type=Path, default=Path("config/data/rendered.yaml"), help="default: %(default)s")
    parser.add_argument("--split", default="val", help="of the data (default: val)")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures")
    parser.add_argument("--k", nargs="+", type=int, default=[10, 30, 100], help="default: 10 30 100")
    parser.add_argument("--rounds", type=int, default=20, help="pictures that each time is the median of (default: 20)")
    options = parser.parse_args(arguments)
    networks: dict[Variant, SpdaSamNetwork] = {}
    for path in options.checkpoints:
        network, _ = load_checkpoint(path)
        name = f"{network.config.decoder} ({path.parent.name})"
        networks |= {(name, k): with_k(network, k) for k in options.k}
    milliseconds = times_ms(networks, options.rounds)
    dataset = open_split(options.data, options.split, limit=options.limit)
    print("| decoder | K | mask AP | class-agnostic AP | ms per picture | ratio |\n|---|---|---|---|---|---|")
    first = next(iter(milliseconds.values()))
    for (name, k), network in networks.items():
        metrics = evaluate(SpdaSam(TorchRuntime(network)), dataset, "true" if network.config.use_depth else "none")
        ms = milliseconds[name, k]
        ap, agnostic = metrics["mask_ap"], metrics["mask_ap_agnostic"]
        print(f"| {name} | {k} | {ap:.1f} | {agnostic:.1f} | {ms:.0f} | {ms / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
