"""The whole network as one float32 ONNX file, proven equal to PyTorch in ONNX Runtime.

python training/export.py --checkpoint tiny --output spda_sam_tiny.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from spda_sam_core.graph.export import OPSET, ExportError, describe, to_onnx
from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.weights.checkpoint import CheckpointInfo, load_checkpoint
from spda_sam_core.weights.files import write_whole
from training.measuring.agreement import Agreement, Disagreement, compare, proof_inputs


def export_onnx(
    network: SpdaSamNetwork,
    path: Path,
    *,
    info: CheckpointInfo | None = None,
    rendered: int = 9,
    noise: int = 3,
) -> Agreement:
    """Write the graph of a network, once it is proven to be that network.

    Args:
        network: put into evaluation mode here.
        path: the file; it appears whole and proven, or not at all.
        info: of the checkpoint that the network came from, for the file's metadata.
        rendered: rendered pictures of the proof, see `proof_inputs`.
        noise: pictures of noise of the proof.

    Returns:
        The proof.

    Raises:
        Disagreement: ONNX Runtime finds something else than PyTorch. Nothing was written.
        ExportError: an operator that cannot be exported.
        ValueError: more weights than an ONNX file can hold.
    """
    model = to_onnx(network, describe(network, info))
    pictures = tqdm(proof_inputs(network, rendered, noise), total=rendered + noise, desc="comparing", unit="picture")
    agreement = compare(network, model, pictures)
    agreement.check()
    write_whole(path, model)
    return agreement


def main(arguments: list[str] | None = None) -> None:
    """Write a checkpoint's network as an ONNX file, and prove in ONNX Runtime that it is that network."""
    parser = argparse.ArgumentParser(description=main.__doc__, epilog="Needs the extra: pip install -e '.[export]'")
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--output", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--rendered", type=int, default=9, help="rendered pictures of the proof (default: %(default)s)")
    parser.add_argument("--noise", type=int, default=3, help="pictures of noise of the proof (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.rendered + options.noise < 1:
        parser.error("--rendered and --noise are both 0: a proof needs at least one picture")
    network, info = load_checkpoint(options.checkpoint)
    try:
        proof = export_onnx(network, options.output, info=info, rendered=options.rendered, noise=options.noise)
    except (Disagreement, ExportError) as error:
        parser.exit(1, f"{error}\nNothing was written.\n")
    largest = ", ".join(f"{name} {difference:.1e}" for name, difference in proof.differences.items())
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, opset {OPSET}, {network.config.preset}")
    print(f"largest differences on {options.rendered + options.noise} pictures: {largest}")
    print(f"IoU of {proof.candidates} masks: mean {proof.mask_iou:.5f}, lowest {proof.lowest_mask_iou:.5f}")


if __name__ == "__main__":
    main()
