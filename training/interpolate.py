r"""What fine-tuning has learned, without what it has forgotten: weights between those before and those after it.

python -m training.interpolate tiny runs/mine/spda_sam_tiny.safetensors --held-back-of mine.yaml \
    --output both.safetensors
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from training.data.training_data import open_training_data
from training.learning.run_files import current_commit
from training.learning.train_config import load_train_config
from training.learning.validation import validate
from training.one_line import errors_in_one_line

EPILOG = """\
Weights of two checkpoints, of which the second began with the first, are drawn a share of the way from the first (0) to
the second (1): Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, arXiv 2109.01903. In between, a
model often knows as much of the new pictures as the second, and as much of the old ones as the first.

Each share is measured on what the sets of the training hold back; the one with the highest mask AP, averaged over the
sets, is written. Hold back pictures of the old world too. Calibrate the result: python -m training.calibrate."""


@torch.no_grad()
def interpolate(
    network: SpdaSamNetwork, first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float
) -> None:
    """Give a network the weights a share of the way from the first to the second.

    Args:
        network: changed in place; what is not floating point stays as it is.
        first: weights by name, not those of `network` itself; statistics of batch normalisation are weights too.
        second: of the same configuration.
        share: of the way, in [0, 1].
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            torch.lerp(first[name], second[name], share, out=tensor)


def check_same_model(first: CheckpointInfo, second: CheckpointInfo) -> None:
    """Raises ValueError for checkpoints of different models."""
    differing = [
        field.name
        for field in dataclasses.fields(first.config)
        if getattr(first.config, field.name) != getattr(second.config, field.name)
    ]
    if differing:
        raise ValueError(
            f"{second.path} differs from {first.path} in {', '.join(differing)}: give two checkpoints of one model, of "
            "which the second began with the first"
        )


def _line(metrics: Mapping[str, Any]) -> str:
    sets = metrics.get("sets", {"val": metrics})
    return "   ".join(
        f"{name} {each['mask_ap']:.1f} (class-agnostic {each['mask_ap_agnostic']:.1f})" for name, each in sets.items()
    )


def main(arguments: list[str] | None = None) -> None:
    """Find the best weights between two checkpoints and write them."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", help="what training began with: a file, or the preset of a shipped checkpoint")
    parser.add_argument("second", help="what it ended with")
    parser.add_argument(
        "--held-back-of", type=Path, required=True, metavar="CONFIG", help="the training's configuration, for its sets"
    )
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0, 0.3, 0.5, 0.7, 1], help="default: 0 0.3 0.5 0.7 1"
    )
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint to write")
    options = parser.parse_args(arguments)
    outside = [share for share in options.shares if not 0 <= share <= 1]
    if outside:
        parser.error(f"--shares {outside[0]} must lie in [0, 1]: 0 is the first checkpoint, 1 the second")
    network, before = load_checkpoint(options.first)
    target, after = load_checkpoint(options.second)
    check_same_model(before, after)
    first, second = ({name: tensor.clone() for name, tensor in each.state_dict().items()} for each in (network, target))
    validation = open_training_data(load_train_config(options.held_back_of)).validation
    metrics = {}
    for share in options.shares:
        interpolate(network, first, second, share)
        metrics[share] = validate(SpdaSam(TorchRuntime(network)), validation)
        print(f"{share:5.2f}  {_line(metrics[share])}", flush=True)
    best = max(metrics, key=lambda share: metrics[share]["mask_ap"])
    interpolate(network, first, second, best)
    fitted = ("calibration", "thresholds", "calibrated_on")  # to the scores of the second
    metadata = {
        **{key: value for key, value in after.metadata.items() if key not in fitted},
        "metrics": metrics[best],
        "interpolated": {"first": before.sha256, "second": after.sha256, "share": best},
        "terms": sorted({*before.terms, *after.terms}),
        "commit": current_commit(),
    }
    save_checkpoint(options.output, network, metadata, base=after.base)
    print(f"{options.output}: {best:g} of the way; calibrate it before use")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
