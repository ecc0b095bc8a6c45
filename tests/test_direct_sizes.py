"""Sizes predicted without anchors: read, and their loss, by hand."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops

ANCHORS = jnp.array([[12.0, 24.0], [48.0, 24.0]])


@pytest.fixture(scope="module")
def sizes(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch3_vision" / "direct_sizes.py"
    spec = importlib.util.spec_from_file_location("experiment_direct_sizes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def head(size):
    """A head of one class and two anchors, with these two numbers as every slot's size."""
    slots = jnp.zeros((1, 3, 3, 2, 6)).at[..., 2:4].set(jnp.asarray(size, jnp.float32))
    return slots.reshape(1, 3, 3, 12)


def widths(raw):
    """The third and fourth numbers of the slots."""
    return raw.reshape(1, 3, 3, 2, 6)[..., 2:4]


def test_sizes_are_read_in_their_unit_and_a_size_below_a_pixel_counts_as_one(sizes):
    for size, unit in (((0.5, 0.25), 96), ((48, 24), 1)):
        logarithms = widths(sizes.as_logarithms(head(size), ANCHORS, unit=jnp.float32(unit)))
        np.testing.assert_allclose(logarithms[0, 1, 2], np.log([[4, 1], [1, 1]]), atol=1e-6)
    least = widths(sizes.as_logarithms(head((-3, 0)), ANCHORS, unit=jnp.float32(1)))
    np.testing.assert_allclose(least[0, 0, 0], -np.log(ANCHORS), rtol=1e-6)


def test_their_gradient_is_that_of_their_own_loss_alone(sizes):
    def total(raw):
        return jnp.sum(sizes.as_logarithms(raw, ANCHORS, unit=jnp.float32(96)))

    gradient = jax.grad(total)(head((0.5, 0.25))).reshape(-1, 6)
    np.testing.assert_array_equal(gradient, [[1, 1, 0, 0, 1, 1]] * 18)


def test_the_loss_by_hand(sizes):  # a box of 24×48 pixels, an eighth of the image of 96
    box, label = jnp.array([[36.0, 24, 60, 72]]), jnp.zeros(1, jnp.int32)
    (target,) = ops.yolo_encode(
        box,
        label,
        jnp.ones(1, bool),
        ANCHORS,
        image_size=(96, 96),
        strides=(32,),
        num_classes=1,
    )
    target = jax.tree.map(lambda x: x[None], target)
    for unit, size in ((96.0, (0.25, 0.5)), (1.0, (24.0, 48.0))):
        options = {"num_anchors": 2, "unit": jnp.float32(unit)}
        right = sizes.size_loss(head(size), target, **options)
        np.testing.assert_allclose(right, [0], atol=1e-6)
        empty = sizes.size_loss(head((0, 0)), target, **options)
        expected = (2 - 1 / 8) * 0.5 * (size[0] ** 2 + size[1] ** 2)
        np.testing.assert_allclose(empty, [expected], rtol=1e-6)
