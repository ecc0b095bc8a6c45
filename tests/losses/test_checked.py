"""Arguments of losses are held to their annotations, and of half precision to one rounding."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses
from lectures_jax.typing import checked

CHECK = checked(lambda: None).__code__
ONES = jnp.ones((4, 3))
PUBLIC = [name for name in losses.__all__ if not inspect.isclass(getattr(losses, name))]


def layers(function):
    while function is not None:
        yield getattr(function, "__code__", None)
        function = getattr(function, "__wrapped__", None)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_is_checked(name):
    assert CHECK in layers(getattr(losses, name))


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (losses.squared_error, (jnp.uint8([[200]]), jnp.uint8([[201]])), "x must be floats"),
        (losses.binary_cross_entropy, (ONES[:, :1], ONES[:, 0]), r"targets must be .*\(\*b\)"),
        (losses.binary_cross_entropy, (ONES[:, 0], jnp.ones(4, bool)), "targets must be floats"),
        (losses.cross_entropy, (ONES, jnp.zeros((4, 1), int)), r"labels must be integers .*\(\*b"),
        (losses.cross_entropy, (ONES, jnp.zeros(4)), "labels must be integers"),
        (losses.flow_nll, (ONES, ONES[:, :1]), r"log_det must be floats of shape \(\*b\)"),
        (losses.gaussian_kl, (ONES, ONES[:1]), "log_var must be floats"),
        (losses.noise_prediction, (ONES, ONES[:, :1]), "predicted must be floats"),
        (losses.discriminator_minimax, (ONES[:, 0], ONES[:, :1]), "fake_logits must be floats"),
        (losses.gaussian_reconstruction, (ONES, ONES, ONES), r"log_var must be .* \(\)"),
    ],
)
def test_integers_and_shapes_that_broadcast_are_refused(loss, arguments, message):
    for call in (loss, jax.jit(loss)):
        with pytest.raises(ValueError, match=message):
            call(*arguments)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(2, 4096)), dtype) for _ in range(2))
    small = jnp.asarray(1e-2 * x, dtype)
    near = {"rtol": 1.01 * float(jnp.finfo(dtype).eps)}
    for loss, arrays in [
        (losses.squared_error, (x, y)),
        (losses.noise_prediction, (x, y)),
        (losses.gaussian_kl, (small, small)),  # e^v − 1 − v is a difference of equal numbers
        (losses.bernoulli_reconstruction, (abs(small), y)),
        (lambda a, b: losses.flow_nll(a, b[:, 0]), (x, y)),
        (losses.iwae_bound, (x,)),
        (lambda a: losses.r1_penalty(lambda x: jnp.sum(x**2, axis=1), a), (x,)),
    ]:
        wide = loss(*(a.astype(jnp.float32) for a in arrays))
        result = loss(*arrays)
        assert result.dtype == dtype
        np.testing.assert_allclose(np.float64(result), np.float64(wide), **near)


def test_a_discriminator_keeps_its_own_precision():
    weight = jnp.ones(3, jnp.bfloat16)
    network = jax.tree_util.Partial(lambda w, x: x @ (1 + 1 / 256 * w.astype(x.dtype)), weight)
    penalty = losses.r1_penalty(network, ONES.astype(jnp.bfloat16))
    assert penalty.dtype == jnp.bfloat16
    np.testing.assert_array_equal(penalty, jnp.bfloat16(3 * (1 + 1 / 256) ** 2))
