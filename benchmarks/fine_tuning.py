"""How far a checkpoint comes on a few labelled pictures: fine-tuned on more and more of them, measured on others.

python -m benchmarks.fine_tuning --data config/data/aquarium.yaml --output runs/fine_tuning
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spda_sam_core.runtimes.torch_runtime import check_device
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.files import write_whole
from training.data.dataset import CocoRgbdDataset, open_split
from training.learning.machine_options import add_machine_options, prepare_machine
from training.learning.run_files import current_commit
from training.learning.train_config import TrainConfig, load_train_config
from training.measuring.measure import evaluate
from training.train import Trainer, train

SCORES = {
    "mask_ap_agnostic": "class-agnostic AP",
    "mask_ap_agnostic50": "AP50",
    "mask_ar100_agnostic": "AR@100",
    "mask_ap": "AP of classes",
}


def spread(pictures: CocoRgbdDataset, count: int) -> CocoRgbdDataset:
    """So many pictures, evenly from first to last.

    Raises:
        ValueError: there are fewer.
    """
    if count > len(pictures):
        raise ValueError(f"--pictures {count}: there are {len(pictures)} to train on, give at most that many")
    return pictures.part([int(i) for i in np.linspace(0, len(pictures) - 1, count).round()])


def run(
    config: TrainConfig, count: int, splits: Mapping[str, CocoRgbdDataset], *, device: torch.device, workers: int
) -> dict[str, Any]:
    """Fine-tune on so many pictures, 0 for none, and measure; what is already done is not done again.

    Args:
        config: the run; its `output` is the folder of all of them.
        count: pictures to learn from.
        splits: `train`, and `val` to measure on. Nothing is chosen by the latter: the last weights are measured.
        device: where to compute.
        workers: processes that prepare batches.

    Returns:
        What `evaluate` gives, and pictures, training_seconds, threads, commit; also in `<count>/result.json`.
    """
    folder = Path(config.output) / f"{count:04d}"
    file = folder / "result.json"
    if file.exists():
        done: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return done
    seconds, checkpoint = 0.0, str(config.init_from)
    if count:
        learned = spread(splits["train"], count)
        trainer = Trainer(
            dataclasses.replace(config, output=str(folder), validate_every=config.steps),
            learned,
            learned.part([0]),  # which training asks for; nothing is chosen by it
            device,
        )
        if trainer.resume_path.exists():
            trainer.resume()
        checkpoint = str(train(trainer, workers=workers))
        seconds = trainer.seconds
    metrics = evaluate(SpdaSam.from_pretrained(checkpoint, device=str(device)), splits["val"], "none")
    metrics |= {
        "pictures": count,
        "training_seconds": seconds,
        "threads": torch.get_num_threads(),
        "commit": current_commit(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, (json.dumps(metrics, indent=2) + "\n").encode())
    return metrics


def format_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line per number of pictures."""
    lines = [f"| pictures | {' | '.join(SCORES.values())} | training s |", "|---" * (len(SCORES) + 2) + "|"]
    for result in results:
        cells = ["-" if result[key] is None else f"{result[key]:.1f}" for key in SCORES]
        lines.append(f"| {result['pictures']} | {' | '.join(cells)} | {result['training_seconds']:.0f} |")
    return "\n".join(lines)


def draw(results: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Scores over the number of pictures."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)  # no window, no display needed
    axes = figure.subplots()
    counts = [result["pictures"] for result in results]
    for key, name in SCORES.items():
        axes.plot(counts, [np.nan if r[key] is None else r[key] for r in results], marker="o", label=name)
    axes.set(xlabel="labelled pictures to learn from", ylabel="%", title=title, xticks=counts)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Fine-tune on 10, 25, 50, 100 pictures and draw the curve; write <output>/table.md and curve.png."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog="Stop it at any time: the same command goes on where it was."
    )
    parser.add_argument("--config", type=Path, default=Path("config/train/fine_tune.yaml"), help="default: %(default)s")
    parser.add_argument("--data", required=True, help="YAML of a data set with the splits train and val")
    parser.add_argument("--pictures", nargs="+", type=int, default=[10, 25, 50, 100], help="default: 10 25 50 100")
    parser.add_argument("--output", default="runs/fine_tuning", help="folder of the runs (default: %(default)s)")
    add_machine_options(parser)
    options = parser.parse_args(arguments)
    prepare_machine(options)
    config = dataclasses.replace(load_train_config(options.config), data=options.data, output=options.output)
    splits = {name: open_split(options.data, name) for name in ("train", "val")}
    device = check_device(options.device)
    results = [
        run(config, count, splits, device=device, workers=options.workers) for count in (0, *sorted(options.pictures))
    ]
    table = format_table(results)
    write_whole(Path(options.output) / "table.md", (table + "\n").encode())
    draw(results, f"{config.init_from}, fine-tuned on {Path(options.data).stem}").savefig(
        Path(options.output) / "curve.png", dpi=120
    )
    print(table)


if __name__ == "__main__":
    main()
