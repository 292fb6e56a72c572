"""SPDA-SAM beside Mask R-CNN: the same encoder, as many training pictures, the same measure.

python -m benchmarks.peers --pictures 8000 --threads 1                    # one after the other; begin, or go on
python -m benchmarks.peers --pictures 8000 --threads 1 --only mask_rcnn   # one of them, to run several side by side
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.mask_rcnn import SCORE_THRESHOLD, MaskRcnn, evaluate_mask_rcnn
from benchmarks.mask_rcnn_training import MaskRcnnTrainer, train_mask_rcnn
from benchmarks.peers_setup import Peer, Setup, load_setup
from benchmarks.timing import median_ms
from spda_sam_core.results.instances import Instances
from spda_sam_core.runtimes.torch_runtime import check_device
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.files import write_whole
from spda_sam_core.weights.tensor_files import write_safetensors
from training.data.dataset import CocoRgbdDataset, Sample, open_split
from training.learning.machine_options import add_machine_options, prepare_machine
from training.learning.run_files import current_commit
from training.learning.train_config import load_train_config, write_model
from training.measuring.measure import evaluate
from training.train import Trainer, train

Splits = Mapping[str, CocoRgbdDataset]
"""`train`; `val`, which training asks for and nothing is chosen by; `test`, to measure on."""


def run(setup: Setup, peer: Peer, splits: Splits, *, device: torch.device, workers: int) -> dict[str, Any]:
    """Train and measure one network; what is already done of it is not done again.

    Args:
        setup: the comparison.
        peer: the network.
        splits: see there.
        device: where to compute.
        workers: processes that prepare batches.

    Returns:
        What `coco_metrics` gives, and pictures, parameters, training_seconds; also in `result.json`.

    Raises:
        ValueError: an earlier call trained it on another number of pictures, or measured on other ones.
    """
    file = setup.folder(peer) / "result.json"
    if file.exists():
        done: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if done["pictures"] != setup.pictures:
            raise ValueError(
                f"{file}: trained on {done['pictures']} pictures, not {setup.pictures}: give --pictures "
                f"{done['pictures']}, or another --output"
            )
        if done["n_images"] != len(splits["test"]):
            raise ValueError(
                f"{file}: measured on {done['n_images']} pictures, not {len(splits['test'])}: remove it to measure "
                "again, which does not train again, or give that --limit"
            )
        return done
    run_peer = {"spda_sam": _run_spda_sam, "mask_rcnn": _run_mask_rcnn}[peer.network]
    metrics = run_peer(setup, peer, splits, device, workers)
    metrics |= {
        "pictures": setup.pictures,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "commit": current_commit(),
    }
    write_whole(file, (json.dumps(metrics, indent=2) + "\n").encode())
    return metrics


def _run_spda_sam(setup: Setup, peer: Peer, splits: Splits, device: torch.device, workers: int) -> dict[str, Any]:
    config = setup.config(peer)
    folder = setup.folder(peer)
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model.yaml", config.model, peer.model)
    config = dataclasses.replace(config, model=str(folder / "model.yaml"))
    trainer = Trainer(config, splits["train"], splits["val"], device)
    if trainer.resume_path.exists():
        trainer.resume()
    trained = SpdaSam.from_pretrained(train(trainer, workers=workers), device=str(device))
    return {
        **evaluate(trained, splits["test"], "true" if trained.runtime.info.reads_depth else "none"),
        **_record(trainer.model, trainer.seconds),
    }


def _run_mask_rcnn(setup: Setup, peer: Peer, splits: Splits, device: torch.device, workers: int) -> dict[str, Any]:
    trainer = MaskRcnnTrainer(setup.config(peer), splits["train"], device)
    if trainer.resume_path.exists():
        trainer.resume()
    train_mask_rcnn(trainer, workers=workers)
    weights = {name: tensor.contiguous() for name, tensor in trainer.network.state_dict().items()}
    write_safetensors(_weights(setup, peer), weights, {})
    return {
        **evaluate_mask_rcnn(MaskRcnn(trainer.network, trainer.model_config), splits["test"]),
        **_record(trainer.network, trainer.seconds),
    }


def _record(network: torch.nn.Module, seconds: float) -> dict[str, Any]:
    return {"parameters": sum(p.numel() for p in network.parameters()), "training_seconds": seconds}


def _weights(setup: Setup, peer: Peer) -> Path:
    """The file of a trained Mask R-CNN."""
    return setup.folder(peer) / "mask_rcnn.safetensors"


def load_predictor(
    setup: Setup, peer: Peer, class_names: tuple[str, ...], device: torch.device
) -> Callable[[Sample], Instances]:
    """A trained network, from a picture to instances."""
    model_config = setup.config(peer).model_config(class_names)
    if peer.network == "mask_rcnn":
        mask_rcnn = MaskRcnn.load(_weights(setup, peer), model_config, device)
        return lambda sample: mask_rcnn.predict(sample.rgb)
    # not the best one beside it, which one picture has chosen
    file = setup.folder(peer) / f"spda_sam_{model_config.preset}.safetensors"
    model = SpdaSam.from_pretrained(file, device=str(device))
    use_depth = model.runtime.info.reads_depth
    return lambda sample: model.predict(
        sample.rgb, sample.depth_m if use_depth else None, score_threshold=SCORE_THRESHOLD
    )


def times_ms(setup: Setup, pictures: CocoRgbdDataset, device: torch.device, rounds: int) -> dict[str, float]:
    """Median milliseconds from picture to instances, by the networks' names; all see the same pictures."""
    samples = [pictures[i] for i in range(min(rounds, len(pictures)))]

    def call(predict: Callable[[Sample], Instances]) -> Callable[[int], object]:
        return lambda i: predict(samples[i % len(samples)])

    calls = {peer.name: call(load_predictor(setup, peer, pictures.class_names, device)) for peer in setup.peers}
    return median_ms(calls, rounds)


def format_table(setup: Setup, results: Mapping[str, Mapping[str, Any]], latency_ms: Mapping[str, float]) -> str:
    """Markdown: a line per network, by its name."""
    lines = [
        "| network | mask AP | AP50 | AP75 | box AP | class-agnostic AP | ten LIACI classes | parameters "
        "| ms per picture | training s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for peer in setup.peers:
        result = results[peer.name]
        keys = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap", "mask_ap_agnostic", "mask_ap_liaci")
        cells = [
            peer.title,
            *("-" if result[key] is None else f"{result[key]:.1f}" for key in keys),
            f"{result['parameters'] / 1e6:.2f} M",
            f"{latency_ms[peer.name]:.0f}",
            f"{result['training_seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train SPDA-SAM and Mask R-CNN on as many pictures and compare them; write <output>/table.md."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog="Stop it at any time: the same command goes on where it was. The call that finds every network trained "
        "times all of them, best on an idle machine, and prints the table.",
    )
    parser.add_argument("--config", type=Path, default=Path("config/peers.yaml"), help="default: %(default)s")
    parser.add_argument(
        "--pictures", type=int, help="training pictures of each network, in place of the configuration's"
    )
    parser.add_argument("--only", metavar="NAME", help="train this one, a name of the configuration's peers")
    parser.add_argument("--output", help="folder of the runs, in place of the configuration's")
    parser.add_argument("--limit", type=int, help="measure on the first LIMIT pictures only")
    parser.add_argument("--rounds", type=int, default=21, help="pictures to time on, the first warms up (default: 21)")
    add_machine_options(parser)
    options = parser.parse_args(arguments)
    prepare_machine(options)
    given = {key: getattr(options, key) for key in ("pictures", "output") if getattr(options, key) is not None}
    setup = load_setup(options.config, given)
    names = [peer.name for peer in setup.peers]
    if options.only not in (None, *names):
        parser.error(f"--only {options.only}: choose one of {', '.join(names)}")
    data = load_train_config(setup.train).data_set
    splits = {
        "train": open_split(data, "train"),
        "val": open_split(data, "val", limit=1),
        "test": open_split(data, "val", limit=options.limit),
    }
    device = check_device(options.device)
    for peer in setup.peers:
        if options.only in (None, peer.name):
            print(f"{peer.title}: {setup.folder(peer)}", flush=True)
            run(setup, peer, splits, device=device, workers=options.workers)
    missing = [peer.name for peer in setup.peers if not (setup.folder(peer) / "result.json").exists()]
    if missing:
        print(f"the table comes when these are trained too: {', '.join(missing)}")
        return
    results = {peer.name: run(setup, peer, splits, device=device, workers=options.workers) for peer in setup.peers}
    table = format_table(setup, results, times_ms(setup, splits["test"], device, options.rounds))
    write_whole(Path(setup.output) / "table.md", (table + "\n").encode())
    print(table)


if __name__ == "__main__":
    main()
