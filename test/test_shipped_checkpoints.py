"""The checkpoints that come with the repository: small enough, loadable, and able to find things."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import load_checkpoint
from spda_sam_core.weights.files import file_sha256
from training.data.dataset import open_split
from training.measuring.measure import evaluate
from training.world.frame import render_image
from training.world.scene import CLASS_NAMES

FOLDER = Path(__file__).resolve().parents[1] / "checkpoints"
UNSEEN_SEED = 1001  # neither that of the training pictures nor that of the validation pictures


def test_they_stay_below_25_megabytes_together():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(sizes) == {"LICENSE.sea", "spda_sam_sea.safetensors", "spda_sam_tiny.safetensors"}
    assert sum(sizes.values()) < 25e6


def test_the_header_says_what_it_is_and_how_good():
    model, info = load_checkpoint("tiny")
    assert info.config.preset == "tiny"
    assert model.config.class_names == CLASS_NAMES
    assert info.sha256 == file_sha256(FOLDER / "spda_sam_tiny.safetensors")
    assert {"metrics", "training", "steps_done", "training_seconds", "commit"} <= set(info.metadata)


def test_sea_names_its_classes_and_the_terms_that_it_may_be_used_on(caplog):
    """It has learned from pictures for research only: whoever loads it is told, and so is who reads the manifest."""
    _, info = load_checkpoint("sea")
    assert set(info.config.class_names) > {*CLASS_NAMES, "rov", "fish", "starfish", "trash_bag", "shark"}
    for owner in ("TrashCan", "DeepFish", "Aquarium"):
        assert owner in caplog.text
        assert owner.lower() in (FOLDER / "LICENSE.sea").read_text(encoding="utf-8").lower()
    licences = {entry.get("file") for entry in ElementTree.parse(FOLDER.parent / "package.xml").iter("license")}
    assert licences == {"LICENSE", "checkpoints/LICENSE.sea"}
    assert load_checkpoint("tiny")[1].terms == ()


@pytest.mark.parametrize(
    ("checkpoint", "depth"), [("tiny", "sensor"), ("tiny", "estimated"), ("tiny", "none"), ("sea", "sensor")]
)
def test_most_large_instances_of_unseen_pictures_are_found(checkpoint, depth):
    model = SpdaSam.from_pretrained(checkpoint)
    found, wanted = 0, 0
    for index in range(12):
        frame = render_image(UNSEEN_SEED, index)
        given = frame.depth_m if depth == "sensor" else None
        (prediction,) = model.predict_batch([frame.rgb], [given], estimate_depth=depth == "estimated")
        assert prediction.depth_source == depth
        for label in range(1, len(frame.class_ids) + 1):
            truth = frame.label == label
            if truth.sum() < 64 * 64:
                continue
            wanted += 1
            ious = [(m & truth).sum() / (m | truth).sum() for m in prediction.instances.masks]
            found += max(ious, default=0.0) > 0.5
    assert wanted >= 20
    assert found >= 0.6 * wanted, f"{found} of {wanted}"


def test_random_holes_in_30_percent_of_the_depth_cost_at_most_2_ap(tmp_path):
    data = {"root": str(tmp_path), "image_size_hw": [384, 512], "classes": list(CLASS_NAMES)}
    data["splits"] = {"unseen": {"seed": UNSEEN_SEED, "n_images": 40}}
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    unseen = open_split(path, "unseen")
    model = SpdaSam.from_pretrained("tiny")
    whole, holed = (evaluate(model, unseen, "true", depth_holes=share)["mask_ap"] for share in (0.0, 0.3))
    assert whole - holed <= 2, f"{whole:.1f} AP with whole depth, {holed:.1f} with holes"


def test_an_empty_picture_shows_next_to_nothing():
    model = SpdaSam.from_pretrained("tiny")
    water = np.full((480, 640, 3), (20, 90, 110), np.uint8)
    assert len(model.predict(water)) <= 1
