"""Estimates are kept once per picture and estimator, and read where a picture has no depth."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from spda_sam_core.depth.normalisation import normalise_inverse_depth
from training import estimate_depth
from training.data.dataset import CocoRgbdDataset, open_split
from training.data.depth_cache import begin_cache, cache_folder, read_cached, write_cached
from training.estimate_depth import estimate_missing, main

SIZE = (24, 32)
RAMP = np.linspace(3, 5, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures, of which the second has a depth image."""
    root = tmp_path / "data"
    document = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "fish"}]}
    for folder in ("rgb/dive", "depth/dive"):
        (root / folder).mkdir(parents=True)
    for i in range(3):
        name = f"dive/{i}.jpg"
        cv2.imwrite(str(root / "rgb" / name), np.full((*SIZE, 3), 50 * i, np.uint8))
        document["images"].append({"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
    cv2.imwrite(str(root / "depth/dive/1.png"), np.full(SIZE, 2000, np.uint16))
    (root / "train.json").write_text(json.dumps(document))
    entries = {"format": "coco", "root": str(root), "depth": {"kind": "millimetres"}}
    entries["splits"] = {"train": {"annotations": "train.json", "images": "rgb", "depth": "depth"}}
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump(entries))
    return path


def estimator_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def with_cache(data: Path, estimator: Path) -> CocoRgbdDataset:
    begin_cache(data.parent / "data", estimator)
    return named(data, estimator)


def named(data: Path, estimator: Path) -> CocoRgbdDataset:
    """The pictures, once the YAML names the estimator."""
    entries = yaml.safe_load(data.read_text(encoding="utf-8"))
    data.write_text(yaml.safe_dump({**entries, "depth_estimator": str(estimator)}), encoding="utf-8")
    return open_split(data, "train")


def test_an_estimate_comes_back_up_to_scale_and_offset(tmp_path: Path) -> None:
    write_cached(tmp_path / "a/b.png", RAMP)
    stored = read_cached(tmp_path / "a/b.png", SIZE)
    assert (stored.min(), stored.max()) == (1, 65535)
    expected, found = (normalise_inverse_depth(x).inverse_depth for x in (RAMP, stored))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_rounding_of_a_flat_estimate_is_not_stretched(tmp_path: Path) -> None:
    flat = np.full(SIZE, 7, np.float32)
    flat[0, 0] = np.nextafter(np.float32(7), np.float32(8))
    write_cached(tmp_path / "a.png", flat)
    stored = read_cached(tmp_path / "a.png", SIZE)
    assert stored.max() - stored.min() < 0.1 * 65535


def test_only_pictures_without_depth_are_estimated_and_only_once(data: Path, tmp_path: Path) -> None:
    dataset = with_cache(data, estimator_file(tmp_path / "e.safetensors", b"one"))
    seen = []

    def estimate(rgb: np.ndarray) -> np.ndarray:
        seen.append(int(rgb.mean()))
        return RAMP

    assert [s.relative_inverse_depth for s in dataset] == [None, None, None]
    assert [dataset.has_depth(i) for i in range(3)] == [False, True, False]
    assert estimate_missing(dataset, estimate) == 2
    assert estimate_missing(dataset, estimate) == 0
    assert seen == [0, 100]
    again = open_split(data, "train")
    assert all(again.has_depth(i) for i in range(3))
    first, second, _ = again
    assert first.depth_m is None
    np.testing.assert_allclose(first.relative_inverse_depth, np.linspace(1, 65535, RAMP.size).reshape(SIZE), atol=2)
    assert second.relative_inverse_depth is None
    np.testing.assert_allclose(second.depth_m, 2.0)


def test_an_interrupted_run_goes_on_and_leaves_no_half_written_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = with_cache(data, estimator_file(tmp_path / "e.safetensors", b"one"))

    def stops(path: Path, depth: np.ndarray) -> None:
        if path.name == "2.jpg.png":
            raise KeyboardInterrupt
        write_cached(path, depth)

    with monkeypatch.context() as context:
        context.setattr(estimate_depth, "write_cached", stops)
        with pytest.raises(KeyboardInterrupt):
            estimate_missing(dataset, lambda rgb: RAMP)
    assert [p.name for p in dataset.cache.rglob("*.png")] == ["0.jpg.png"]
    assert estimate_missing(dataset, lambda rgb: RAMP) == 1
    assert sorted(p.name for p in dataset.cache.rglob("*") if p.is_file()) == [
        "0.jpg.png", "2.jpg.png", "estimator.json",
    ]  # fmt: skip


def test_estimates_of_another_estimator_are_not_read(data: Path, tmp_path: Path) -> None:
    dataset = with_cache(data, estimator_file(tmp_path / "e.safetensors", b"one"))
    estimate_missing(dataset, lambda rgb: RAMP)
    other = named(data, estimator_file(tmp_path / "f.safetensors", b"two"))
    assert not other.has_depth(0)
    assert other[0].relative_inverse_depth is None


def test_a_folder_of_another_estimator_is_not_taken_over(data: Path, tmp_path: Path) -> None:
    estimator = estimator_file(tmp_path / "e.safetensors", b"one")
    folder = begin_cache(tmp_path / "data", estimator)
    assert folder == cache_folder(tmp_path / "data", estimator)
    (folder / "estimator.json").write_text('{"sha256": "00"}')
    with pytest.raises(ValueError, match=r"estimator\.json: is of estimator 00, not [0-9a-f]{64}: move"):
        begin_cache(tmp_path / "data", estimator)


def test_an_estimator_that_is_not_there_is_named_with_the_fix(data: Path, tmp_path: Path) -> None:
    (tmp_path / "data/depth_cache").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"no\.pth: no such depth estimator: correct depth_estimator in the data"
    ):
        named(data, tmp_path / "no.pth")


def test_the_command_estimates_and_says_how_the_estimates_are_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    estimator = estimator_file(tmp_path / "e.pth", b"one")
    flat = SimpleNamespace(estimate=lambda rgb: np.ones(rgb.shape[:2], np.float32))
    monkeypatch.setattr(estimate_depth.DepthEstimator, "from_pretrained", lambda source, device: flat)
    main(["--data", str(data), "--split", "train", "--estimator", str(estimator), "--device", "cpu"])
    printed = capsys.readouterr().out
    assert "2 pictures estimated" in printed
    assert f"they are read where {data} says depth_estimator: {estimator}" in printed
    assert all(s.depth_m is not None or s.relative_inverse_depth is not None for s in named(data, estimator))
