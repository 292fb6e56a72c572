"""Letterboxing follows SAM: longest side to S, padding right and below, all of it zero."""

from __future__ import annotations

import numpy as np
import pytest
from segment_anything.utils.transforms import ResizeLongestSide

from spda_sam_core.depth.normalisation import normalise_depth
from spda_sam_core.preprocess import PADDING_RGB, Letterbox, check_depth, prepare

SIZES = [(480, 640), (640, 480), (384, 384), (1080, 1920), (123, 457), (7, 5000)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_size_and_boxes_agree_with_segment_anything(height: int, width: int) -> None:
    box, theirs = Letterbox(height, width, 384), ResizeLongestSide(384)
    assert box.resized_hw == theirs.get_preprocess_shape(height, width, 384)
    boxes = np.array([[0, 0, width, height], [3, 2, width / 2, height / 3]], np.float32)
    expected = theirs.apply_boxes(boxes, (height, width))
    np.testing.assert_allclose(box.boxes_to_network(boxes), expected, rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_whole_image_maps_to_the_whole_resized_area(height: int, width: int) -> None:
    box = Letterbox(height, width, 384)
    corner = box.boxes_to_network(np.array([[0, 0, width, height]], np.float32))
    assert corner[0].tolist() == pytest.approx([0, 0, box.resized_hw[1], box.resized_hw[0]], rel=1e-5)
    assert max(box.resized_hw) == 384


def test_a_sliver_keeps_one_pixel() -> None:
    assert Letterbox(1, 4000, 384).resized_hw == (1, 384)


@pytest.mark.parametrize("size_hw", [(0, 640), (480, 0)])
def test_an_image_without_pixels_is_refused(size_hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        prepare(np.zeros((*size_hw, 3), np.uint8), None, 384)
    with pytest.raises(ValueError, match=f"image of {size_hw[0]}x{size_hw[1]} pixels.*at least 1"):
        Letterbox(*size_hw, 384)


def test_shapes_types_and_padding() -> None:
    rgb = np.full((480, 640, 3), 255, np.uint8)
    depth = normalise_depth(np.linspace(1, 2, 480 * 640, dtype=np.float32).reshape(480, 640), (288, 384))
    image, inverse_depth, depth_valid = prepare(rgb, depth, 384)
    assert image.shape == (1, 384, 384, 3)
    assert image.dtype == np.uint8
    assert inverse_depth.shape == depth_valid.shape == (1, 1, 384, 384)
    assert {inverse_depth.dtype, depth_valid.dtype} == {np.dtype(np.float32)}
    for tensor in (inverse_depth, depth_valid):
        assert (tensor[..., 288:, :] == 0).all()
    assert (image[:, 288:] == PADDING_RGB).all()
    assert (image[:, :288] == 255).all()
    assert (depth_valid[..., :288, :] == 1).all()


def test_colours_keep_their_order_and_an_upright_picture_is_padded_on_its_right() -> None:
    rgb = np.zeros((32, 16, 3), np.uint8)
    rgb[:] = (10, 120, 250)
    image, _, _ = prepare(rgb, None, 64)
    assert (image[0, :, :32] == (10, 120, 250)).all()
    assert (image[0, :, 32:] == PADDING_RGB).all()
    assert PADDING_RGB.tolist() == [124, 116, 104]  # ImageNet's mean, which the network takes out


def test_no_depth_is_zero_and_invalid() -> None:
    _, inverse_depth, depth_valid = prepare(np.zeros((32, 48, 3), np.uint8), None, 64)
    assert not inverse_depth.any()
    assert not depth_valid.any()


def area_average(picture: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W, C) to (h, w, C): each pixel the mean of what lies under it, by its exact share; in plain matrices."""

    def weights(full: int, small: int) -> np.ndarray:
        edges = np.arange(small + 1) * full / small
        left, right = np.maximum(edges[:-1, None], np.arange(full)), np.minimum(edges[1:, None], np.arange(full) + 1)
        return np.clip(right - left, 0, None) / (full / small)

    rows, columns = weights(picture.shape[0], size_hw[0]), weights(picture.shape[1], size_hw[1])
    return np.tensordot(np.tensordot(rows, picture.astype(np.float64), (1, 0)), columns, (1, 1)).transpose(0, 2, 1)


def colours(prepared: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The (1, S, S, 3) input as (h, w, 3) float64, without padding."""
    return prepared[0, : size_hw[0], : size_hw[1]].astype(np.float64)


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (480, 640), (1080, 1920), (700, 1011), (385, 385)])
@pytest.mark.parametrize("side", [1, 2])
def test_a_checkerboard_of_pixels_becomes_grey_and_no_pattern(height: int, width: int, side: int) -> None:
    """What is finer than a pixel of the input must not come back as something coarser."""
    board = (np.add.outer(np.arange(height) // side, np.arange(width) // side) % 2 * 255).astype(np.uint8)
    rgb = np.repeat(board[..., None], 3, axis=2)
    box = Letterbox(height, width, 384)
    seen, expected = colours(prepare(rgb, None, 384).image, box.resized_hw), area_average(rgb, box.resized_hw)
    assert seen.mean() == pytest.approx(127.5, abs=1)
    # patterns that the mean of areas leaves by itself, as where an area is 1.67 x 1.67 squares, are there in both
    assert seen.std() <= expected.std() + 1
    if box.width >= 2 * box.resized_hw[1] * side:
        assert np.abs(seen - expected).max() < 32
        assert np.abs(seen - 127.5).max() < 64


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (480, 640), (1080, 1920), (700, 1011), (400, 300)])
def test_shrinking_is_the_mean_of_areas(height: int, width: int) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 24 + 1, width // 24 + 1, 3)).astype(np.uint8)
    rgb = coarse.repeat(24, axis=0).repeat(24, axis=1)[:height, :width]
    box = Letterbox(height, width, 384)
    seen, expected = colours(prepare(rgb, None, 384).image, box.resized_hw), area_average(rgb, box.resized_hw)
    assert np.abs(seen - expected).mean() < 1.5
    assert np.sqrt(((seen - expected) ** 2).mean()) < 5


def test_a_picture_just_above_the_size_is_not_blurred_more_than_by_the_mean_of_areas() -> None:
    rgb = np.zeros((400, 400, 3), np.uint8)
    rgb[:, 200:] = 255  # the edge lies on one of the input's
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    for picture in (rgb, stripes):
        seen = colours(prepare(picture, None, 384).image, (384, 384))
        np.testing.assert_allclose(seen, area_average(picture, (384, 384)), atol=0.6)
    edge = colours(prepare(rgb, None, 384).image, (384, 384))[0, :, 0]
    assert ((edge > 1) & (edge < 254)).sum() == 0


def test_a_picture_of_the_size_is_left_as_it_is() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (288, 384, 3)).astype(np.uint8)
    np.testing.assert_allclose(colours(prepare(rgb, None, 384).image, (288, 384)), rgb, atol=1e-3)


def test_the_padding_beside_known_depth_is_unknown() -> None:
    depth = normalise_depth(np.full((100, 200), 2, np.float32), Letterbox(100, 200, 64).resized_hw)
    _, inverse_depth, depth_valid = prepare(np.zeros((100, 200, 3), np.uint8), depth, 64)
    assert (depth_valid[0, 0, :32] == 1).all()
    assert not depth_valid[0, 0, 32:].any()
    assert not inverse_depth[0, 0, 32:].any()


def test_depth_of_another_size_is_refused_with_the_remedy() -> None:
    depth = normalise_depth(np.ones((10, 20), np.float32))
    with pytest.raises(ValueError, match=r"\(10, 20\) pixels, .* \(64, 64\) .*: normalise it to Letterbox.resized_hw"):
        prepare(np.zeros((20, 20, 3), np.uint8), depth, 64)
    with pytest.raises(ValueError, match=r"\(10, 20\) pixels, the image \(20, 20\).*depth_image_proc/register"):
        check_depth(np.ones((10, 20), np.float32), (20, 20))


def test_floating_point_images_are_refused() -> None:
    with pytest.raises(TypeError, match="rgb is float32: expected uint8"):
        prepare(np.zeros((20, 20, 3), np.float32), None, 64)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(20, 20\): expected \(H, W, 3\)"):
        prepare(np.zeros((20, 20), np.uint8), None, 64)
