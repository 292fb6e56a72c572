"""The camera's motion from what it sees: motions that are known, overlays, and nothing to follow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from spda_sam_core.tracking.camera_motion import CameraMotion

Rgb = NDArray[np.uint8]
SIZE_HW = (360, 640)


def hull(size_hw: tuple[int, int] = SIZE_HW, seed: int = 0) -> Rgb:
    """Blotches of growth on a plate, twice as large as the picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (size_hw[0] // 6, size_hw[1] // 6, 3)).astype(np.uint8)
    return cv2.resize(coarse, (size_hw[1] * 2, size_hw[0] * 2), interpolation=cv2.INTER_CUBIC)


def seen(plate: Rgb, homography: NDArray[np.float64], size_hw: tuple[int, int] = SIZE_HW) -> Rgb:
    """The plate after a motion, from (W/2, H/2) on."""
    middle = np.array([[1, 0, size_hw[1] / 2], [0, 1, size_hw[0] / 2], [0, 0, 1.0]])
    back = middle @ np.linalg.inv(homography)
    return cv2.warpPerspective(plate, back, size_hw[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def about(angle: float, scale: float, shift_xy: tuple[float, float]) -> NDArray[np.float64]:
    turn = cv2.getRotationMatrix2D((SIZE_HW[1] / 2, SIZE_HW[0] / 2), angle, scale)
    turn[:, 2] += shift_xy
    return np.vstack([turn, [0, 0, 1]])


def corners_off_px(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    h, w = SIZE_HW
    corners = np.array([[[0, 0]], [[w, 0]], [[0, h]], [[w, h]]], np.float64)
    off = cv2.perspectiveTransform(corners, found) - cv2.perspectiveTransform(corners, true)
    return float(np.linalg.norm(off, axis=2).max())


def with_text(rgb: Rgb) -> Rgb:
    """As an ROV burns it in."""
    shown = rgb.copy()
    for row in range(30, SIZE_HW[0], 100):
        cv2.putText(shown, "2026-11-26 12:00:00 DEPTH 12.4 m HDG 087", (10, row), 0, 0.7, (255, 255, 255), 2)
    return shown


TILT = np.array([[1.0, 0.01, 6], [0.02, 1.0, -4], [4e-5, -3e-5, 1]])


@pytest.mark.parametrize(
    "true",
    [about(0, 1, (9, -5)), about(0, 1, (-40, 18)), about(3, 1, (4, 2)), about(0, 1.06, (0, 3)), TILT],
    ids=["little", "far", "turned", "nearer", "tilted"],
)
def test_a_motion_is_found_to_a_pixel_or_two_at_the_corners(true: NDArray[np.float64]) -> None:
    plate, motion = hull(), CameraMotion()
    assert motion.update(seen(plate, np.eye(3))).kind == "unknown"
    found = motion.update(seen(plate, true))
    assert found.kind == "moved"
    assert corners_off_px(found.homography, true) < 2.5


def test_burnt_in_text_does_not_say_that_nothing_moves() -> None:
    plate, motion = hull(), CameraMotion()
    for i in range(12):
        found = motion.update(with_text(seen(plate, about(0, 1, (5 * i, -2 * i)))))
        if i:
            assert found.kind == "moved"
            assert corners_off_px(found.homography, about(0, 1, (5, -2))) < 3  # OpenCV 4.11: 2.6


def test_text_over_water_in_which_nothing_is_seen_is_no_camera_that_stands_still() -> None:
    plate, motion = hull(), CameraMotion()
    for i in range(8):
        motion.update(with_text(seen(plate, about(0, 1, (5 * i, -2 * i)))))
    water = np.full((*SIZE_HW, 3), 90, np.uint8)
    assert [motion.update(with_text(water)).kind for _ in range(3)][-1] == "unknown"


def test_a_camera_that_stands_still_is_told_from_a_picture_that_shows_nothing() -> None:
    plate, motion = hull(), CameraMotion()
    rng = np.random.default_rng(1)
    for _ in range(3):
        noisy = seen(plate, np.eye(3)).astype(np.int16) + rng.normal(0, 3, (*SIZE_HW, 3)).round().astype(np.int16)
        found = motion.update(noisy.clip(0, 255).astype(np.uint8))
    assert found.kind == "still"
    np.testing.assert_array_equal(found.homography, np.eye(3))
    blank = CameraMotion()
    grey = np.full((*SIZE_HW, 3), 90, np.uint8)
    assert [blank.update(grey).kind for _ in range(2)] == ["unknown", "unknown"]


def test_two_pictures_that_have_nothing_in_common_give_no_motion() -> None:
    motion = CameraMotion()
    motion.update(seen(hull(seed=0), np.eye(3)))
    found = motion.update(seen(hull(seed=5), np.eye(3)))
    assert found.kind == "unknown"
    np.testing.assert_array_equal(found.homography, np.eye(3))


@pytest.mark.parametrize("size_hw", [(720, 1280), (1080, 1920), (480, 640), (100, 160), (37, 53)])
def test_any_size_gives_a_motion_in_its_own_pixels_and_a_new_size_begins_anew(size_hw: tuple[int, int]) -> None:
    plate, motion = hull(size_hw), CameraMotion()
    motion.update(seen(hull(), np.eye(3)))
    shift = np.array([[1, 0, 0.03 * size_hw[1]], [0, 1, 0], [0, 0, 1]])
    assert motion.update(seen(plate, np.eye(3), size_hw)).kind == "unknown"
    found = motion.update(seen(plate, shift, size_hw))
    if found.kind == "unknown":
        assert min(size_hw) < 50  # too few features
        return
    middle = np.array([[[size_hw[1] / 2, size_hw[0] / 2]]])
    moved = cv2.perspectiveTransform(middle, found.homography) - middle
    np.testing.assert_allclose(moved[0, 0], [0.03 * size_hw[1], 0], atol=0.005 * size_hw[1])
