"""SPDA-SAM without ROS.

    from spda_sam_core import SpdaSam
    instances = SpdaSam.from_pretrained("tiny").predict(rgb, depth_m=None)

The rooms in the order in which data flow:

    settings     checked dataclasses from YAML
    config       every number of the network, from YAML
    picture_file pictures from disk, upright, whole or refused
    preprocess   image and depth to the network's input
    resize       shrinking without aliasing
    depth        metric or relative depth to normalised inverse depth; estimators
    network      SpdaSamNetwork: encoder, fusion, self-prompts, decoder
    graph        the network as one ONNX file: made, described, read and checked
    runtimes     what runs the network: PyTorch, ONNX Runtime, OpenVINO, TensorRT, and which of them
    results      network outputs to Instances, and pictures and positions of them
    tracking     the same thing under the same number from frame to frame
    look         one picture, wherever it comes from
    messages     messages of ROS, without ROS: to arrays, and made of results
    spda_sam     SpdaSam: image and depth in, instances out
    bags         bags of ROS 2, read and written
    survey       a whole dive: findings, what was seen, the page
    weights      checkpoints, official bases and their download
    cli          the command line spda-sam
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spda_sam_core.depth.estimators import DepthEstimator
    from spda_sam_core.results.instances import Instances
    from spda_sam_core.spda_sam import Prediction, SpdaSam
    from spda_sam_core.weights.checkpoint import load_checkpoint
    from spda_sam_core.weights.files import CheckpointError

__all__ = ["CheckpointError", "DepthEstimator", "Instances", "Prediction", "SpdaSam", "load_checkpoint"]

_HOMES = {
    "CheckpointError": "weights.files",
    "DepthEstimator": "depth.estimators",
    "Instances": "results.instances",
    "Prediction": "spda_sam",
    "SpdaSam": "spda_sam",
    "load_checkpoint": "weights.checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: who only needs `Instances` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'spda_sam_core' has no attribute '{name}'")
    return getattr(importlib.import_module(f"spda_sam_core.{_HOMES[name]}"), name)
