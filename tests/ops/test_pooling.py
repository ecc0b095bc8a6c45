"""Pooling: by hand, against torch, and the gradient of a tie."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops import pooling
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "convolution.npz")
X = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)

CONTRACT = {
    "max_pool": Contract(
        [(X,)], edges=[(0 * X,)], exact=True, op=partial(ops.max_pool, size=3, stride=2, padding=1)
    ),
    "mean_pool": Contract([(X,)], op=partial(ops.mean_pool, size=(2, 3), padding="SAME")),
    "mean_pool of many cells": Contract(
        [], edges=[(np.ones((1, 64, 64, 1), np.float32),)], op=partial(ops.mean_pool, size=64)
    ),
}


def test_pooling_by_hand():
    x = jnp.array([[1.0, 5, 2], [3, 4, 8], [7, 6, 9]])[..., None]
    np.testing.assert_array_equal(ops.max_pool(x, size=2, stride=1)[..., 0], [[5, 8], [7, 9]])
    np.testing.assert_array_equal(ops.mean_pool(x, size=2)[..., 0], [[13 / 4]])
    padded = ops.mean_pool(x, size=2, stride=2, padding="SAME")[..., 0]
    np.testing.assert_array_equal(padded, [[13 / 4, 5], [6.5, 9]])  # padding does not count


OPTIONS = {"size": 3, "stride": 2, "padding": 1}
TORCH = {"max": ops.max_pool, "max of ties": ops.max_pool, "mean": ops.mean_pool}


@pytest.mark.parametrize("name", TORCH)
def test_values_and_gradients_equal_torch_s(name):
    y, pull = jax.vjp(partial(TORCH[name], **OPTIONS), jnp.asarray(GOLDEN[f"{name}/x"]))
    np.testing.assert_allclose(y, GOLDEN[f"{name}/y"], atol=1e-6)
    np.testing.assert_allclose(
        pull(jnp.asarray(GOLDEN[f"{name}/g"]))[0], GOLDEN[f"{name}/dx"], atol=1e-6
    )


def test_a_tie_s_gradient_goes_to_its_first_cell_on_every_platform():
    x = jnp.asarray(np.random.default_rng(1).integers(0, 3, (2, 7, 6, 3)), jnp.float32)
    window = pooling._window(x, 3, 2, 1)

    def gradient(formulation):
        y, pull = jax.vjp(formulation, x)
        return pull(jnp.arange(1.0, y.size + 1).reshape(y.shape))[0]

    theirs = partial(pooling._slide, window=window, start=-jnp.inf, join=jax.lax.max)
    ours = partial(pooling._largest, window=window)
    np.testing.assert_array_equal(gradient(ours), gradient(theirs))
    first = jax.grad(lambda x: ops.max_pool(x, size=2).sum())(jnp.ones((2, 2, 1)))
    np.testing.assert_array_equal(first[..., 0], [[1, 0], [0, 0]])


@pytest.mark.parametrize("cell", range(4))
def test_nan_wins_wherever_it_is(cell):
    x = jnp.zeros(4).at[cell].set(jnp.nan).reshape(2, 2, 1)
    assert np.isnan(ops.max_pool(x, size=2)).all()


def test_the_global_mean_is_the_mean():
    y = ops.mean_pool(jnp.asarray(X), size=(7, 6))
    np.testing.assert_allclose(y, X.mean((1, 2), keepdims=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be"),
        ({"size": 8}, "x must be at least as large as the window"),
        ({"size": 2, "padding": 2}, "padding must be less than size"),
        ({"size": 2, "stride": -1}, "stride must be"),
    ],
)
@pytest.mark.parametrize("op", [ops.max_pool, ops.mean_pool])
def test_bad_input_is_named(op, options, message):
    with pytest.raises(ValueError, match=message):
        op(jnp.asarray(X), **options)


def test_the_mean_of_many_ones_in_half_precision_is_one():
    y = ops.mean_pool(jnp.ones((1, 64, 64, 1), jnp.bfloat16), size=64)
    np.testing.assert_array_equal(np.asarray(y, float), 1)
