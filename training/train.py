"""Train SPDA-SAM on pictures with instance masks.

python training/train.py --config config/train/tiny.yaml            # begin
python training/train.py --config config/train/tiny.yaml --resume   # go on where it stopped

Step i sees the same pictures in the same changes whether or not training was interrupted, and however many processes
share it: order and augmentation follow from (seed, i) alone. `docs/training.md` has the rest.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from spda_sam_core.settings import changed
from spda_sam_core.weights.official_weights import count_weights
from training.data.training_data import open_training_data
from training.learning.board import Board, average_precisions
from training.learning.distributed import first_decides, is_first, joined_processes, one_after_another, wait_for_all
from training.learning.machine_options import add_machine_options, prepare_machine
from training.learning.run_files import enter_folder
from training.learning.train_config import load_train_config
from training.learning.trainer import Trainer
from training.one_line import errors_in_one_line


def train(trainer: Trainer, *, workers: int = 0, max_minutes: float | None = None) -> Path:
    """Train to the end of the configuration, or until time is up; either way `--resume` can go on.

    Args:
        trainer: new or resumed.
        workers: processes that prepare batches.
        max_minutes: stop after the step at which this much time has passed.

    Returns:
        The checkpoint's file.

    Raises:
        FileExistsError: the trainer is new, and its folder holds a run that it would write over.
    """
    config, start, first = trainer.config, time.monotonic(), is_first()
    enter_folder(trainer.resume_path, trainer.step)
    measured = time_is_up = False
    with (
        Board(trainer.folder, trainer.step) if first else nullcontext() as board,
        tqdm(
            total=config.steps, initial=trainer.step, desc="training", unit="step", mininterval=2, disable=not first
        ) as bar,
    ):
        batches, last = trainer.batches(workers), time.monotonic()
        while trainer.step < config.steps and not time_is_up:
            values = trainer.run_step(next(batches))
            now = time.monotonic()
            trainer.seconds, last = trainer.seconds + now - last, now
            bar.update()
            if board is not None and trainer.step % 20 == 0:
                bar.set_postfix({k: f"{values[k]:.2f}" for k in ("total", "classes", "boxes", "mask_dice")})
                board.losses(values, trainer.step)
            time_is_up = max_minutes is not None and first_decides(now - start > 60 * max_minutes)
            at_end = time_is_up or trainer.step == config.steps
            if board is not None and (at_end or trainer.step % config.save_every == 0):
                board.flush()
                trainer.save()
            measured = at_end or trainer.step % config.validate_every == 0
            if measured:
                _measure(trainer, board)
                last = time.monotonic()  # measuring is not training
        if not measured:  # resumed at the end
            _measure(trainer, board)
    return trainer.export_path


def _measure(trainer: Trainer, board: Board | None) -> None:
    """Validate and export in the first process, which has the board; the others wait."""
    if board is not None:
        metrics = trainer.validate()
        shown = {name: round(value, 2) for name, value in average_precisions(metrics).items()}
        tqdm.write(f"step {trainer.step} {json.dumps(shown)}")
        board.metrics(metrics, trainer.step)
        with trainer.averaged() as model:
            board.predictions(model, trainer.validation, trainer.step)
        trainer.export(metrics)
    wait_for_all()


def main(arguments: list[str] | None = None) -> None:
    """Train SPDA-SAM and write <output>/spda_sam_<preset>.safetensors."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=main.__doc__,
        epilog="""\
Missing rendered pictures are rendered first. Ctrl-C and kill are safe: --resume goes on from the last save_every steps.

several GPUs, or CPU processes; batch_size is shared by all, and a run may go on with another number of them:
  torchrun --nproc_per_node 4 training/train.py --config config/train/fine_tune.yaml
several machines that share the folder of the run; this on each of them:
  torchrun --nnodes 2 --nproc_per_node 4 --rdzv_backend c10d --rdzv_endpoint HOST:29400 \\
    training/train.py --config config/train/fine_tune.yaml
curves and pictures of predictions:
  tensorboard --logdir <output>/tensorboard""",
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML such as config/train/tiny.yaml")
    parser.add_argument("--data", help="YAML of one data set, in place of the configuration's")
    parser.add_argument("--output", help="folder of the run, in place of the configuration's")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from <output>/resume.pt; from that in the configuration's folder, where there is none in --output",
    )
    parser.add_argument("--max-minutes", type=float, help="stop when this time has passed; --resume goes on")
    add_machine_options(parser)
    options = parser.parse_args(arguments)
    prepare_machine(options)
    given = {key: getattr(options, key) for key in ("data", "output") if getattr(options, key) is not None}
    planned = load_train_config(options.config)
    config = changed(planned, given, str(options.config))
    with joined_processes(options.device) as device:
        with one_after_another():
            data = open_training_data(config)
        trainer = Trainer(config, data.train, data.validation, device)
        if options.resume:
            trainer.resume(Path(planned.output) / trainer.resume_path.name)
        if is_first():
            count = count_weights(trainer.model)
            print(f"{config.model}: {count.trained / 1e6:.2f} of {count.total / 1e6:.2f} million weights are trained")
        checkpoint = train(trainer, workers=options.workers, max_minutes=options.max_minutes)
        if is_first():
            print(checkpoint)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
