"""Mask R-CNN of torchvision on our pictures: the network, and from its detections to `Instances`.

He et al., "Mask R-CNN", 2017, in the version of Li et al., "Benchmarking Detection Transfer Learning with Vision
Transformers", 2021 (`maskrcnn_resnet50_fpn_v2`). Nothing pretrained, nothing downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.roi_heads import paste_masks_in_image
from tqdm import tqdm

from spda_sam_core.preprocess import Letterbox, prepare
from spda_sam_core.results.instances import Instances
from training.data.dataset import CocoRgbdDataset
from training.measuring.coco_metrics import coco_metrics
from training.measuring.predict import coco_results

SCORE_THRESHOLD = 0.001
"""From here up its 300 proposals of each class go through its NMS."""
SAMPLED_BOXES = 128
"""Boxes per picture that the heads learn from. torchvision's 512, meant for 800-pixel pictures, make a step 1.9 times
as long on a CPU; half of our pictures have 6 instances or fewer, none more than 13."""
TEST_PROPOSALS = 300
"""Proposals per picture that the heads look at, as in Ren et al., "Faster R-CNN", 2015; torchvision's 1000, meant
for 800-pixel pictures, make a prediction 1.7 times as long on a CPU."""


def build_mask_rcnn(n_classes: int, size: int) -> nn.Module:
    """A network with random weights, all of them trained.

    Its anchors stay at torchvision's 32 to 512 pixels: after augmentation 96 % of the rendered instances overlap one
    by an IoU above 0.5, no less than with sides fitted to 384 pixels.

    Args:
        n_classes: classes without the background.
        size: S, the longest side of its pictures. They come normalised, and it resizes nothing.
    """
    return maskrcnn_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        num_classes=n_classes + 1,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        min_size=size,
        max_size=size,
        box_batch_size_per_image=SAMPLED_BOXES,
        rpn_post_nms_top_n_test=TEST_PROPOSALS,
        box_score_thresh=SCORE_THRESHOLD,
        box_detections_per_img=100,
    )


class MaskRcnn:
    """A trained network, and the way from image to instances.

    Args:
        network: of `build_mask_rcnn`; put into evaluation mode here, runs on the device that it is on.
        size: S.
        class_names: the classes, without the background.
    """

    def __init__(self, network: nn.Module, size: int, class_names: tuple[str, ...]) -> None:
        self.network = network.eval()
        self.size = size
        self.class_names = class_names

    @classmethod
    def load(cls, path: Path, size: int, class_names: tuple[str, ...], device: torch.device) -> MaskRcnn:
        """Read the weights that training wrote."""
        network = build_mask_rcnn(len(class_names), size)
        network.load_state_dict(safetensors.torch.load_file(path))
        return cls(network.to(device, memory_format=torch.channels_last), size, class_names)

    @torch.inference_mode()
    def predict(self, rgb: NDArray[np.uint8]) -> Instances:
        """Find up to 100 instances with a score above `SCORE_THRESHOLD` in an (H, W, 3) uint8 image."""
        letterbox = Letterbox(rgb.shape[0], rgb.shape[1], self.size)
        height, width = letterbox.resized_hw
        device = next(self.network.parameters()).device
        image = torch.from_numpy(prepare(rgb, None, self.size).image).to(device)
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
