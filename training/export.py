"""The whole network as one ONNX file: proven equal to PyTorch in float32, then converted to the precision asked for.

python training/export.py --checkpoint tiny --output spda_sam_tiny.onnx
python training/export.py --checkpoint tiny --output spda_sam_tiny_fp16.onnx --precision float16 \
    --data config/data/rendered.yaml --pictures 50
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spda_sam_core.depth.normalisation import normalise_depth
from spda_sam_core.graph.export import OPSET, ExportError, describe, to_onnx
from spda_sam_core.graph.onnx_file import Precision
from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.preprocess import Letterbox, prepare
from spda_sam_core.runtimes.backends import BACKENDS, load_backend
from spda_sam_core.runtimes.runtime import BackendError
from spda_sam_core.runtimes.tensorrt.cuda import has_gpu
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import CheckpointInfo, load_checkpoint
from spda_sam_core.weights.files import write_whole
from training.data.dataset import CocoRgbdDataset, open_split
from training.measuring.agreement import Agreement, Disagreement, compare, proof_inputs
from training.measuring.measure import measure_predicted
from training.measuring.parity import parity, verdict
from training.measuring.predict import DepthMode, predict
from training.precision import Feed, in_precision

CALIBRATE_ON = Path("config/data/rendered.yaml")
CALIBRATION_PICTURES = 40


def export_onnx(
    network: SpdaSamNetwork,
    path: Path,
    *,
    info: CheckpointInfo | None = None,
    precision: Precision = "float32",
    calibrate_on: Sequence[Feed] = (),
    rendered: int = 9,
    noise: int = 3,
) -> Agreement:
    """Write the graph of a network, once its float32 form is proven to be that network.

    Args:
        network: put into evaluation mode here.
        path: the file; it appears whole and proven, or not at all.
        info: of the checkpoint that the network came from, for the file's metadata.
        precision: of the file; what it costs is for `compare_backends` to tell.
        calibrate_on: pictures for int8, see `feeds`.
        rendered: rendered pictures of the proof, see `proof_inputs`.
        noise: pictures of noise of the proof.

    Returns:
        The proof, of the float32 form.

    Raises:
        Disagreement: ONNX Runtime finds something else than PyTorch. Nothing was written.
        ExportError: an operator that cannot be exported.
        ValueError: more weights than an ONNX file can hold, or int8 without pictures.
    """
    model = to_onnx(network, describe(network, info))
    pictures = tqdm(proof_inputs(network, rendered, noise), total=rendered + noise, desc="comparing", unit="picture")
    agreement = compare(network, model, pictures)
    agreement.check()
    write_whole(path, in_precision(model, precision, calibrate_on))
    return agreement


def feeds(dataset: CocoRgbdDataset, size: int, count: int) -> Iterator[dict[str, NDArray[Any]]]:
    """What a graph reads of pictures spread over a data set, every third without depth.

    Args:
        dataset: the pictures.
        size: side S of the network's input.
        count: of pictures, at most.
    """
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    for i, index in enumerate(tqdm(chosen, desc="reading", unit="picture")):
        sample = dataset[int(index)]
        box = Letterbox(*sample.rgb.shape[:2], size)
        seen = None if sample.depth_m is None or i % 3 == 2 else normalise_depth(sample.depth_m, box.resized_hw)
        estimate = np.array([float(seen is None)], np.float32)
        yield {**prepare(sample.rgb, seen, size)._asdict(), "estimate": estimate}


def compare_backends(
    checkpoint: str, path: Path, dataset: CocoRgbdDataset, depth: DepthMode, names: Sequence[str]
) -> Iterator[str]:
    """Rows of a Markdown table: an exported file in each backend beside the checkpoint in PyTorch, on pictures.

    Args:
        checkpoint: that the file was made of.
        path: the file.
        dataset: labelled pictures.
        depth: what the network sees of depth.
        names: of backends; one that cannot run the file gets a row that says so.

    Yields:
        Lines; see `Parity` for the columns, "score" being the largest difference of scores.
    """
    yield "| backend | precision | mask IoU | score | matched / missed / added | AP | difference | |"
    yield "|---|---|---|---|---|---|---|---|"
    expected = predict(SpdaSam.from_pretrained(checkpoint), dataset, depth)
    base = measure_predicted(dataset, expected).metrics["mask_ap_agnostic"]
    yield f"| torch | float32 | | | | {base:.2f} | | |"
    for name in names:
        try:
            runtime = load_backend(name, path)
        except BackendError as error:
            yield f"| {name} | | | | | | | refused: {error} |"
            continue
        found = predict(SpdaSam(runtime), dataset, depth)
        ap = measure_predicted(dataset, found).metrics["mask_ap_agnostic"]
        same = parity(expected.results, found.results)
        precision: Any = runtime.facts()["precision"]
        counts = f"{same.matched} / {same.missed} / {same.added}"
        row = (name, precision, f"{same.mask_iou:.4f}", f"{same.score_difference:.4f}", counts)
        yield f"| {' | '.join(row)} | {ap:.2f} | {ap - base:+.2f} | {verdict(precision, same, ap - base)} |"


def main(arguments: list[str] | None = None) -> None:
    """Write a checkpoint's network as an ONNX file, proven; on request, compare backends on labelled pictures."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog="Needs the extra: pip install -e '.[export]'",
    )
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--output", type=Path, required=True, help="the ONNX file")
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="float16 is for GPUs; int8 for GPUs, and for CPUs with VNNI; on others both are slower (default: float32)",
    )
    parser.add_argument(
        "--calibrate-on",
        type=Path,
        default=CALIBRATE_ON,
        metavar="YAML",
        help=f"for int8: {CALIBRATION_PICTURES} pictures of this data set's --calibration-split (default: %(default)s)",
    )
    parser.add_argument("--calibration-split", default="calibration", help="default: %(default)s")
    parser.add_argument("--rendered", type=int, default=9, help="rendered pictures of the proof (default: %(default)s)")
    parser.add_argument("--noise", type=int, default=3, help="pictures of noise of the proof (default: %(default)s)")
    parser.add_argument("--data", type=Path, metavar="YAML", help="compare backends on this data set")
    parser.add_argument("--split", default="val", help="of --data (default: val)")
    parser.add_argument("--pictures", type=int, default=50, help="the first so many of it (default: 50)")
    parser.add_argument("--depth", choices=get_args(DepthMode), default="true", help="what is seen (default: true)")
    of_graphs = [name for name in BACKENDS if name != "torch"]
    installed = [
        name for name in of_graphs if BACKENDS[name].installed and ("cpu" in BACKENDS[name].devices or has_gpu())
    ]
    parser.add_argument(
        "--backends", nargs="+", choices=of_graphs, default=installed, help="to compare (default: all that are here)"
    )
    options = parser.parse_args(arguments)
    if options.rendered + options.noise < 1:
        parser.error("--rendered and --noise are both 0: a proof needs at least one picture")
    network, info = load_checkpoint(options.checkpoint)
    pictures: list[Feed] = []
    if options.precision == "int8":
        split = open_split(options.calibrate_on, options.calibration_split)
        pictures = list(feeds(split, network.config.input_size, CALIBRATION_PICTURES))
    try:
        proof = export_onnx(
            network,
            options.output,
            info=info,
            precision=options.precision,
            calibrate_on=pictures,
            rendered=options.rendered,
            noise=options.noise,
        )
    except (Disagreement, ExportError) as error:
        parser.exit(1, f"{error}\nNothing was written.\n")
    largest = ", ".join(f"{name} {difference:.1e}" for name, difference in proof.differences.items())
    size_mb = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size_mb:.1f} MB, {options.precision}, opset {OPSET}, {network.config.preset}")
    print(f"float32, largest differences on {options.rendered + options.noise} pictures: {largest}")
    print(f"IoU of {proof.candidates} masks: mean {proof.mask_iou:.5f}, lowest {proof.lowest_mask_iou:.5f}")
    if options.data is not None:
        dataset = open_split(options.data, options.split, limit=options.pictures)
        for row in compare_backends(options.checkpoint, options.output, dataset, options.depth, options.backends):
            print(row, flush=True)


if __name__ == "__main__":
    main()
