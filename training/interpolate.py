"""What fine-tuning has learned, without what it has forgotten: weights between those before and those after it.

python -m training.interpolate tiny runs/mine/spda_sam_tiny.safetensors --held-back-of mine.yaml --output of.safetensors
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from training.data.dataset import CocoRgbdDataset
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
def interpolate(first: SpdaSamNetwork, second: SpdaSamNetwork, share: float) -> None:
    """Draw the weights of `first` towards those of `second`.

    Args:
        first: changed in place; statistics of batch normalisation are weights too.
        second: of the same configuration.
        share: of the way, in [0, 1].
    """
    theirs = second.state_dict()
    for name, tensor in first.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(theirs[name], share)


def measure_shares(
    first: str, second: str, shares: Sequence[float], validation: Mapping[str, CocoRgbdDataset]
) -> dict[float, dict[str, Any]]:
    """What `training.learning.validation.validate` says of each share of the way.

    Raises:
        CheckpointError: as `load_checkpoint`.
        ValueError: checkpoints of different models.
    """
    metrics = {}
    for share in shares:
        network, _ = between(first, second, share)
        metrics[share] = validate(SpdaSam(TorchRuntime(network)), validation)
        print(f"{share:5.2f}  {_line(metrics[share])}", flush=True)
    return metrics


def between(first: str, second: str, share: float) -> tuple[SpdaSamNetwork, CheckpointInfo]:
    """The model a share of the way, and what is known of the second checkpoint; raises as `measure_shares`."""
    network, info = load_checkpoint(first)
    target, target_info = load_checkpoint(second)
    differing = [
        field.name
        for field in dataclasses.fields(info.config)
        if getattr(info.config, field.name) != getattr(target_info.config, field.name)
    ]
    if differing:
        raise ValueError(
            f"{second} differs from {first} in {', '.join(differing)}: give two checkpoints of one model, of which the "
            "second began with the first"
        )
    interpolate(network, target, share)
    return network, target_info


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
    validation = open_training_data(load_train_config(options.held_back_of)).validation
    metrics = measure_shares(options.first, options.second, options.shares, validation)
    best = max(metrics, key=lambda share: metrics[share]["mask_ap"])
    network, info = between(options.first, options.second, best)
    before = load_checkpoint(options.first)[1]
    origin = {"first": before.sha256, "second": info.sha256, "share": best}
    terms = sorted({*before.terms, *info.terms})
    kept = {
        key: value for key, value in info.metadata.items() if key not in ("calibration", "thresholds", "calibrated_on")
    }
    metadata = {**kept, "metrics": metrics[best], "interpolated": origin, "terms": terms, "commit": current_commit()}
    save_checkpoint(options.output, network, metadata, base=info.base)
    print(f"{options.output}: {best:g} of the way; calibrate it before use")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
