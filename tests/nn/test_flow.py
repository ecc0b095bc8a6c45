"""Invertible layers: inverse, Jacobian, triangularity, data-dependent initialization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from lectures_jax.nn.conditioner import ConvConditioner, DenseConditioner, Made
from lectures_jax.nn.flow import (
    Autoregressive,
    Chain,
    Coupling,
    Inverse,
    MaskedCoupling,
    Multiscale,
)
from lectures_jax.nn.invertible import ActNorm, Flatten, InvertibleLinear, Logit, Probit, Whitening
from lectures_jax.nn.transforms import Affine, Histogram, Spline
from tests.nn.flows import check_flow, perturbed

RNGS = nnx.Rngs(0)


def dense(num_fixed, others, transform, condition=0):
    sizes = (num_fixed, others * transform.parameters)
    return DenseConditioner(*sizes, hidden=(6,), condition=condition, rngs=RNGS)


def masked(features, transform, condition=0, order=None):
    sizes = (features, transform.parameters)
    return Made(*sizes, hidden=(9, 8), condition=condition, order=order, rngs=RNGS)


def maps_coupling(transform):
    conditioner = ConvConditioner(1, 2 * transform.parameters, hidden=4, rngs=RNGS)
    return Coupling(conditioner, transform, num_fixed=1, swap=True)


def glow_step(channels):
    conditioner = ConvConditioner(channels // 2, channels, hidden=4, condition=2, rngs=RNGS)
    layers = [ActNorm(channels), InvertibleLinear(channels, rngs=RNGS)]
    return Chain([*layers, Coupling(conditioner, Affine(), num_fixed=channels // 2)])


BOARD = ops.checkerboard_mask(height=4, width=4)
LAYERS = {  # layer, shape of an example, size of the condition
    "affine coupling": (Coupling(dense(2, 3, Affine()), Affine(), num_fixed=2), (5,), 0),
    "spline coupling": (
        Coupling(dense(3, 2, Spline(4), 2), Spline(4), num_fixed=3, swap=True),
        (5,),
        2,
    ),
    "coupling of maps": (maps_coupling(Affine()), (2, 3, 3), 0),
    "checkerboard": (MaskedCoupling(BOARD, hidden=4, condition=2, rngs=RNGS), (4, 4, 1), 2),
    "autoregressive": (Autoregressive(masked(4, Affine(), 2), Affine()), (4,), 2),
    "autoregressive spline": (
        Autoregressive(masked(4, Spline(3), order=(2, 0, 3, 1)), Spline(3)),
        (4,),
        0,
    ),
    "inverse": (Inverse(Autoregressive(masked(4, Affine()), Affine())), (4,), 0),
    "activation normalization": (ActNorm(2), (3, 3, 2), 0),
    "linear": (InvertibleLinear(3, rngs=RNGS), (2, 2, 3), 0),
    "whitening": (Whitening(3, condition=2, rngs=RNGS), (3,), 2),
    "multiscale": (
        Multiscale([glow_step(4), glow_step(8)], shape=(4, 4, 1)),
        (4, 4, 1),
        2,
    ),
}
UNIT = {
    "logit": (Logit(), (3,)),
    "probit": (Probit(), (2, 2)),
    "histogram": (Autoregressive(masked(4, Histogram(3)), Histogram(3)), (4,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_inverse_undoes_and_the_log_determinant_is_the_jacobian_s(name):
    with jax.enable_x64(True):
        layer, shape, size = LAYERS[name]
        layer = perturbed(nnx.clone(layer), dtype=jnp.float64)
        x = jax.random.normal(jax.random.key(1), (3, *shape), jnp.float64)
        condition = jax.random.normal(jax.random.key(2), (3, size), jnp.float64) if size else None
        jacobians = check_flow(layer, x, condition)
    if name == "autoregressive":
        assert np.all(np.triu(jacobians, 1) == 0)
    if name == "autoregressive spline":
        order = np.argsort((2, 0, 3, 1))
        assert np.all(np.triu(jacobians[:, order][:, :, order], 1) == 0)


@pytest.mark.parametrize("name", UNIT)
def test_the_layers_of_the_unit_interval_are_exact(name):
    with jax.enable_x64(True):
        layer, shape = UNIT[name]
        layer = perturbed(nnx.clone(layer), dtype=jnp.float64)
        x = jax.random.uniform(jax.random.key(1), (3, *shape), jnp.float64, 0.05, 0.95)
        check_flow(layer, x)


@pytest.mark.parametrize("name", ["affine coupling", "spline coupling", "multiscale"])
def test_in_float32_too(name):
    layer, shape, size = LAYERS[name]
    layer = perturbed(nnx.clone(layer))
    x = jax.random.normal(jax.random.key(1), (3, *shape))
    condition = jax.random.normal(jax.random.key(2), (3, size)) if size else None
    check_flow(layer, x, condition, tolerance=2e-5)


def test_a_flow_starts_as_the_identity():
    for name in ("affine coupling", "spline coupling", "autoregressive", "checkerboard"):
        layer, shape, size = LAYERS[name]
        x = jax.random.normal(jax.random.key(1), (3, *shape))
        y, log_det = jax.jit(layer.forward)(x, jnp.ones((3, size)) if size else None)
        np.testing.assert_allclose(y, x, atol=2e-6)
        np.testing.assert_allclose(log_det, 0, atol=2e-6)


def test_made_s_jacobian_is_strictly_triangular_and_full_below():
    made = perturbed(masked(5, Histogram(1), order=(4, 3, 2, 1, 0)))
    jacobian = jax.jacfwd(lambda x: made(x[None])[0, :, 0])(jnp.arange(5.0))[::-1, ::-1]
    assert np.all(np.triu(jacobian) == 0)
    assert np.all(np.tril(jacobian, -1)[np.tril_indices(5, -1)] != 0)


def test_the_condition_reaches_every_output():
    made = perturbed(masked(4, Affine(), condition=2))
    derivatives = jax.jacfwd(lambda c: made(jnp.ones((1, 4)), c[None]))(jnp.ones(2))
    assert np.all(derivatives != 0)


def test_a_missing_condition_is_refused():
    with pytest.raises(ValueError, match="made for one, got none"):
        masked(4, Affine(), condition=2)(jnp.ones((1, 4)))
    with pytest.raises(ValueError, match="made for one, got one"):
        masked(4, Affine())(jnp.ones((1, 4)), jnp.ones((1, 2)))


def test_whitening_starts_as_the_gaussian_of_a_batch():
    layer = Whitening(3, ridge=0.0, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (500, 3)) @ jnp.array(
        [[3.0, 1, 0], [0, 2, 1], [1, 0, 1]]
    )
    first = layer.data_dependent_init(x + 5)
    z, log_det = layer.forward(x + 5)
    np.testing.assert_array_equal(first, z)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(z, rowvar=False, ddof=0), np.eye(3), atol=1e-3)
    half = -0.5 * np.linalg.slogdet(np.cov(x, rowvar=False, ddof=0))[1]
    np.testing.assert_allclose(log_det, half, rtol=1e-3)


def test_whitening_takes_each_class_s_own_mean_away():
    layer = Whitening(2, condition=3, ridge=0.0, rngs=nnx.Rngs(0))
    labels = jnp.arange(600) % 3
    x = jax.random.normal(jax.random.key(0), (600, 2)) + 10 * jnp.stack([labels, -labels], axis=-1)
    condition = jax.nn.one_hot(labels, 3)
    layer.data_dependent_init(x, condition)
    z, _ = layer.forward(x, condition)
    for label in range(3):
        np.testing.assert_allclose(z[labels == label].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(z, rowvar=False, ddof=0), np.eye(2), atol=1e-3)


def test_normalization_starts_with_the_statistics_of_a_batch():
    layer = ActNorm(2)
    x = jax.random.normal(jax.random.key(0), (8, 3, 3, 2)) * 4 + 7
    layer.data_dependent_init(x)
    y, _ = layer.forward(x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-5)


def test_initializing_a_composition_returns_what_it_then_gives():
    flow = Multiscale([glow_step(4), glow_step(8)], shape=(4, 4, 1))
    x = 3 + jax.random.normal(jax.random.key(0), (16, 4, 4, 1))
    condition = jnp.ones((16, 2))
    z = flow.data_dependent_init(x, condition)
    np.testing.assert_array_equal(z, flow.forward(x, condition)[0])
    np.testing.assert_allclose(jnp.mean(z), 0, atol=1e-4)  # the couplings are the identity yet


def test_flattening_keeps_the_order_and_the_volume():
    x = jnp.arange(12.0).reshape(1, 2, 3, 2)
    z, log_det = Flatten((2, 3, 2)).forward(x)
    np.testing.assert_array_equal(z[0], np.arange(12))
    np.testing.assert_array_equal(log_det, [0])
    np.testing.assert_array_equal(Flatten((2, 3, 2)).inverse(z)[0], x)


@pytest.mark.parametrize(
    "conditioner",
    [
        DenseConditioner(2, 4, hidden=(50,), dropout=0.5, rngs=RNGS),
        Made(2, 2, hidden=(50,), dropout=0.5, rngs=RNGS),
        ConvConditioner(2, 4, hidden=50, dropout=0.5, rngs=RNGS),
    ],
    ids=["dense", "masked", "convolutional"],
)
def test_dropout_draws_from_the_key_and_is_off_in_evaluation(conditioner):
    conditioner = perturbed(nnx.clone(conditioner))
    x = jnp.ones((3, 4, 4, 2) if isinstance(conditioner, ConvConditioner) else (3, 2))
    a, b = jax.random.split(jax.random.key(0))
    call = jax.jit(lambda key: conditioner(x, key=key))
    assert np.array_equal(call(a), call(a))
    assert not np.array_equal(call(a), call(b))
    evaluated = nnx.view(conditioner, deterministic=True)
    np.testing.assert_array_equal(*jax.jit(lambda key: (evaluated(x, key=key), evaluated(x)))(a))
