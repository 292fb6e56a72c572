"""Switch blocks off, train each variant with the same budget, and put their AP into one table.

python -m training.ablate --config config/ablation.yaml     # begin, or go on where it stopped
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import torch

from spda_sam_core.runtimes.torch_runtime import check_device
from spda_sam_core.settings import changed, load_settings, settings
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.files import write_whole
from spda_sam_core.weights.official_weights import count_weights
from training.data.dataset import CocoRgbdDataset, open_split
from training.learning.machine_options import add_machine_options, prepare_machine
from training.learning.train_config import ANY_CLASS, TrainConfig, load_train_config, write_model
from training.learning.trainer import Trainer
from training.measuring.measure import evaluate
from training.train import train


@settings
class Row:
    """One variant.

    Attributes:
        name: folder name of its runs.
        title: what the table calls it.
        seeds: number of runs, with seeds 0, 1, ...
        against: name of the row whose runs of the same seeds its gain is taken over.
        model: fields of `ModelConfig` that differ from the base run's model; its size is that of `train`.
        train: fields of `TrainConfig` that differ from the base run.
    """

    name: str
    title: str
    seeds: int = 1
    against: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds {self.seeds} must be at least 1")


@settings
class Ablation:
    """A set of variants of one training run.

    Attributes:
        train: YAML of the run that all rows share.
        output: folder of the runs.
        rows: the variants.
    """

    train: str
    output: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"rows are named {names}: give at least one, and each its own name")
        unknown = [row.against for row in self.rows if row.against not in (None, *names)]
        if unknown:
            raise ValueError(f"against {unknown[0]}: choose one of the rows {', '.join(names)}")

    def runs(self) -> Iterator[tuple[Row, int]]:
        """Row and seed of each run; every row once before any row twice, so that a table can be had early."""
        for seed in range(max(row.seeds for row in self.rows)):
            yield from ((row, seed) for row in self.rows if seed < row.seeds)


def load_ablation(path: Path) -> Ablation:
    """Read a YAML file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown or a missing key, no row, two rows of one name, or a row whose model cannot be.
    """
    ablation = load_settings(Ablation, path, "set of variants")
    base = load_train_config(ablation.train)
    for row in ablation.rows:
        try:
            changed(base, row.train, ablation.train).model_config(ANY_CLASS, row.model)
        except ValueError as error:
            raise ValueError(f"{path}, row {row.name}: {error}") from error
    return ablation


def run(
    row: Row,
    seed: int,
    base: TrainConfig,
    folder: Path,
    splits: Mapping[str, CocoRgbdDataset],
    *,
    device: torch.device,
    workers: int,
) -> dict[str, Any]:
    """Train and measure one variant; what is already done of it is not done again.

    Args:
        row: the variant.
        seed: of initial weights, order and augmentation.
        base: the run that all rows share.
        folder: of this run: the model's YAML, TensorBoard, checkpoints, `result.json`.
        splits: "train", "val" to watch training with, "test" to measure on afterwards.
        device: where to compute.
        workers: processes that prepare batches.

    Returns:
        What `training.measuring.measure.evaluate` gives, and `parameters`, `training_seconds`.
    """
    result = folder / "result.json"
    if result.exists():
        done: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return done
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model.yaml", base.model, row.model)
    own = {"model": str(folder / "model.yaml"), "output": str(folder), "seed": seed}
    config = changed(base, {**row.train, **own}, row.name)
    trainer = Trainer(config, splits["train"], splits["val"], device)
    if trainer.resume_path.exists():
        trainer.resume()
    model = SpdaSam.from_pretrained(train(trainer, workers=workers), device=str(device))
    metrics = evaluate(model, splits["test"], "true" if trainer.model.config.use_depth else "none")
    metrics["parameters"] = count_weights(trainer.model).total
    metrics["training_seconds"] = round(trainer.seconds)
    write_whole(result, (json.dumps(metrics, indent=2) + "\n").encode())
    return metrics


def format_table(ablation: Ablation, results: Mapping[tuple[str, int], Mapping[str, Any]]) -> str:
    """Markdown: a line per row that has at least one result.

    AP is the mean over its seeds with its standard error; the gain that of the differences, seed by seed, to the row
    that it is `against`: what a seed does to both is no part of it.
    """
    titles = {row.name: row.title for row in ablation.rows}
    lines = [
        "| variant | seeds | mask AP | AP75 | class-agnostic AP | gain in mask AP | class-agnostic | parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in ablation.rows:
        runs = {seed: results[row.name, seed] for seed in range(row.seeds) if (row.name, seed) in results}
        if not runs:
            continue
        ap, ap75, agnostic = (
            mean_and_error([run[key] for run in runs.values()]) for key in ("mask_ap", "mask_ap75", "mask_ap_agnostic")
        )
        base = {seed: results[row.against, seed] for seed in runs if row.against and (row.against, seed) in results}
        gains = [
            mean_and_error([runs[seed][key] - base[seed][key] for seed in base], sign="+") if base else ""
            for key in ("mask_ap", "mask_ap_agnostic")
        ]
        if base:
            gains[0] += f" over {titles[str(row.against)]}"
        size = f"{next(iter(runs.values()))['parameters'] / 1e6:.2f} M"
        lines.append(f"| {' | '.join([row.title, str(len(runs)), ap, ap75, agnostic, *gains, size])} |")
    return "\n".join(lines)


def mean_and_error(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard error, as "20.1 ± 0.4"; one value has no error. `sign` "+" shows that of the mean."""
    mean = f"{statistics.mean(values):{sign}.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.1f}"


def main(arguments: list[str] | None = None) -> None:
    """Train the variants of a model with the same budget and compare them; print and write <output>/table.md."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog="Stop it at any time: the same command goes on where it was."
    )
    parser.add_argument("--config", type=Path, default=Path("config/ablation.yaml"), help="default: %(default)s")
    add_machine_options(parser)
    options = parser.parse_args(arguments)
    prepare_machine(options)
    ablation = load_ablation(options.config)
    base = load_train_config(ablation.train)
    splits = {
        "train": open_split(base.data_set, "train"),
        "val": open_split(base.data_set, "val", limit=base.n_validation),
        "test": open_split(base.data_set, "val"),
    }
    device = check_device(options.device)
    results: dict[tuple[str, int], dict[str, Any]] = {}
    for row, seed in ablation.runs():
        folder = Path(ablation.output) / f"{row.name}-{seed}"
        print(f"{row.title}, seed {seed}: {folder}")
        results[row.name, seed] = run(row, seed, base, folder, splits, device=device, workers=options.workers)
        write_whole(Path(ablation.output) / "table.md", (format_table(ablation, results) + "\n").encode())
    print(format_table(ablation, results))


if __name__ == "__main__":
    main()
