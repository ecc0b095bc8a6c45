import numpy as np
import pytest
from PIL import ImageColor

from lectures_jax import report
from lectures_jax.report.boxes import BoxGroup
from lectures_jax.report.theme import PALETTE, font_for

GRAY = np.full((120, 200, 3), 0.5, np.float32)
CLASSES = ("cat", "dog")


def draw(boxes, labels, scores=None, image=GRAY, **options):
    return report.draw_boxes(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        scores,
        classes=CLASSES,
        **options,
    )


def has(drawing, color):
    """The pixels of a color."""
    return (drawing == ImageColor.getrgb(color)).all(axis=-1)


def test_an_outline_covers_the_border_pixels_of_its_box_and_no_more():
    drawing = draw([[20, 30, 100, 90]], [1])
    drawn = has(drawing, PALETTE[1])
    assert drawn[30, 20:100].all()
    assert drawn[89, 20:100].all()
    assert drawn[30:90, 20].all()
    assert drawn[30:90, 99].all()
    assert not drawn[:, :20].any()
    assert not drawn[:, 100:].any()
    assert not drawn[90:].any()
    assert has(drawing, "black")[40:80, [19, 22, 97, 100]].all()  # the rim
    assert (drawing[40:80, 30:90] == 128).all()  # the object itself is not covered


def test_a_label_is_written_above_its_box():
    drawing = draw([[20, 30, 100, 90]], [1])
    above = drawing[16:30, 20:60]
    assert has(above, PALETTE[1]).any()
    assert has(above, "black").any()


def test_scale_enlarges_image_and_boxes():
    drawing = draw([[20, 30, 100, 90]], [0], scale=3)
    assert drawing.shape == (360, 600, 3)
    assert has(drawing, PALETTE[0])[90:270, 60].all()


def test_true_boxes_are_dashed_and_white_on_any_ground():
    for level in (0.0, 0.5, 1.0):
        drawing = draw([[20, 40, 180, 110]], [0], truth=True, image=np.full_like(GRAY, level))
        edge = drawing[40, 80:180].astype(int).mean(axis=-1)
        assert {0, 255} == set(edge.tolist())
        assert not has(drawing, PALETTE[0]).any()


def test_a_score_follows_the_class():
    with_score = draw([[20, 30, 100, 90]], [0], np.array([0.93], np.float32))
    without = draw([[20, 30, 100, 90]], [0])
    width = [has(p, PALETTE[0])[20].sum() for p in (with_score, without)]
    assert width[0] > width[1] > 0


def test_padding_nan_and_infinite_boxes_are_not_drawn():
    boxes = [[20, 30, 100, 90], [0, 0, np.nan, 5], [-np.inf, 0, np.inf, 5]]
    drawing = draw(boxes, [0, 0, 0], valid=np.array([False, True, True]))
    np.testing.assert_array_equal(drawing, 128)


def test_no_boxes_leave_the_image():
    np.testing.assert_array_equal(draw([], []), 128)


def test_edges_outside_of_the_image_are_not_seen():
    drawing = draw([[-50, -50, 1e9, 1e9]], [0])
    np.testing.assert_array_equal(drawing[30:], 128)  # only the label is


def test_flipped_and_empty_boxes_draw():
    drawing = draw([[100, 90, 20, 30], [50, 50, 50, 50]], [0, 0])
    assert has(drawing, PALETTE[0])[30:90, 20].all()


def test_labels_avoid_each_other():
    box = [20, 50, 100, 110]
    alone = has(draw([box], [0]), PALETTE[0]).sum()
    below = has(draw([box, box], [0, 1]), PALETTE[0]).sum()
    outline = 80 * 60 - 76 * 56  # the other box covers it, but not the label
    assert below == alone - outline > 0


def test_a_label_that_is_no_class_raises():
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got 2"):
        draw([[1, 1, 2, 2]], [2])


def test_labels_of_padding_may_be_anything():
    draw([[1, 1, 2, 2]], [-1], valid=np.array([False]))


def test_a_name_that_no_font_can_write_is_drawn_as_its_number():
    image, box, label = (
        np.zeros((64, 96, 3), np.uint8),
        np.array([[10.0, 20, 60, 60]]),
        np.array([0]),
    )
    drawn, number = (
        report.draw_boxes(image, box, label, classes=[name]) for name in ("\U00010908猫", "#0")
    )
    if font_for("\U00010908猫") is None:
        np.testing.assert_array_equal(drawn, number)
    assert (drawn != report.draw_boxes(image, box, label, classes=["#1"])).any()


def test_groups_of_boxes_have_their_own_color_width_and_strength():
    first, second = np.array([[20, 30, 100, 90]]), np.array([[60, 50, 150, 110]])
    groups = (
        BoxGroup(first, PALETTE[0], 3),
        BoxGroup(second, PALETTE[1], 1, opacity=0.5, labels=["best"]),
    )
    drawing = report.draw_box_groups(GRAY, groups)
    assert (drawing[60, 40] == 191).all()  # half-way between the gray and white
    assert has(drawing, PALETTE[0])[30:90, 20:23].all()
    assert not has(drawing, PALETTE[0])[34:86, 24:96].any()
    halved = (np.array(ImageColor.getrgb(PALETTE[1])) + 191) / 2
    np.testing.assert_allclose(drawing[109, 100], halved, atol=2)
    assert (drawing[106, 100] == 191).all()  # one pixel wide
    assert has(drawing[30:52, 58:150], PALETTE[1]).any()  # the label
    assert report.draw_box_groups(GRAY, groups, scale=2).shape == (240, 400, 3)


def test_a_box_whose_class_has_no_name_gets_no_label():
    drawing = report.draw_boxes(GRAY, np.array([[20.0, 30, 100, 90]]), np.array([0]), classes=("",))
    assert not has(drawing[:29], PALETTE[0]).any()
