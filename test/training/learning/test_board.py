"""What TensorBoard shows: every curve once, average precision by class, and pictures of predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.data.dataset import CocoRgbdDataset
from training.learning.board import Board, prediction_sheet
from training.learning.train_config import TrainConfig
from training.learning.trainer import Trainer
from training.train import train


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def test_steps_that_a_resumed_run_makes_again_are_shown_once(tmp_path: Path) -> None:
    with Board(tmp_path, 0) as board:
        for step in (20, 40, 60):
            board.losses({"total": 1.0}, step)
    with Board(tmp_path, 40) as board:  # resumed from a file of step 40
        board.losses({"total": 2.0}, 60)
    curve = [(event.step, event.value) for event in read(tmp_path).Scalars("train/total")]
    assert curve == [(20, 1.0), (40, 1.0), (60, 2.0)]


def test_classes_without_labels_have_no_curve(tmp_path: Path) -> None:
    per_class = {"red": {"mask_ap": 30.0}, "green": {"mask_ap": None}}
    with Board(tmp_path, 0) as board:
        board.metrics({"mask_ap": 30.0, "box_ap_small": None, "n_images": 6, "per_class": per_class}, 500)
    assert read(tmp_path).Tags()["scalars"] == ["val/mask_ap", "val_class/red"]


def test_a_run_shows_losses_precision_by_class_and_pictures(
    config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path
) -> None:
    trainer = Trainer(dataclasses.replace(config, steps=20), dataset, dataset, torch.device("cpu"))
    train(trainer)
    events = read(tmp_path / "run")
    shown = {(tag, event.step) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}
    names = ("train/total", "train/classes", "train/learning_rate", "val/mask_ap", "val/mask_ap50", "val/mask_ap75")
    for name in (*names, "val/mask_ap_agnostic", "val_class/red", "val_class/green"):
        assert (name, 20) in shown
    (image,) = events.Images("val/predictions")
    sheet = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    with trainer.averaged() as model:
        np.testing.assert_array_equal(sheet, prediction_sheet(model, dataset))


def test_each_row_of_the_sheet_is_a_picture_its_labels_and_what_was_found(
    config: TrainConfig, dataset: CocoRgbdDataset
) -> None:
    trainer = Trainer(config, dataset, dataset, torch.device("cpu"))
    with trainer.averaged() as model:  # untrained: it is sure of nothing
        sheet = prediction_sheet(model, dataset)
    for row in range(4):
        y = 4 + row * (72 + 24 + 4) + 24
        picture, labels, found = (sheet[y : y + 72, x : x + 96] for x in (4, 104, 204))
        np.testing.assert_array_equal(picture, dataset.rgb(row))
        np.testing.assert_array_equal(found, picture)
        inside = dataset[row].masks.any(axis=0)
        assert (labels[inside] != picture[inside]).any(axis=1).mean() > 0.9
