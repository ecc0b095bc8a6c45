"""3×3 convolutions by Winograd's algorithm: against XLA's own, where rounding is out of the way."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops import _fast_convolution as fast
from lectures_jax.ops import _winograd as winograd
from lectures_jax.ops._window import sliding_window

RNG = np.random.default_rng(0)
SHAPES = {
    "SAME": ((3, 6, 8, 32), "SAME"),
    "odd sizes": ((2, 5, 7, 33), 1),
    "VALID": ((2, 6, 5, 32), "VALID"),
    "uneven": ((1, 4, 6, 32), ((2, 0), (1, 2))),
}


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    monkeypatch.setattr(winograd, "LEAST", 0)


def arrays(shape, dtype=np.float64):
    kernel = RNG.normal(0, 0.1, (3, 3, shape[-1], 34))
    return jnp.asarray(RNG.normal(size=shape), dtype), jnp.asarray(kernel, dtype)


def both_ways(x, kernel, padding):
    window = sliding_window(x.shape, kernel.shape, stride=1, padding=padding, dilation=1)
    assert winograd.fits(x, kernel, window)
    return partial(winograd.convolution, window=window), partial(fast.plain, window=window)


def test_the_matrices_give_the_four_results_of_a_tile():
    """`Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, with NumPy, and the two factors of G."""
    rng = np.random.default_rng(1)
    d, g = rng.normal(size=(4, 4)), rng.normal(size=(3, 3))
    products = (winograd.G @ g @ winograd.G.T) * (winograd.BT @ d @ winograd.BT.T)
    expected = [[np.sum(d[i : i + 3, j : j + 3] * g) for j in range(2)] for i in range(2)]
    np.testing.assert_allclose(winograd.AT @ products @ winograd.AT.T, expected, atol=1e-12)
    np.testing.assert_array_equal(winograd.HALVES @ winograd.EVEN_ODD, winograd.G)


@pytest.mark.parametrize("images_at_once", [1, 8])
@pytest.mark.parametrize("name", SHAPES)
def test_values_and_gradients_equal_xla_s_own(name, images_at_once, monkeypatch):
    shape, padding = SHAPES[name]
    monkeypatch.setattr(winograd, "CACHE", 1.0 if images_at_once == 1 else 1e9)
    with jax.enable_x64(True):
        x, kernel = arrays(shape)
        ours, xla = both_ways(x, kernel, padding)

        def all_of(f, x, kernel):
            y, pull = jax.vjp(f, x, kernel)
            return y, *pull(jnp.sin(y))

        for got, want in zip(
            jax.jit(partial(all_of, ours))(x, kernel),
            jax.jit(partial(all_of, xla))(x, kernel),
            strict=True,
        ):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


def test_forward_and_second_derivatives_equal_xla_s_own():
    with jax.enable_x64(True):
        x, kernel = arrays((1, 4, 4, 32))
        ours, xla = both_ways(x, kernel, "SAME")
        direction = jnp.asarray(RNG.normal(size=kernel.shape))

        def bent(f, kernel):
            return jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(f(x, kernel))))(x) ** 2)

        for got, want in zip(
            jax.jit(lambda k: jax.jvp(partial(bent, ours), (k,), (direction,)))(kernel),
            jax.jit(lambda k: jax.jvp(partial(bent, xla), (k,), (direction,)))(kernel),
            strict=True,
        ):
            np.testing.assert_allclose(got, want, rtol=1e-10)


def test_in_float32_it_is_as_exact_as_a_sum_of_that_length():
    x, kernel = arrays((2, 8, 8, 64), np.float32)
    with jax.enable_x64(True):
        exact = ops.conv2d(x.astype(jnp.float64), kernel.astype(jnp.float64))
    error = np.abs(np.asarray(ops.conv2d(x, kernel), np.float64) - np.asarray(exact)).max()
    assert error < 3e-6 * np.abs(exact).max()


def test_each_image_of_a_batch_of_batches_is_its_own():
    x, kernel = arrays((2, 2, 5, 4, 32), np.float32)
    y = jax.jit(jax.vmap(ops.conv2d, in_axes=(0, None)))(x, kernel)
    np.testing.assert_allclose(y[1, 0], ops.conv2d(x[1, 0], kernel), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((1, 8, 8, 16), (3, 3, 16, 64), {}),  # few channels
        ((1, 8, 8, 64), (3, 3, 64, 64), {"stride": 2}),
        ((1, 8, 8, 64), (3, 3, 64, 64), {"dilation": 2}),
        ((1, 8, 8, 64), (5, 5, 64, 64), {}),
        ((1, 8, 8, 64), (3, 3, 64, 64), {"padding": 3}),
    ],
)
def test_other_convolutions_go_another_way(shape, kernel, options):
    options = {"stride": 1, "dilation": 1, "padding": "SAME"} | options
    window = sliding_window(shape, kernel, **options)
    x, weights = (jnp.zeros(s, jnp.float32) for s in (shape, kernel))
    assert not winograd.fits(x, weights, window)


def test_a_small_one_goes_another_way(monkeypatch):
    monkeypatch.undo()
    window = sliding_window((1, 8, 8, 64), (3, 3, 64, 64), stride=1, padding="SAME", dilation=1)
    assert not winograd.fits(jnp.zeros((1, 8, 8, 64)), jnp.zeros((3, 3, 64, 64)), window)
    assert winograd.fits(jnp.zeros((99, 8, 8, 64)), jnp.zeros((3, 3, 64, 64)), window)


def test_half_precision_goes_another_way():
    window = sliding_window((1, 8, 8, 64), (3, 3, 64, 64), stride=1, padding="SAME", dilation=1)
    x, kernel = (jnp.zeros(s, jnp.bfloat16) for s in ((1, 8, 8, 64), (3, 3, 64, 64)))
    assert not winograd.fits(x, kernel, window)
