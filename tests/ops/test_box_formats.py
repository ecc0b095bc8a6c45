"""Formats of boxes: by hand, torchvision's, there and back, and what is refused."""

import inspect
from functools import partial
from pathlib import Path
from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops.box_formats import BoxFormat
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "torchvision_ops.npz")
FORMATS = get_args(BoxFormat)
PAIRS = [(a, b) for a in FORMATS for b in FORMATS if f"convert/{a}/{b}" in GOLDEN]
UPRIGHT = np.array([[0, 0, 4, 3], [2, 1, 9, 8], [5.5, 2, 7, 10]], np.float32)
ROTATED = np.concatenate([UPRIGHT, np.float32([[20], [-100], [65]])], axis=1)
CORNERS = np.asarray(ops.box_convert(jnp.asarray(ROTATED), source="xywhr", target="xyxyxyxy"))


def conversion(source, target):
    return partial(ops.box_convert, source=source, target=target)


CONTRACT = {
    "box_convert": Contract([(UPRIGHT,)], op=conversion("xywh", "cxcywh")),
    "box_convert to corners": Contract([(ROTATED,)], op=conversion("cxcywhr", "xyxyxyxy")),
    "box_convert from corners": Contract(
        [(CORNERS,)], edges=[(0 * CORNERS,)], op=conversion("xyxyxyxy", "cxcywhr")
    ),
}


def test_there_are_nine_pairs_of_each_kind():
    assert len(PAIRS) == 18


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_conversion_equals_torchvision_s(source, target):
    boxes = ops.box_convert(jnp.asarray(GOLDEN[f"convert/{source}"]), source=source, target=target)
    expected = GOLDEN[f"convert/{source}/{target}"]
    if "r" in target and source == "xyxyxyxy":  # a half turn either way
        difference = np.asarray(boxes)[..., 4] - expected[..., 4]
        assert np.isin(np.round(difference), [0, 360, -360]).all()
        boxes, expected = boxes[..., :4], expected[..., :4]
    np.testing.assert_allclose(boxes, expected, rtol=1e-5, atol=1e-4)


def test_a_box_turned_by_a_quarter_by_hand():
    """Width 4, height 2, counterclockwise: its upper left corner is then the lower left one."""
    corners = ops.box_convert(jnp.array([[5.0, 5, 4, 2, 90]]), source="cxcywhr", target="xyxyxyxy")
    np.testing.assert_allclose(corners, [[4, 7, 4, 3, 6, 3, 6, 7]], atol=1e-5)


def test_one_pair_of_formats_by_hand():
    boxes = ops.box_convert(jnp.array([1.0, 2, 4, 8]), source="xywh", target="cxcywh")
    np.testing.assert_array_equal(boxes, [3, 6, 4, 8])


@pytest.mark.parametrize(
    ("shape", "source", "target", "message"),
    [
        ((2, 4), "xyhw", "xyxy", "source must be one of xyxy, .* got 'xyhw'"),
        ((2, 4), "xyxy", "", "target must be one of"),
        ((2, 4), "xyxy", "xywhr", "both be of rotated boxes, or none, got xyxy and xywhr"),
        ((2, 5), "xywh", "xyxy", r"boxes must have 4 numbers in xywh, got \(2, 5\)"),
        ((2, 4), "xyxyxyxy", "xywhr", "boxes must have 8 numbers"),
    ],
)
def test_bad_input_is_named(shape, source, target, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(ops.box_convert)(jnp.zeros(shape), source=source, target=target)
