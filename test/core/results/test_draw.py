"""What a person sees: masks tinted where they are, titles and cells where they belong, colours that mean."""

from __future__ import annotations

import numpy as np
import pytest

from spda_sam_core.depth.normalisation import NormalisedDepth
from spda_sam_core.results.draw import class_colour, colourise_depth, contact_sheet, draw_instances
from spda_sam_core.results.instances import Instances, boxes_of_masks

NAMES = ("anode", "hull", "object")


def found(masks: np.ndarray) -> Instances:
    scores = np.linspace(0.9, 0.5, len(masks), dtype=np.float32)
    return Instances(masks, boxes_of_masks(masks), scores, np.arange(len(masks), dtype=np.int64), NAMES)


def test_only_pixels_of_masks_and_labels_change() -> None:
    rgb = np.full((200, 300, 3), 90, np.uint8)
    masks = np.zeros((1, 200, 300), np.bool_)
    masks[0, 80:160, 120:220] = True
    before = rgb.copy()
    picture = draw_instances(rgb, found(masks))
    np.testing.assert_array_equal(rgb, before)
    changed = (picture != rgb).any(axis=2)
    assert changed[masks[0]].all()
    assert not changed[:80].any()
    assert not changed[:, 225:].any()
    inside = picture[140, 200].astype(int) - 90
    assert np.sign(inside).tolist() == np.sign(np.array(class_colour(0)) - 90).tolist()


def test_the_higher_score_lies_on_top() -> None:
    masks = np.ones((2, 200, 300), np.bool_)
    alone = draw_instances(np.zeros((200, 300, 3), np.uint8), found(masks[:1]))
    both = draw_instances(np.zeros((200, 300, 3), np.uint8), found(masks))
    np.testing.assert_array_equal(both[100:150, 100:150], alone[100:150, 100:150])


def test_nothing_found_leaves_the_image_as_it_is() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    np.testing.assert_array_equal(draw_instances(rgb, Instances.empty(20, 30, NAMES)), rgb)


def test_labels_stay_inside_a_tiny_picture() -> None:
    masks = np.zeros((1, 12, 12), np.bool_)
    masks[0, 10:, 10:] = True
    assert draw_instances(np.zeros((12, 12, 3), np.uint8), found(masks)).shape == (12, 12, 3)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(20, 31, 3\), but the masks need \(20, 30, 3\)"):
        draw_instances(np.zeros((20, 31, 3), np.uint8), Instances.empty(20, 30, NAMES))


def test_classes_have_different_colours() -> None:
    colours = np.array([class_colour(i) for i in range(11)], float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=2) + np.eye(11) * 999
    assert distance.min() > 40


def test_depth_colours_near_red_far_blue_unknown_black() -> None:
    depth = NormalisedDepth(np.array([[0.95, 0.05, 0.0]], np.float32), np.array([[True, True, False]]))
    near, far, unknown = colourise_depth(depth)[0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert unknown.tolist() == [0, 0, 0]


def test_contact_sheet_places_pictures_in_reading_order() -> None:
    images = [np.full((30, 40, 3), 50 * (i + 1), np.uint8) for i in range(4)]
    sheet = contact_sheet(images, columns=3)
    assert sheet.shape == (2 * 34 + 4, 3 * 44 + 4, 3)
    centres = [sheet[4 + 15, 4 + 44 * c + 20, 0] for c in range(3)] + [sheet[4 + 34 + 15, 4 + 20, 0]]
    assert centres == [50, 100, 150, 200]


def test_contact_sheet_fits_other_sizes_and_writes_titles() -> None:
    wide = np.full((30, 120, 3), 200, np.uint8)
    sheet = contact_sheet([np.full((30, 40, 3), 100, np.uint8), wide], 2, ["first", "a title far too long to fit"])
    plain = contact_sheet([np.full((30, 40, 3), 100, np.uint8), wide], 2)
    assert sheet.shape[0] == plain.shape[0] + 24
    assert (sheet[4:28, 4:44] > 150).any()  # the title is there
    assert (plain[4:14, 48:88] == 200).all()  # 120 x 30 became 40 x 10
    assert (plain[15:34, 48:88] < 50).all()


def test_large_pictures_are_made_smaller_in_a_sheet_where_asked() -> None:
    images = [np.full((40, 80, 3), value, np.uint8) for value in (50, 200)]
    full, small = contact_sheet(images, 2), contact_sheet(images, 2, longest_px=20)
    gaps = full.shape[1] - 2 * 80
    assert small.shape[1] == 2 * 20 + gaps
    assert (small == 200).all(axis=2).sum() == 10 * 20
    assert np.array_equal(contact_sheet(images, 2, longest_px=80), full)


@pytest.mark.parametrize(
    ("count", "columns", "titles", "text"),
    [(0, 2, None, "0 images in 2 columns"), (1, 0, None, "1 images in 0"), (2, 2, ["a"], "1 titles for 2")],
)
def test_impossible_sheets_are_refused(count: int, columns: int, titles: list[str] | None, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        contact_sheet([np.zeros((4, 4, 3), np.uint8)] * count, columns, titles)
