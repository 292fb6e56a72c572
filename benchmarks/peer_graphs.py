"""ONNX graphs of the networks that ours is timed beside, made in a virtual environment of their own.

ultralytics is AGPL-3.0 and brings an OpenCV of its own, so nothing of it is in this package or in its environment; what
enters here are the files that it writes. All weights are random: times do not depend on them, but for Mask R-CNN, which
is told to draw 16 things whatever their score.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple


class Peer(NamedTuple):
    """One network beside ours.

    Attributes:
        name: as in tables.
        packages: what pip installs for it.
        program: Python that writes `{file}` in the folder that it runs in.
    """

    name: str
    packages: tuple[str, ...]
    program: str


_ULTRALYTICS = (
    "from ultralytics import YOLO\nYOLO('{stem}.yaml').export(format='onnx', imgsz=640, opset=17, simplify=False)\n"
)
_RF_DETR = (
    "import pathlib\n"
    "from rfdetr import RFDETRSegNano\n"
    "RFDETRSegNano(pretrain_weights=None).export(output_dir='rf_detr', opset_version=17)\n"
    "next(pathlib.Path('rf_detr').glob('*.onnx')).rename('{file}')\n"
)
_MASK_RCNN = (
    "import torch\n"
    "from torchvision.models.detection import maskrcnn_resnet50_fpn\n"
    "torch.manual_seed(0)\n"
    "network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=480, max_size=640,\n"
    "                                box_score_thresh=0.0, box_detections_per_img=16).eval()\n"
    "torch.onnx.export(network, ([torch.rand(3, 480, 640)],), '{file}', opset_version=17, dynamo=False,\n"
    "                  input_names=['image'])\n"
)

YOLO = "YOLO11n-seg"
"""The one that all times are compared with."""
PEERS = {
    "yolo11n-seg": Peer(YOLO, ("ultralytics",), _ULTRALYTICS),
    "yolo11s-seg": Peer("YOLO11s-seg", ("ultralytics",), _ULTRALYTICS),
    "yolo26n-seg": Peer("YOLO26n-seg", ("ultralytics",), _ULTRALYTICS),
    "rf-detr-seg-nano": Peer("RF-DETR-Seg nano", ("rfdetr",), _RF_DETR),
    "mask-rcnn-r50": Peer("Mask R-CNN R50-FPN", (), _MASK_RCNN),
}


def peer_graphs(folder: Path, stems: Collection[str]) -> dict[str, Path]:
    """The files of some peers; what is not there yet is made, which takes a minute and a gigabyte for all of them.

    Args:
        folder: of the files, and of the virtual environment in which they are made.
        stems: keys of `PEERS`.

    Returns:
        Name in tables to file.

    Raises:
        RuntimeError: a peer that cannot be installed or exported, with the end of what it printed.
    """
    files = {stem: folder.resolve() / f"{stem}.onnx" for stem in stems}
    for stem, path in files.items():
        if path.exists():
            continue
        python = _environment(folder.resolve())
        peer = PEERS[stem]
        print(f"making {path} for {peer.name}", flush=True)
        if peer.packages:
            _run([python, "-m", "pip", "install", "--quiet", *peer.packages], folder, f"pip install {peer.packages}")
        _run([python, "-c", peer.program.format(stem=stem, file=path.name)], folder, f"the export of {peer.name}")
    return {PEERS[stem].name: path for stem, path in files.items()}


def _environment(folder: Path) -> Path:
    """The Python of a virtual environment in `folder` that sees this one's packages, such as torch, too."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run([Path(sys.executable), "-m", "venv", "venv"], folder, "making a virtual environment")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        own = python.parents[1] / "lib" / version / "site-packages"
        (own / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def _run(command: list[str | Path], folder: Path, what: str) -> None:
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{what} failed in {folder}:\n{done.stdout[-2000:]}")
