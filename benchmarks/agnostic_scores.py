"""What to rank by where the name of a thing does not matter: class probability, predicted quality of the box, or both?

A thing that no set labels gets a low class probability everywhere; the quality of its box is not taught to be low (OLN,
Kim et al., RA-L 2022).

python -m benchmarks.agnostic_scores sea --data config/data/aquarium.yaml config/data/deepfish.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.network.proposals import Proposals
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import load_checkpoint
from training.data.dataset import open_split
from training.measuring.measure import evaluate


def by_class(proposals: Proposals) -> Tensor:
    """(B, N, 1) logits of the best class."""
    return proposals.class_logits.amax(dim=2, keepdim=True)


def by_quality(proposals: Proposals) -> Tensor:
    """(B, N, 1) logits of the quality of the box."""
    return proposals.quality_logits


def by_both(proposals: Proposals) -> Tensor:
    """(B, N, 1) logits of the geometric mean of both probabilities."""
    both = (by_class(proposals).double().sigmoid() * by_quality(proposals).double().sigmoid()).sqrt()
    return torch.logit(both, eps=1e-9).float()


RANKINGS: dict[str, Callable[[Proposals], Tensor]] = {
    "class": by_class,
    "quality of the box": by_quality,
    "both": by_both,
}


@contextmanager
def ranked(network: SpdaSamNetwork, ranking: Callable[[Proposals], Tensor]) -> Iterator[None]:
    """Let the network choose and score its proposals by a ranking, whatever they show: all classes say the same."""

    def hook(_module: torch.nn.Module, _inputs: object, proposals: Proposals) -> Proposals:
        return proposals._replace(class_logits=ranking(proposals).expand_as(proposals.class_logits))

    handle = network.proposal_head.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def main(arguments: list[str] | None = None) -> None:
    """Measure class-agnostic AP and AR with each ranking, without depth, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", help="a file, or the preset of a shipped one")
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="YAMLs of data sets")
    parser.add_argument("--split", default="val", help="of the data (default: val)")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures of each")
    options = parser.parse_args(arguments)
    network, _ = load_checkpoint(options.checkpoint)
    sets = {path.stem: open_split(path, options.split, limit=options.limit) for path in options.data}
    print(f"| ranked by | {' | '.join(f'{name}: AP / AR@10 / AR@100' for name in sets)} |")
    print("|---" * (len(sets) + 1) + "|")
    for name, ranking in RANKINGS.items():
        cells = []
        with ranked(network, ranking):
            for dataset in sets.values():
                # uncalibrated: a map of each class would bring the classes back
                metrics = evaluate(SpdaSam(TorchRuntime(network)), dataset, "none")
                values = (metrics[f"mask_{key}_agnostic"] for key in ("ap", "ar10", "ar100"))
                cells.append(" / ".join(f"{value:.1f}" for value in values))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
