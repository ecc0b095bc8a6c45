"""Dilated stacks: the field by the gradient, and the transposed convolution by zero insertion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def dilation():
    """The experiment's file as a module."""
    return load(ROOT / "experiments" / "ch3_vision" / "dilation.py")


@pytest.mark.parametrize(("name", "size"), [("plain", 5), ("dilated", 16)])
def test_the_gradient_reaches_the_receptive_field(dilation, name, size):
    assert dilation.support(name) == size
    layers = [(2, 1, 0, d) for d in dilation.DILATIONS[name]]
    assert ops.receptive_field(layers).size == size


def test_zero_insertion_by_hand(dilation):
    x = jnp.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    kernel = jnp.zeros((3, 3, 1, 1)).at[0, :, 0, 0].set(jnp.array([1.0, 2.0, 3.0]))
    y = dilation.zero_insertion(x, kernel, 2)
    np.testing.assert_allclose(y[0, 0, :, 0], [1, 2, 13, 20, 30])
    np.testing.assert_allclose(y, ops.conv_transpose2d(x, kernel, stride=2, padding="VALID"))


def test_a_network_sees_the_bits_within_its_field_and_no_other(dilation):
    """With the taps of a field of five, changing the sixth bit from the end changes nothing."""
    model = dilation.Stack((1, 1, 1, 1), 4, rngs=dilation.nnx.Rngs(0))
    x = jnp.ones((1, 1, dilation.LENGTH, 1))
    near, far = x.at[0, 0, -5].set(-1), x.at[0, 0, -6].set(-1)
    assert jnp.any(model(near) != model(x))
    np.testing.assert_array_equal(model(far), model(x))


def test_at_high_resolution_the_plain_stack_sees_no_farther_than_nine_pixels(dilation):
    """The gradient of the middle pixel's scores reaches 9×9 and 31×31; the parameters are equal."""
    counts = set()
    for name, size in (("plain", 9), ("dilated", 31)):
        model = dilation.PixelStack(dilation.DILATIONS[name][::-1], rngs=dilation.nnx.Rngs(0))
        for layer in model.layers:  # every weight counts, and no ReLU cuts it off
            layer.kernel[...] = jnp.ones_like(layer.kernel[...])
        gradient = jax.grad(lambda x, model=model: model(x)[0, 20, 20].sum())(
            jnp.ones((1, 40, 40, 1))
        )
        seen = np.asarray(gradient)[0, ..., 0] != 0
        assert np.flatnonzero(seen.any(axis=0)).tolist() == list(
            range(20 - size // 2, 21 + size // 2)
        )
        counts.add(sum(x.size for x in jax.tree.leaves(dilation.nnx.state(model))))
    assert len(counts) == 1


def test_the_score_is_of_ink_alone(dilation):
    """Two digits with a pixel of ink each: one is named, the other is not."""
    image = jnp.zeros((2, 2, 2, 1)).at[0, 0, 0].set(1).at[1, 1, 1].set(0.6)
    batch = {"image": image, "labels": jnp.array([3, 4])}
    loss, metrics = dilation.pixels(
        lambda x: 10 * jax.nn.one_hot(jnp.full((2, 2, 2), 3), 10), batch, None
    )
    assert metrics["accuracy"] == 0.5
    np.testing.assert_allclose(loss, 5, atol=1e-3)
