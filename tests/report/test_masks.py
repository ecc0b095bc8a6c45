"""Masks over images: colors, rims, legends, and the table of the classes."""

import numpy as np
import pytest

from lectures_jax import report

IMAGE = np.full((6, 8, 3), 100, np.uint8)
MASK = np.zeros((6, 8), np.int32)
MASK[1:5, 1:4], MASK[1:5, 4:7] = 1, 2


def test_each_class_has_a_color_of_its_own():
    colors = report.mask_colors(60)
    assert colors[0].tolist() == [0, 0, 0]
    assert len(np.unique(colors, axis=0)) == 60
    np.testing.assert_array_equal(report.mask_colors(5), colors[:5])


def test_regions_are_colored_and_the_background_is_not():
    drawn = report.draw_mask(IMAGE, MASK, num_classes=3, opacity=1.0)
    colors = report.mask_colors(3)
    np.testing.assert_array_equal(drawn[MASK == 1], np.tile(colors[1], (12, 1)))
    np.testing.assert_array_equal(drawn[MASK == 2], np.tile(colors[2], (12, 1)))
    np.testing.assert_array_equal(drawn[MASK == 0], 100)
    ignored = report.draw_mask(IMAGE, np.where(MASK == 2, 255, MASK), num_classes=3, opacity=1.0)
    assert (ignored[MASK == 2] == 255).all()


def test_objects_have_rims_and_images_are_enlarged():
    drawn = report.draw_instances(IMAGE, MASK, opacity=0.0, scale=3)
    assert drawn.shape == (18, 24, 3)
    changed = (drawn != 100).any(axis=-1)
    assert changed.any()
    assert not changed[6:12, 6:9].any()
    assert not changed[:3].any()
    assert changed[3:15, 3:21].sum() == changed.sum()


def test_a_legend_has_a_row_for_each_class():
    short, long = report.mask_legend(["a", "b"]), report.mask_legend(["a", "b", "a longer name"])
    assert long.shape[0] > short.shape[0]
    assert long.shape[1] > short.shape[1]
    for color in report.mask_colors(2):
        assert (short == color).all(axis=-1).any()


def test_truth_and_prediction_stand_beside_the_image():
    section = report.segmentations(
        "Masks", "Two.", [IMAGE], [MASK], [MASK], captions=["one."], num_classes=3
    )
    (figure,) = section.figures
    assert figure.caption == "one."
    assert section.text.startswith("Two. From left to right")
    height, width = figure.source.shape[:2]
    assert width > 3 * height
    assert report.segmentations("Objects", "", [IMAGE], [MASK], [MASK], captions=["one."])


def test_the_table_of_the_classes_by_hand(tmp_path):
    counts = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    section = report.pixel_classes(counts, tmp_path / "c.svg", classes=["a", "b", "none"])
    assert (tmp_path / "c.svg").stat().st_size > 1000
    rows = [row[1:] for row in section.table.rows]
    assert rows[0] == pytest.approx((6 / 9, 12 / 15, 6 / 7, 6 / 8, 8 / 12))
    assert rows[1] == pytest.approx((3 / 6, 6 / 9, 3 / 5, 3 / 4, 4 / 12))
    assert rows[2] == (None, None, None, None, 0)
