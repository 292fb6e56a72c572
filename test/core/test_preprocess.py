"""Letterboxing follows SAM: longest side to S, padding right and below, all of it zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything.utils.transforms import ResizeLongestSide

from spda_sam_core.depth.normalisation import NormalisedDepth, normalise_depth
from spda_sam_core.preprocess import IMAGE_MEAN, IMAGE_STD, Letterbox, prepare

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


def test_shapes_types_and_zero_padding() -> None:
    rgb = np.full((480, 640, 3), 255, np.uint8)
    depth = normalise_depth(np.linspace(1, 2, 480 * 640, dtype=np.float32).reshape(480, 640))
    image, inverse_depth, depth_valid = prepare(rgb, depth, 384)
    assert image.shape == (1, 3, 384, 384)
    assert inverse_depth.shape == depth_valid.shape == (1, 1, 384, 384)
    assert {image.dtype, inverse_depth.dtype, depth_valid.dtype} == {torch.float32}
    for tensor in (image, inverse_depth, depth_valid):
        assert (tensor[..., 288:, :] == 0).all()
    assert (image[..., :288, :] > 2).all()
    assert (depth_valid[..., :288, :] == 1).all()


def test_colours_are_normalised_in_the_order_r_g_b() -> None:
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[:] = (10, 120, 250)
    image, _, _ = prepare(rgb, None, 64)
    expected = (np.array([10, 120, 250]) - IMAGE_MEAN) / IMAGE_STD
    np.testing.assert_allclose(image[0, :, 10, 10], expected, rtol=1e-5)


def test_no_depth_is_zero_and_invalid() -> None:
    _, inverse_depth, depth_valid = prepare(np.zeros((32, 48, 3), np.uint8), None, 64)
    assert not inverse_depth.any()
    assert not depth_valid.any()


def test_holes_do_not_darken_the_depth_beside_them() -> None:
    valid = np.ones((100, 100), np.bool_)
    valid[:, 33:66] = False
    depth = NormalisedDepth(np.where(valid, np.float32(0.8), np.float32(0)), valid)
    _, inverse_depth, depth_valid = prepare(np.zeros((100, 100, 3), np.uint8), depth, 64)
    known = depth_valid[0, 0] == 1
    assert 0 < known.sum() < 64 * 64
    np.testing.assert_allclose(inverse_depth[0, 0][known], 0.8, rtol=1e-5)
    assert (inverse_depth[0, 0][~known] == 0).all()
    assert set(depth_valid.unique().tolist()) == {0.0, 1.0}


def test_depth_of_another_size_is_refused_with_the_remedy() -> None:
    depth = normalise_depth(np.ones((10, 20), np.float32))
    with pytest.raises(ValueError, match=r"\(10, 20\) pixels, the image \(20, 20\).*depth_image_proc/register"):
        prepare(np.zeros((20, 20, 3), np.uint8), depth, 64)


def test_floating_point_images_are_refused() -> None:
    with pytest.raises(TypeError, match="rgb is float32: expected uint8"):
        prepare(np.zeros((20, 20, 3), np.float32), None, 64)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(20, 20\): expected \(H, W, 3\)"):
        prepare(np.zeros((20, 20), np.uint8), None, 64)
