"""Mask R-CNN beside ours: masks come back where they were, empty pictures are learnt from, time is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import roi_align

from benchmarks import mask_rcnn_training
from benchmarks.mask_rcnn import MaskRcnn, to_instances
from benchmarks.mask_rcnn_training import MaskRcnnTrainer, TimedRun, train_mask_rcnn
from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.instances import boxes_of_masks
from training.data.batches import Batch
from training.data.dataset import CocoRgbdDataset
from training.learning.train_config import load_train_config
from training.measuring.coco_metrics import coco_metrics

REPOSITORY = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SIZE = 64


def write_pictures(root: Path, sizes_hw: list[tuple[int, int]]) -> CocoRgbdDataset:
    """A disc and a bar on grey in each picture, one class each."""
    (root / "rgb").mkdir(parents=True)
    images, annotations = [], []
    for i, (height, width) in enumerate(sizes_hw, start=1):
        picture = np.full((height, width, 3), 90, np.uint8)
        disc, bar = np.zeros((2, height, width), np.uint8)
        cv2.circle(disc, (width // 3, height // 3), min(height, width) // 5, 1, -1)
        bar[height - 80 : height - 20, width // 4 : width - 7] = 1
        for category, mask in enumerate((disc, bar), start=1):
            picture[mask > 0] = (20, 20, 220) if category == 1 else (20, 220, 20)
            (outline,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i, "category_id": category, "iscrowd": 0,
                 "area": int(mask.sum()), "bbox": list(cv2.boundingRect(mask)),
                 "segmentation": [outline.reshape(-1).tolist()]}
            )  # fmt: skip
        cv2.imwrite(str(root / "rgb" / f"{i}.png"), picture)
        images.append({"id": i, "file_name": f"{i}.png", "height": height, "width": width})
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "bar"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    return CocoRgbdDataset(root, root / "annotations.json")


@pytest.fixture
def pictures(tmp_path: Path) -> CocoRgbdDataset:
    return write_pictures(tmp_path / "pictures", [(300, 400), (402, 266), (320, 320)])


@pytest.fixture
def timed(tmp_path: Path) -> TimedRun:
    model = yaml.safe_load((REPOSITORY / "config/model/tiny.yaml").read_text(encoding="utf-8"))
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({**model, "input_size": SIZE}), encoding="utf-8")
    config = dataclasses.replace(
        load_train_config(REPOSITORY / "config/train/peers.yaml"),
        model=str(tmp_path / "model.yaml"),
        output=str(tmp_path / "run"),
        batch_size=2,
        save_every=2,
        precision="float32",
    )
    return TimedRun(config, budget_ms=5000, warmup_ms=1000, decay_ms=2000)


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of ResNet-50, whose size says nothing about clocks and files."""

    def build(n_classes: int, size: int) -> nn.Module:
        backbone = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU())
        backbone.out_channels = 8
        return MaskRCNN(
            backbone, n_classes + 1, min_size=size, max_size=size, image_mean=[0.0] * 3, image_std=[1.0] * 3,
            rpn_anchor_generator=AnchorGenerator(((64,),), ((1.0,),)), box_batch_size_per_image=8,
        )  # fmt: skip

    monkeypatch.setattr(mask_rcnn_training, "build_mask_rcnn", build)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock finds it a second later."""
    seconds = iter(range(1000))
    monkeypatch.setattr(mask_rcnn_training, "monotonic", lambda: float(next(seconds)))


def test_labels_that_are_given_as_detections_come_back_at_the_size_of_each_picture(pictures: CocoRgbdDataset) -> None:
    results = []
    for i in range(len(pictures)):
        sample = pictures[i]
        letterbox = Letterbox(*sample.rgb.shape[:2], size=192)
        height, width = letterbox.resized_hw
        small = [
            letterbox.place(cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA))
            for mask in sample.masks
        ]
        boxes = torch.from_numpy(letterbox.boxes_to_network(boxes_of_masks(sample.masks)))
        regions = torch.cat([torch.arange(2.0)[:, None], boxes], dim=1)
        found = {
            "boxes": boxes,
            "labels": torch.from_numpy(sample.class_ids) + 1,
            "scores": torch.tensor([0.6, 0.9]),
            # as torchvision makes what the mask head learns
            "masks": roi_align(torch.from_numpy(np.stack(small))[:, None], regions, (28, 28), aligned=True),
        }
        results += to_instances(found, letterbox, pictures.class_names).to_coco(sample.image_id)
    metrics = coco_metrics(pictures.coco, results, pictures.image_ids)
    assert metrics["mask_ap"] > 95
    assert metrics["box_ap"] > 95


def test_detections_come_out_best_first_with_classes_from_zero() -> None:
    found = {
        "boxes": torch.tensor([[0.0, 0, 8, 8], [8, 8, 16, 16]]),
        "labels": torch.tensor([1, 2]),
        "scores": torch.tensor([0.2, 0.7]),
        "masks": torch.ones(2, 1, 28, 28),
    }
    instances = to_instances(found, Letterbox(32, 32, 16), ("disc", "bar"))
    assert instances.class_ids.tolist() == [1, 0]
    assert instances.boxes_xyxy.tolist() == [[16, 16, 32, 32], [0, 0, 16, 16]]
    assert instances.masks[0].sum() == pytest.approx(16 * 16, rel=0.15)
    assert not instances.masks[0, :14, :14].any()


def empty_batch() -> Batch:
    nothing = [torch.zeros(0, SIZE, SIZE, dtype=torch.bool)] * 2
    return Batch(
        image=torch.rand(2, 3, SIZE, SIZE),
        inverse_depth=torch.zeros(2, 1, SIZE, SIZE),
        depth_valid=torch.zeros(2, 1, SIZE, SIZE),
        estimate=torch.zeros(2),
        true_inverse_depth=torch.zeros(2, 1, SIZE, SIZE),
        true_depth_valid=torch.zeros(2, 1, SIZE, SIZE),
        origin=torch.zeros(2, dtype=torch.int64),
        masks=nothing,
        boxes_xyxy=[torch.zeros(0, 4)] * 2,
        class_ids=[torch.zeros(0, dtype=torch.int64)] * 2,
    )


def test_pictures_without_instances_are_learnt_from_and_predicting_goes_on(
    timed: TimedRun, pictures: CocoRgbdDataset
) -> None:
    trainer = MaskRcnnTrainer(timed, pictures, CPU)
    losses = trainer.run_step(empty_batch())
    assert losses["loss_mask"] == 0
    assert losses["loss_objectness"] > 0
    model = MaskRcnn(trainer.network, trainer.size, pictures.class_names)
    instances = model.predict(pictures[1].rgb)
    assert instances.masks.shape[1:] == (402, 266)
    assert len(instances) <= 100


@pytest.mark.usefixtures("small_network", "clock")
def test_a_run_takes_its_time_and_the_pieces_of_an_interrupted_one_add_up_to_it(
    timed: TimedRun, pictures: CocoRgbdDataset
) -> None:
    stopped = MaskRcnnTrainer(timed, pictures, CPU)
    batches = stopped.batches(workers=0)
    for _ in range(2):
        stopped.run_step(next(batches))
    stopped.seconds = 2.0
    stopped.save()
    stopped.run_step(next(batches))  # lost, and its time with it
    resumed = MaskRcnnTrainer(timed, pictures, CPU)
    resumed.resume()
    assert (resumed.step, resumed.seconds) == (2, 2.0)
    train_mask_rcnn(resumed, workers=0)
    assert (resumed.step, resumed.seconds) == (5, 5.0)
    done = MaskRcnnTrainer(timed, pictures, CPU)
    done.resume()
    train_mask_rcnn(done, workers=0)
    assert done.step == 5
    for name, weight in resumed.network.state_dict().items():
        assert torch.equal(weight, done.network.state_dict()[name]), name


@pytest.mark.usefixtures("small_network")
def test_the_learning_rate_rises_and_falls_with_the_time_that_was_given(
    timed: TimedRun, pictures: CocoRgbdDataset
) -> None:
    trainer = MaskRcnnTrainer(timed, pictures, CPU)
    rates = []
    for seconds in (0.5, 1.0, 2.5, 4.0, 4.999):
        trainer.seconds = seconds
        trainer.run_step(empty_batch())
        rates.append(trainer.optimiser.param_groups[0]["lr"] / timed.train.learning_rate)
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0], abs=2e-3)


@pytest.mark.usefixtures("small_network")
def test_a_run_does_not_go_on_under_another_budget(timed: TimedRun, pictures: CocoRgbdDataset) -> None:
    MaskRcnnTrainer(timed, pictures, CPU).save()
    with pytest.raises(ValueError, match="budget_ms 5000 -> 6000"):
        MaskRcnnTrainer(dataclasses.replace(timed, budget_ms=6000), pictures, CPU).resume()
