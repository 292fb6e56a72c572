"""Outlines of masks: pycocotools fills them again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from spda_sam_core.results.polygons import polygons_of


def filled(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))) > 0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("turn_deg", [0, 20, 45])
@pytest.mark.parametrize("half", [(6, 4), (40, 25)])
def test_a_filled_outline_is_the_mask_again(turn_deg: int, half: tuple[int, int]) -> None:
    drawn = np.zeros((120, 160), np.uint8)
    cv2.ellipse(drawn, (81, 60), half, turn_deg, 0, 360, 1, -1)
    (polygon,) = polygons_of(drawn > 0)
    assert iou(filled([polygon], 120, 160), drawn > 0) > 0.93
    assert len(polygon) // 2 < 30  # a person has to drag them


def test_a_rectangle_has_its_four_corners_on_the_edges_of_pixels() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[3:11, 5:25] = True
    (polygon,) = polygons_of(mask)
    corners = np.array(polygon).reshape(-1, 2)
    assert len(corners) == 4
    np.testing.assert_allclose([*corners.min(axis=0), *corners.max(axis=0)], [5, 3, 25, 11], atol=0.13)


def test_each_part_has_its_outline_and_nothing_has_none() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[2:12, 2:12] = mask[20:38, 25:39] = True
    assert len(polygons_of(mask)) == 2
    assert polygons_of(np.zeros((5, 5), np.bool_)) == []


def test_a_single_pixel_at_the_border_can_be_corrected_too() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[8, 8] = True
    (polygon,) = polygons_of(mask)
    assert filled([polygon], 9, 9).sum() <= 4
    assert np.array(polygon).min() >= 7.8
