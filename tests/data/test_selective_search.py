"""Selective search on images: what it proposes, in which order, and what it refuses."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import data, ops

OBJECTS = np.array([[8, 6, 30, 26], [44, 10, 70, 34], [20, 38, 60, 58]], np.float32)
COLORS = np.array([[220, 40, 40], [40, 200, 60], [60, 60, 230]], np.uint8)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def image():
    """Three objects of one color each, on a gray ground with a little noise."""
    canvas = np.full((64, 80, 3), 128, np.uint8)
    for (x1, y1, x2, y2), color in zip(OBJECTS.astype(int), COLORS, strict=True):
        canvas[y1:y2, x1:x2] = color
    return canvas + np.random.default_rng(0).integers(0, 6, canvas.shape).astype(np.uint8)


@pytest.fixture(scope="module")
def boxes(image):
    return data.selective_search(KEY, image, strategies="fast", min_size=40)


def test_each_object_is_proposed(boxes):
    overlap = ops.pairwise_iou(jnp.asarray(OBJECTS), jnp.asarray(boxes))
    assert np.min(np.max(overlap, axis=1)) > 0.8


def test_boxes_lie_in_the_image_and_none_is_there_twice(boxes):
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= [80, 64]).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes == [0, 0, 80, 64]).all(axis=1).any()  # all is merged in the end


def test_the_key_alone_decides_the_order(image, boxes):
    options = {"strategies": "fast", "min_size": 40}
    floats = data.selective_search(KEY, image.astype(np.float32) / 255, **options)
    np.testing.assert_array_equal(floats, boxes)
    other = data.selective_search(jax.random.key(1), image, **options)
    assert set(map(tuple, other)) == set(map(tuple, boxes))
    assert not np.array_equal(other, boxes)
    first = data.selective_search(KEY, image, max_outputs=3, **options)
    np.testing.assert_array_equal(first, boxes[:3])


def test_an_image_of_one_color_is_one_box():
    boxes = data.selective_search(KEY, np.zeros((20, 30, 3), np.uint8), strategies="single")
    np.testing.assert_array_equal(boxes, [[0, 0, 30, 20]])


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((9, 9), np.uint8), {}, r"image must be RGB, \[h, w, 3\] .*got \[9, 9\]"),
        (np.zeros((9, 9, 4), np.uint8), {}, "image must be RGB"),
        (np.zeros((1, 9, 3), np.uint8), {}, "at least 2×2 pixels"),
        (np.full((9, 9, 3), np.nan, np.float32), {}, r"image must be in \[0, 1\]"),
        (np.full((9, 9, 3), 255, np.float32), {}, "got values from 255.0 to 255.0"),
        (np.zeros((9, 9, 3), np.int64), {}, "uint8, or float in .*got int64"),
        (np.zeros((9, 9, 3), np.uint8), {"min_size": 0}, "min_size must be at least 1, got 0"),
        (np.zeros((9, 9, 3), np.uint8), {"max_outputs": 0}, "max_outputs must be at least 1"),
    ],
)
def test_bad_input_is_named(image, options, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(data.selective_search)(KEY, image, **options)
