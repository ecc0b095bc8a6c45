"""The denoising network: its shapes, and on what its prediction depends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.diffusion import Denoiser, DenseDenoiser
from lectures_jax.nn.initializers import normal


def perturbed(**options) -> Denoiser:
    """A small network in which no parameter is zero, as some are at the start."""
    model = Denoiser(channels=(8, 16), condition=16, rngs=nnx.Rngs(0), **options)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [p + 0.1 * normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(tree, leaves), rest)


@pytest.fixture(scope="module")
def model() -> Denoiser:
    return perturbed(num_classes=3)


@pytest.fixture(scope="module")
def call():
    return nnx.jit(lambda model, x, ratio, labels: model(x, ratio, labels))


X = jax.random.normal(jax.random.key(0), (3, 4, 4, 1))
RATIO = jnp.array([0.1, 0.5, 0.9])
LABELS = jnp.array([0, 2, 3])


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((8, 8, 1), {"channels": (32, 64), "num_classes": 10}),
        ((28, 28, 1), {"patch": 2, "num_classes": 10}),
        ((32, 32, 3), {"channels": (32, 48, 64), "inputs": 3, "blocks": 2}),
    ],
)
def test_the_prediction_has_the_shape_of_the_input(size, options):
    model = nnx.eval_shape(lambda: Denoiser(rngs=nnx.Rngs(0), **options))
    x = jax.ShapeDtypeStruct((2, *size), jnp.float32)
    predicted = nnx.eval_shape(lambda m, x: m(x, jnp.array([0.5, 0.9])), model, x)
    assert predicted.shape == x.shape


def test_the_digits_network_is_small():
    model = nnx.eval_shape(lambda: Denoiser(num_classes=10, rngs=nnx.Rngs(0)))
    count = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert 300_000 < count < 420_000


def test_each_image_is_denoised_by_itself(model, call):
    together = call(model, X, RATIO, LABELS)
    for i in range(3):
        same = jnp.array([i, i, i])
        alone = call(model, X[same], RATIO[same], LABELS[same])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)


def test_the_prediction_depends_on_noise_level_and_class(model, call):
    base = call(model, X, RATIO, LABELS)
    assert np.abs(base - call(model, X, RATIO[::-1], LABELS))[0].max() > 1e-3
    assert np.abs(base - call(model, X, RATIO, LABELS[::-1]))[0].max() > 1e-3


def test_no_labels_are_the_class_after_the_last(model, call):
    none = jnp.full(3, model.num_classes)
    np.testing.assert_array_equal(call(model, X, RATIO, None), call(model, X, RATIO, none))


def test_it_starts_by_predicting_zero():
    model = Denoiser(channels=(8,), condition=8, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(model(X, RATIO), 0)


def test_a_dense_denoiser_keeps_a_share_of_its_input_that_the_level_chooses():
    dense = DenseDenoiser((4, 2, 3), hidden=8, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (3, 4, 2, 3))
    whole = dense(x, RATIO)
    assert whole.shape == x.shape
    assert jnp.abs(whole - dense(x, RATIO[::-1])).max() > 1e-2
    last = dense.end.layers[-1]
    last.kernel[...], last.bias[...] = 0 * last.kernel[...], 0 * last.bias[...]
    share = dense(x, RATIO) / x
    np.testing.assert_allclose(share, share[:, :1, :1, :1] + 0 * x, rtol=1e-4)
    assert len(np.unique(np.round(share[:, 0, 0, 0], 4))) == 3


def test_bad_arguments_are_named(model):
    with pytest.raises(ValueError, match="sides of a multiple of 2"):
        model(X[:, :3], RATIO)
    with pytest.raises(ValueError, match="channels must have at least one level"):
        Denoiser(channels=(), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="labels must be None"):
        Denoiser(channels=(8,), condition=8, rngs=nnx.Rngs(0))(X, RATIO, LABELS)
