"""Mask R-CNN of torchvision on our encoder and our pictures: the network, and from its detections to `Instances`.

He et al., "Mask R-CNN", 2017, on the feature pyramid of Lin et al., "Feature Pyramid Networks for Object Detection",
2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from tqdm import tqdm

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.encoders.efficientnet_lite import EfficientNetLiteEncoder
from spda_sam_core.network.layers import NormaliseImage
from spda_sam_core.preprocess import Letterbox, prepare
from spda_sam_core.results.instances import Instances
from training.data.dataset import CocoRgbdDataset
from training.measuring.coco_metrics import coco_metrics
from training.measuring.predict import coco_results

SCORE_THRESHOLD = 0.001
"""From here up its 300 proposals of each class go through its NMS."""
SAMPLED_BOXES = 64
"""Boxes per picture that the heads learn from. torchvision's 512, meant for 800-pixel pictures, make a step three times
as long on a CPU; half of our pictures have 6 instances or fewer, none more than 13."""
TEST_PROPOSALS = 300
"""Proposals per picture that the heads look at, as in Ren et al., "Faster R-CNN", 2015; torchvision's 1000, meant
for 800-pixel pictures, make a prediction 1.3 times as long on a CPU."""


class EncoderWithPyramid(nn.Module):
    """Our encoder and torchvision's feature pyramid.

    Args:
        encoder: features at strides 4, 8, 16 and 32.
        widths: their channels.

    Attributes:
        out_channels: channels of every level, which torchvision asks for.
    """

    out_channels = 256

    def __init__(self, encoder: EfficientNetLiteEncoder, widths: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        # the encoder's batch normalisation is folded and its last layers are linear: without a norm of its own, the
        # pyramid's values are so large that the mask loss begins at 10.7 instead of 1.4
        self.pyramid = FeaturePyramidNetwork(list(widths), self.out_channels, LastLevelMaxPool(), nn.BatchNorm2d)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised images to levels "0" to "3" at the encoder's strides, and "pool" at stride 64."""
        levels: dict[str, Tensor] = self.pyramid({str(i): level for i, level in enumerate(self.encoder(image))})
        return levels


def build_mask_rcnn(model: ModelConfig) -> MaskRCNN:
    """A network with random weights; stem and stages that our encoder freezes are frozen here too.

    Its anchors stay at torchvision's 32 to 512 pixels: after augmentation to 256 pixels 93 % of the rendered instances
    overlap one by an IoU above 0.5 and 45 % above 0.7, with 16 to 256 pixels 96 % and 35 %.

    Args:
        model: of ours beside it, whose EfficientNet-Lite encoder, classes and input size S it gets. S is the longest
            side of its pictures. They come normalised, and it resizes nothing.
    """
    return MaskRCNN(
        EncoderWithPyramid(EfficientNetLiteEncoder(model.encoder), model.encoder_widths),
        num_classes=len(model.class_names) + 1,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        min_size=model.input_size,
        max_size=model.input_size,
        box_batch_size_per_image=SAMPLED_BOXES,
        rpn_post_nms_top_n_test=TEST_PROPOSALS,
        box_score_thresh=SCORE_THRESHOLD,
        box_detections_per_img=100,
    )


class MaskRcnn:
    """A trained network, and the way from image to instances.

    Args:
        network: of `build_mask_rcnn`; put into evaluation mode here, runs on the device that it is on.
        model: what it was built from.
    """

    def __init__(self, network: MaskRCNN, model: ModelConfig) -> None:
        self.network = network.eval()
        self.size = model.input_size
        self.class_names = model.class_names

    @classmethod
    def load(cls, path: Path, model: ModelConfig, device: torch.device) -> MaskRcnn:
        """Read the weights that training wrote."""
        network = build_mask_rcnn(model)
        network.load_state_dict(safetensors.torch.load_file(path))
        return cls(network.to(device, memory_format=torch.channels_last), model)

    @torch.inference_mode()
    def predict(self, rgb: NDArray[np.uint8]) -> Instances:
        """Find up to 100 instances with a score above `SCORE_THRESHOLD` in an (H, W, 3) uint8 image."""
        letterbox = Letterbox(rgb.shape[0], rgb.shape[1], self.size)
        height, width = letterbox.resized_hw
        device = next(self.network.parameters()).device
        image = NormaliseImage().to(device)(torch.from_numpy(prepare(rgb, None, self.size).image).to(device))
        # the network's own forward would paste the masks at the size of its input
        images, _ = self.network.transform([image[0, :, :height, :width]])  # padding tells it nothing
        features = self.network.backbone(images.tensors)
        proposals, _ = self.network.rpn(images, features)
        (found,), _ = self.network.roi_heads(features, proposals, images.image_sizes)
        return to_instances(found, letterbox, self.class_names)


def to_instances(found: dict[str, Tensor], letterbox: Letterbox, class_names: tuple[str, ...]) -> Instances:
    """Bring the detections of one picture to its size.

    Args:
        found: boxes (N, 4) in network pixels, labels (N,) from 1, scores (N,), masks (N, 1, m, m) float in 0..1, each
            the inside of its box.
        letterbox: how the picture was put into the network's input.
        class_names: the classes, without the background.

    Returns:
        The instances, best first. Masks are pasted once, at the size of the picture, where they exceed 0.5.
    """
    found = {name: tensor.float().cpu() for name, tensor in found.items()}
    boxes = letterbox.boxes_to_image(found["boxes"].numpy())
    size_hw = (letterbox.height, letterbox.width)
    masks = paste_masks_in_image(found["masks"], torch.from_numpy(boxes), size_hw)[:, 0].numpy() > 0.5
    scores = found["scores"].numpy()
    order = np.argsort(-scores, kind="stable")
    class_ids = found["labels"].numpy().astype(np.int64) - 1
    return Instances(masks[order], boxes[order], scores[order], class_ids[order], class_names)


def evaluate_mask_rcnn(model: MaskRcnn, dataset: CocoRgbdDataset) -> dict[str, Any]:
    """Predict every picture; what `coco_metrics` gives."""
    results: list[dict[str, Any]] = []
    for i in tqdm(range(len(dataset)), desc="evaluating Mask R-CNN", unit="image"):
        results += coco_results(model.predict(dataset.rgb(i)), dataset.image_ids[i], dataset.category_ids)
    return coco_metrics(dataset.coco, results, dataset.image_ids)
