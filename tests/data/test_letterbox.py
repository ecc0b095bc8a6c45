import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from lectures_jax import data

sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))


def test_a_wide_image_gets_gray_bars_above_and_below():
    image = np.full((2, 4, 3), 200, np.uint8)
    canvas, transform = data.letterbox(image, image_size=(8, 8))
    # 4 wide on 8: twice as large, 4 high, so 2 rows above and 2 below
    assert transform == ((2.0, 2.0), (0, 2))
    np.testing.assert_array_equal(canvas[2:6], np.full((4, 8, 3), 200))
    np.testing.assert_array_equal(canvas[[0, 1, 6, 7]], np.full((4, 8, 3), 128))


def test_a_box_moves_with_its_image_by_hand():
    _, transform = data.letterbox(np.zeros((2, 4, 3), np.uint8), image_size=(8, 8))
    box = np.array([1, 0, 3, 2], np.float32)
    np.testing.assert_array_equal(data.letterbox_boxes(box, transform), [2, 2, 6, 6])


def test_a_image_of_the_canvas_size_is_not_changed():
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    canvas, transform = data.letterbox(image, image_size=(6, 9))
    np.testing.assert_array_equal(canvas, image)
    assert transform == ((1.0, 1.0), (0, 0))


def test_a_gray_image_becomes_three_equal_channels():
    canvas, _ = data.letterbox(np.full((5, 5, 1), 7, np.uint8), image_size=(5, 5))
    np.testing.assert_array_equal(canvas, np.full((5, 5, 3), 7))


@given(sizes, sizes, st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_unletterboxing_undoes_letterboxing(size, canvas, box):
    _, transform = data.letterbox(np.zeros((*size, 1), np.uint8), image_size=canvas)
    boxes = np.array([box], np.float32)
    mapped = data.letterbox_boxes(boxes, transform)
    np.testing.assert_allclose(
        data.unletterbox_boxes(mapped, transform), boxes, atol=1e-3, rtol=1e-4
    )


@given(sizes, sizes)
@settings(max_examples=50, deadline=None)
def test_the_whole_image_fills_the_canvas_in_one_direction_and_stays_in_it(size, canvas):
    image, transform = data.letterbox(np.zeros((*size, 1), np.uint8), image_size=canvas)
    assert image.shape == (*canvas, 3)
    whole = np.array([0, 0, size[1], size[0]], np.float32)
    x0, y0, x1, y1 = data.letterbox_boxes(whole, transform).round(3)
    assert 0 <= x0 <= x1 <= canvas[1]
    assert 0 <= y0 <= y1 <= canvas[0]
    assert x1 - x0 == canvas[1] or y1 - y0 == canvas[0]


def test_a_rectangle_of_the_image_and_of_the_mask_move_as_its_box_does():
    image, mask = np.zeros((30, 50, 3), np.uint8), np.zeros((30, 50), np.int32)
    image[6:18, 10:35], mask[6:18, 10:35] = 255, 3
    canvas, transform = data.letterbox(image, image_size=(64, 64))
    mapped = data.letterbox_mask(mask, image_size=(64, 64))
    box = data.letterbox_boxes(np.array([10, 6, 35, 18], np.float32), transform)
    for pixels in (np.abs(canvas[:, :, 0] - 255.0) < 100, mapped == 3):
        rows, columns = np.nonzero(pixels)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(seen, box, atol=1)
    assert mapped.dtype == np.int32
    assert set(np.unique(mapped)) == {0, 3}
