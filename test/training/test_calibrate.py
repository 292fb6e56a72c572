"""Calibration makes scores true, says so on pictures it was not fitted to, and changes nothing else in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from coco_cases import NAMES, Found, Labelled, Oracle, square, write_folder

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.results.calibration import UNCALIBRATED, Calibration
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import load_checkpoint, save_checkpoint
from spda_sam_core.weights.files import file_sha256
from training.calibrate import Detections, FitSet, calibrate, fit, held_out, main
from training.data.dataset import CocoRgbdDataset
from training.measuring.fit_calibration import fit_platt
from training.measuring.matching import Matches, together

PICTURES = 31  # the colour tells them apart, see `write_folder`
SQUARES = [square(x, y, 30) for y in (5, 45, 85, 125, 165) for x in (5, 45, 85, 125, 165, 205, 245, 285)]
SAYS = Calibration((0.7,), (-1.5,))
"""From the chance that a mask is right to the score that the model gives it."""


@pytest.fixture
def cautious(tmp_path: Path) -> tuple[CocoRgbdDataset, Oracle]:
    """A model that is right more often than it says."""
    rng = np.random.default_rng(0)
    truth: list[list[Labelled]] = []
    found: list[list[Found]] = []
    for _ in range(PICTURES):
        chances = np.sort(rng.random(len(SQUARES)))[::-1]
        right = rng.random(len(SQUARES)) < chances
        truth.append([(mask, 0) for mask, is_there in zip(SQUARES, right, strict=True) if is_there])
        scores = SAYS(chances, np.zeros(len(chances), np.int64)).tolist()
        found.append([(mask, 0, score) for mask, score in zip(SQUARES, scores, strict=True)])
    (tmp_path / "squares").mkdir()
    return write_folder(tmp_path / "squares", truth), Oracle(found)


def test_scores_come_true_on_pictures_that_were_not_fitted(cautious: tuple[CocoRgbdDataset, Oracle]) -> None:
    dataset, model = cautious
    model.calibration = Calibration((9.0,), (9.0,))  # of an earlier fit: put aside
    entries = calibrate(model, {"squares": FitSet(dataset, ["true", "none"])})  # type: ignore[arg-type]
    assert model.calibration == UNCALIBRATED
    assert len(model.given) == 2 * PICTURES
    for before, after in (stages.values() for stages in entries["calibrated_on"]["held_out"].values()):
        assert before["error"] > 0.2
        assert after["error"] < 0.07  # what chance leaves in bins of 30
        assert after["true_score"] > before["true_score"] + 0.2
    for chance in (0.2, 0.5, 0.8):
        anode = np.array([0])
        calibrated = Calibration.from_dict(entries["calibration"])(SAYS(np.array([chance]), anode), anode)
        assert calibrated == pytest.approx(chance, abs=0.06)


def detections(seed: int, n: int, says: Calibration, image_id: int) -> Detections:
    """Of one class in one picture: each true with a chance that is raised to its score by `says`."""
    rng = np.random.default_rng(seed)
    chance, ids = rng.random(n), np.zeros(n, np.int64)
    iou = (rng.random(n) < chance).astype(np.float64)
    matches = Matches(says(chance, ids).astype(np.float64), ids, ids + image_id, iou, np.array([n]), ("anode",))
    return Detections(matches, matches)


def test_all_depth_modes_are_fitted_together() -> None:
    low, high = detections(0, 500, Calibration((1.0,), (-2.0,)), 0), detections(1, 500, Calibration((1.0,), (2.0,)), 0)
    raw, true = (np.concatenate([getattr(each.strict, name) for each in (low, high)]) for name in ("scores", "true"))
    found = fit([low, high])
    assert (found.slopes[0], found.offsets[0]) == pytest.approx(fit_platt(raw, true.astype(np.float64)))


def test_what_a_set_does_not_label_is_no_mistake_in_its_pictures(cautious: tuple[CocoRgbdDataset, Oracle]) -> None:
    """Hulls are in all of these pictures, and nobody labelled them."""
    dataset, model = cautious
    expected = calibrate(model, {"anodes": FitSet(dataset, ["none"])})["calibration"]  # type: ignore[arg-type]
    with_hulls = Oracle([[(SQUARES[0], 1, 0.99), *found] for found in model.found])
    labelled = [name == NAMES[0] for name in NAMES]
    entries = calibrate(with_hulls, {"anodes": FitSet(dataset, ["none"], labelled)})  # type: ignore[arg-type]
    assert entries["calibration"] == expected


def test_held_out_means_measured_on_pictures_that_were_not_fitted() -> None:
    # even pictures say too little and odd ones too much: what is learned on one half is wrong for the other
    even, odd = (detections(k, 1000, Calibration((1.0,), (offset,)), k) for k, offset in enumerate((-1.5, 1.5)))
    both = Detections(*(together(pair) for pair in zip(even, odd, strict=True)))
    before, after = held_out({"none": both})["none"]
    assert before.error == pytest.approx(np.mean([each.quality(UNCALIBRATED).error for each in (even, odd)]))
    assert after.error > before.error + 0.1
    assert even.quality(fit([even])).error < 0.05


def test_thresholds_are_those_of_calibrated_scores(cautious: tuple[CocoRgbdDataset, Oracle]) -> None:
    dataset, model = cautious
    thresholds = calibrate(model, {"squares": FitSet(dataset, ["none"])})["thresholds"]  # type: ignore[arg-type]
    assert list(thresholds) == list(NAMES)
    # a right mask has no other error here: one more detection pays if it is right more often than not, or nearly so
    assert 0.25 < thresholds["anode"] < 0.6
    assert thresholds["hull"] is None


def test_the_command_writes_the_header_and_keeps_the_weights(
    cautious: tuple[CocoRgbdDataset, Oracle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset, model = cautious
    torch.manual_seed(0)
    checkpoint = tmp_path / "model.safetensors"
    save_checkpoint(
        checkpoint,
        build_network(load_model_config("tiny", class_names=NAMES)),
        {"commit": "12345678"},
    )
    weights = safetensors.torch.load_file(checkpoint)
    split = {"annotations": "annotations.json", "images": "rgb", "depth": "depth"}
    data = {"format": "coco", "root": str(dataset.root), "depth": {"kind": "millimetres"}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({**data, "splits": {"calibration": split}}))
    with monkeypatch.context() as patch:
        patch.setattr(SpdaSam, "from_pretrained", lambda *_, **__: model)
        main(["--checkpoint", str(checkpoint), "--data", str(tmp_path / "data.yaml"), "--device", "cpu"])
    after = safetensors.torch.load_file(checkpoint)
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    _, info = load_checkpoint(checkpoint)
    assert info.metadata["commit"] == "12345678"
    assert info.metadata["calibrated_on"]["n_images"] == {"data_calibration": PICTURES}
    assert info.calibration == Calibration.from_dict(info.metadata["calibration"])
    assert info.calibration.offsets[0] > 0
    assert SpdaSam.from_pretrained(checkpoint, depth_estimator=None).calibration == info.calibration
    assert "depth none" in capsys.readouterr().out


def test_where_nothing_is_found_the_file_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_folder(tmp_path, [[(SQUARES[0], 0)]] * 2)
    checkpoint = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, build_network(load_model_config("tiny", class_names=NAMES)), {})
    before = file_sha256(checkpoint)
    split = {"annotations": "annotations.json", "images": "rgb", "depth": "depth"}
    data = {"format": "coco", "root": str(dataset.root), "depth": {"kind": "millimetres"}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({**data, "splits": {"calibration": split}}))
    monkeypatch.setattr(SpdaSam, "from_pretrained", lambda *_, **__: Oracle([[], []]))
    with pytest.raises(ValueError, match="no calibration fits 0 detections"):
        main(["--checkpoint", str(checkpoint), "--data", str(tmp_path / "data.yaml"), "--device", "cpu"])
    assert file_sha256(checkpoint) == before
