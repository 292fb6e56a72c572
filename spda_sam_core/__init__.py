"""SPDA-SAM without ROS.

    from spda_sam_core import SpdaSam
    instances = SpdaSam.from_pretrained("tiny").predict(rgb, depth_m=None)

The files in the order in which data flow:

config                  numbers of the network, from YAML
preprocess              image and depth to tensors
depth                   metric or relative depth to normalised inverse depth
depth_estimator         depth from the image, where no sensor gives it
depth_anything_official   official Depth Anything V2 files into that estimator
encoder                 RGB path of the dual-path encoder: which one
hierarchical_encoder      trained from scratch
sam_vit_encoder           SAM's ViT-B, L or H
mobile_sam_encoder        MobileSAM's TinyViT
lora                      the trained change to a frozen one
depth_path              depth path of the dual-path encoder
fusion                  C2FFM: depth into the RGB features, coarse and fine
semantic_prompts        SSSPM: prompts from the encoder
spatial_prompts         SSSPM: prompts from the decoder's first pass
decoder                 SAM's mask decoder for many prompts in many images
joint_decoder           the same in one pass for all prompts of an image
network                 SpdaSamNetwork: all of these in one forward pass
postprocess             network outputs to instances
instances               Instances, the result
spda_sam                SpdaSam: image and depth in, instances out
checkpoint              our files: whole networks, or what was trained on a base
base                      official SAM and MobileSAM weights into a network
weights                   where those official files are, and how to get them
files                     reading and writing both
draw                    pictures of results
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spda_sam_core.checkpoint import load_checkpoint
    from spda_sam_core.depth_estimator import DepthEstimator
    from spda_sam_core.files import CheckpointError
    from spda_sam_core.instances import Instances
    from spda_sam_core.spda_sam import Prediction, SpdaSam

__all__ = ["CheckpointError", "DepthEstimator", "Instances", "Prediction", "SpdaSam", "load_checkpoint"]

_HOMES = {
    "CheckpointError": "files",
    "DepthEstimator": "depth_estimator",
    "Instances": "instances",
    "Prediction": "spda_sam",
    "SpdaSam": "spda_sam",
    "load_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: who only needs `Instances` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'spda_sam_core' has no attribute '{name}'")
    return getattr(importlib.import_module(f"spda_sam_core.{_HOMES[name]}"), name)
