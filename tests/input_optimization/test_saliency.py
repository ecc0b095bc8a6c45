"""Saliency: exact on linear networks, complete, and nothing where nothing matters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lectures_jax import input_optimization as io
from tests.input_optimization import attacked

KEY = jax.random.key(0)
SHAPE = (6, 5, 2)
X = attacked.make_inputs(count=3, shape=SHAPE)
LINEAR = attacked.make_linear(inputs=60)
WEIGHTS = np.asarray(LINEAR.args[0])
NETWORK = attacked.make_network(inputs=60)
LABELS = np.array([4, 0, 2], np.int32)


def test_on_a_linear_network_the_gradient_is_the_weights():
    expected = WEIGHTS[:, LABELS].T.reshape(X.shape)
    np.testing.assert_allclose(io.gradient_saliency(LINEAR, X, LABELS), expected, rtol=1e-6)
    smooth = io.smooth_grad(KEY, LINEAR, X, LABELS, samples=3)
    np.testing.assert_allclose(smooth, expected, rtol=1e-5)
    shares = io.integrated_gradients(LINEAR, X, LABELS, steps=2)
    np.testing.assert_allclose(shares, expected * X, rtol=1e-5)


def test_smooth_gradients_are_those_of_the_network_blurred_by_noise():
    options = {"samples": 400, "sigma": 0.2}
    smooth = io.smooth_grad(KEY, NETWORK, X, LABELS, **options)
    noise = 0.2 * np.random.default_rng(0).normal(size=(400, *X.shape)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(NETWORK(x)[jnp.arange(3), LABELS])))
    gradients = [gradient(X + n) for n in noise]
    np.testing.assert_allclose(smooth, np.mean(gradients, axis=0), atol=0.02)
    sharp = io.smooth_grad(KEY, NETWORK, X, LABELS, sigma=0.0)
    np.testing.assert_allclose(sharp, io.gradient_saliency(NETWORK, X, LABELS), atol=1e-6)


@pytest.mark.parametrize("baseline", [None, attacked.make_inputs(9, count=3, shape=SHAPE)])
def test_integrated_gradients_are_complete(baseline):
    with jax.enable_x64(True):
        network = attacked.make_network(inputs=60, dtype=np.float64)
        x = X.astype(np.float64)
        start = None if baseline is None else baseline.astype(np.float64)
        shares = io.integrated_gradients(network, x, LABELS, start, steps=256)
        rise = np.asarray(network(x) - network(0 * x if start is None else start))
        shares = np.asarray(shares)
    np.testing.assert_allclose(shares.sum(axis=(1, 2, 3)), rise[np.arange(3), LABELS], rtol=1e-4)


def test_an_input_equal_to_the_baseline_has_no_share():
    assert not np.any(io.integrated_gradients(NETWORK, X, LABELS, X))


def test_grad_cam_by_hand():
    """The head is the mean over the cells times weights: w_c is then the weight over the cells."""
    weights = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    head = Partial(lambda w, maps: jnp.mean(maps, axis=(1, 2)) @ w, jnp.asarray(weights))
    heat = io.grad_cam(lambda x: 2 * x, head, X, LABELS)
    expected = np.einsum("bhwc,cb->bhw", 2 * X, weights[:, LABELS]) / 30
    np.testing.assert_allclose(heat, np.maximum(expected, 0), rtol=1e-5, atol=1e-7)


def test_occlusion_finds_the_only_pixel_that_matters():
    def network(x):
        return jnp.stack([x[:, 2, 3, 1] * 10, jnp.zeros(len(x))], axis=1)

    x = np.zeros((1, *SHAPE), np.float32)
    x[0, 2, 3, 1] = 1
    falls = np.asarray(io.occlusion(network, x, np.array([0]), size=1, value=0.0))
    assert falls.shape == (1, 6, 5)
    expected = 1 / (1 + np.exp(-10)) - 0.5
    assert falls[0, 2, 3] == pytest.approx(expected, rel=1e-5)
    assert np.count_nonzero(np.abs(falls) > 1e-6) == 1
    wide = np.asarray(io.occlusion(network, x, np.array([0]), size=2, stride=1, value=0.0))
    assert np.argwhere(wide[0] > 1e-6).tolist() == [[r, c] for r in (1, 2, 3) for c in (2, 3, 4)]


def test_squares_reach_every_pixel_whatever_their_stride():
    falls = io.occlusion(NETWORK, X, LABELS, size=4, stride=3)
    assert np.isfinite(falls).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: io.gradient_saliency(LINEAR, X, LABELS + 3), r"labels must be in \[0, 4\], got 7"),
        (lambda: io.occlusion(LINEAR, X, LABELS, size=6), r"size must be in \[1, 5\], got 6"),
        (lambda: io.occlusion(LINEAR, X, LABELS, size=1, stride=2), r"stride must be in \[1, 1\]"),
        (
            lambda: io.gradient_saliency(lambda x: {"map": x}, X, LABELS),
            "logits_fn must give logits, got dict",
        ),
        (lambda: io.smooth_grad(KEY, LINEAR, X, LABELS, sigma=-1.0), "sigma must be at least 0"),
        (
            lambda: io.integrated_gradients(LINEAR, X, LABELS, X[:1]),
            "baseline must have the shape of x",
        ),
        (
            lambda: io.grad_cam(lambda x: x[:, 0, 0], lambda maps: maps, X, LABELS),
            r"features_fn must give a map .*, got shape \(3, 2\)",
        ),
    ],
)
def test_what_is_wrong_with_an_argument_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
