"""Mask R-CNN beside ours: it begins with our encoder, masks come back where they were, a stopped run goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from benchmarks.mask_rcnn import MaskRcnn, to_instances
from benchmarks.mask_rcnn_training import MaskRcnnTrainer, train_mask_rcnn
from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.instances import boxes_of_masks
from training.data.batches import Batch
from training.data.dataset import CocoRgbdDataset
from training.learning.train_config import TrainConfig, load_train_config
from training.learning.trainer import Trainer
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
def config(tmp_path: Path) -> TrainConfig:
    return dataclasses.replace(
        load_train_config(REPOSITORY / "config/train/peers.yaml"),
        input_size=SIZE,
        output=str(tmp_path / "run"),
        steps=3,
        warmup_steps=1,
        decay_steps=1,
        batch_size=2,
        precision="float32",
    )


def test_it_learns_from_the_same_encoder_as_ours_with_the_same_stages_at_the_same_rates(
    config: TrainConfig, pictures: CocoRgbdDataset
) -> None:
    theirs = MaskRcnnTrainer(config, pictures, CPU)
    ours = Trainer(dataclasses.replace(config, output=config.output + "-ours"), pictures, pictures, CPU)
    before = {name: weight.clone() for name, weight in ours.model.rgb_path.named_parameters()}
    encoder = dict(theirs.network.backbone.encoder.named_parameters())
    assert all(torch.equal(weight, encoder[name]) for name, weight in before.items())
    learnt = []
    for trainer, path in ((theirs, theirs.network.backbone.encoder), (ours, ours.model.rgb_path)):
        trainer.run_step(next(trainer.batches(workers=0)))
        rates = {p: group["lr"] for group in trainer.optimiser.param_groups for p in group["params"]}
        learnt.append({name: rates.get(weight) for name, weight in path.named_parameters()})
        moved = {name for name, weight in path.named_parameters() if not torch.equal(weight, before[name])}
        assert moved == {name for name, rate in learnt[-1].items() if rate is not None}
    assert learnt[0] == learnt[1]


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
        image=torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8),
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
    config: TrainConfig, pictures: CocoRgbdDataset
) -> None:
    trainer = MaskRcnnTrainer(config, pictures, CPU)
    losses = trainer.run_step(empty_batch())
    assert losses["loss_mask"] == 0
    assert losses["loss_objectness"] > 0
    model = MaskRcnn(trainer.network, trainer.model_config)
    instances = model.predict(pictures[1].rgb)
    assert instances.masks.shape[1:] == (402, 266)
    assert len(instances) <= 100


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(config: TrainConfig, pictures: CocoRgbdDataset) -> None:
    whole = MaskRcnnTrainer(config, pictures, CPU)
    train_mask_rcnn(whole, workers=0)
    config = dataclasses.replace(config, output=config.output + "-stopped")
    stopped = MaskRcnnTrainer(config, pictures, CPU)
    batches = stopped.batches(workers=0)
    for _ in range(2):
        stopped.run_step(next(batches))
    stopped.seconds = 7.0
    stopped.save()
    stopped.run_step(next(batches))  # lost
    resumed = MaskRcnnTrainer(config, pictures, CPU)
    resumed.resume()
    train_mask_rcnn(resumed, workers=0)
    assert resumed.step == whole.step == 3
    assert resumed.seconds > 7
    for name, weight in whole.network.state_dict().items():
        assert torch.allclose(weight, resumed.network.state_dict()[name], atol=1e-6), name


def test_a_run_does_not_go_on_for_another_number_of_steps(config: TrainConfig, pictures: CocoRgbdDataset) -> None:
    MaskRcnnTrainer(config, pictures, CPU).save()
    with pytest.raises(ValueError, match="steps 3 -> 4"):
        MaskRcnnTrainer(dataclasses.replace(config, steps=4), pictures, CPU).resume()
