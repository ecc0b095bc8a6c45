"""Whole flows: exact, densities that integrate to 1, samples of the density, classes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import losses, objectives
from lectures_jax.models.flow import autoregressive_flow, coupling_flow
from lectures_jax.models.image_flow import histogram_flow, multiscale_flow
from lectures_jax.nn.transforms import Affine, Spline
from tests.nn.flows import check_flow, perturbed

SMALL = {"hidden": (8,), "layers": 3}


def plane(kind):
    """A flow of the plane, away from the identity."""
    rngs = nnx.Rngs(0)
    match kind:
        case "affine":
            flow = coupling_flow(2, rngs=rngs, **SMALL)
        case "spline":
            flow = coupling_flow(2, transform=Spline(5, 3.0), rngs=rngs, **SMALL)
        case "maf":
            flow = autoregressive_flow(2, rngs=rngs, **SMALL)
        case _:
            flow = autoregressive_flow(2, inverse=True, rngs=rngs, **SMALL)
    return perturbed(flow, scale=0.2)


@pytest.mark.parametrize(
    ("kind", "reach"), [("affine", 25), ("spline", 8), ("maf", 25), ("iaf", 25)]
)
def test_the_density_integrates_to_1(kind, reach):
    flow = plane(kind)
    x, y = jnp.meshgrid(*(jnp.linspace(-reach, reach, 801) for _ in range(2)))
    points = jnp.stack([x.ravel(), y.ravel()], axis=-1)
    log_prob = jax.jit(flow.log_prob)(points)
    assert float(jnp.exp(log_prob).sum()) * (reach / 400) ** 2 == pytest.approx(1, abs=0.002)
    normal = -losses.flow_nll(points, jnp.zeros(len(points)))
    assert float(jnp.abs(jnp.exp(log_prob) - jnp.exp(normal)).max()) > 0.05


def test_samples_follow_the_density():
    flow = plane("spline")
    z = jax.random.normal(jax.random.key(0), (20_000, 2))
    x, log_det = jax.jit(flow.inverse)(z)
    expected = -losses.flow_nll(z, -log_det)
    np.testing.assert_allclose(jax.jit(flow.log_prob)(x), expected, atol=2e-4)
    samples = jax.jit(lambda key: flow.sample(key, 20_000))(jax.random.key(1))
    # Mean log-density under the model: minus its entropy, from either draw.
    average = jnp.mean(jax.jit(flow.log_prob)(samples))
    np.testing.assert_allclose(average, jnp.mean(expected), atol=0.03)


def test_maf_and_iaf_are_each_other_s_inverse():
    options = {"layers": 1, "hidden": (8,)}
    maf = perturbed(autoregressive_flow(3, rngs=nnx.Rngs(0), **options))
    iaf = perturbed(autoregressive_flow(3, inverse=True, rngs=nnx.Rngs(0), **options))
    maf.bijection.layers = maf.bijection.layers[:1]
    iaf.bijection.layers = iaf.bijection.layers[:1]
    x = jax.random.normal(jax.random.key(0), (4, 3))
    np.testing.assert_allclose(jax.jit(iaf.forward)(x)[0], jax.jit(maf.inverse)(x)[0], atol=1e-6)

    def calls(function):
        text = str(jax.make_jaxpr(function)(x))
        return "while" in text or "scan" in text

    assert not calls(maf.forward)  # one call of the network
    assert calls(maf.inverse)  # one for each feature
    assert calls(iaf.forward)
    assert not calls(iaf.inverse)


@pytest.mark.parametrize("kind", ["coupling", "spline", "image", "histogram"])
def test_whole_models_are_exact(kind):
    with jax.enable_x64(True):
        rngs = nnx.Rngs(0)
        key = jax.random.key(1)
        if kind in ("coupling", "spline"):
            transform = Affine() if kind == "coupling" else Spline(4)
            flow = coupling_flow(
                5, transform=transform, layers=3, hidden=(6,), mix=True, condition=2, rngs=rngs
            )
            x = jax.random.normal(key, (3, 5), jnp.float64)
            condition = jax.random.normal(key, (3, 2), jnp.float64)
        else:
            shape, condition = (4, 4, 1), jnp.array([0, 2, 1])
            x = jax.random.uniform(key, (3, *shape), jnp.float64, 0.05, 0.95)
            flow = (
                multiscale_flow(shape, scales=2, steps=1, hidden=2, dense=2, classes=3, rngs=rngs)
                if kind == "image"
                else histogram_flow(shape, levels=4, hidden=(20,), classes=3, rngs=rngs)
            )
        check_flow(perturbed(flow, dtype=jnp.float64), x, condition)


def test_the_data_dependent_start_normalizes_what_every_normalization_gives():
    flow = multiscale_flow((4, 4, 1), scales=1, steps=1, hidden=4, rngs=nnx.Rngs(0))
    x = jax.random.beta(jax.random.key(0), 2, 5, (64, 4, 4, 1))
    flow.data_dependent_init(x)
    # The couplings are the identity yet, and rotations preserve the second moment.
    z, _ = jax.jit(flow.forward)(x)
    np.testing.assert_allclose(jnp.mean(z), 0, atol=1e-4)
    np.testing.assert_allclose(jnp.mean(z**2), 1, rtol=1e-3)


def test_the_data_dependent_start_centers_each_class():
    flow = multiscale_flow(
        (4, 4, 1), scales=1, steps=1, hidden=4, dense=1, classes=2, rngs=nnx.Rngs(0)
    )
    labels = jnp.arange(64) % 2
    x = jax.random.beta(jax.random.key(0), 2, jnp.where(labels == 0, 2, 8)[:, None, None, None])
    x = x * jax.random.uniform(jax.random.key(1), (64, 4, 4, 1), minval=0.7)
    flow.data_dependent_init(x, labels)
    z, _ = jax.jit(flow.forward)(x, labels)
    means = jnp.stack([jnp.mean(z[labels == label], axis=0) for label in (0, 1)])
    np.testing.assert_allclose(means, 0, atol=1e-3)


def test_without_a_class_the_density_is_the_mean_over_the_classes():
    flow = perturbed(histogram_flow((2, 2, 1), levels=3, hidden=(9,), classes=3, rngs=nnx.Rngs(0)))
    x = jax.random.uniform(jax.random.key(0), (5, 2, 2, 1))
    log_prob = jax.jit(flow.log_prob)
    each = [log_prob(x, jnp.full(5, label)) for label in range(3)]
    np.testing.assert_allclose(log_prob(x), np.log(np.mean(np.exp(each), axis=0)), rtol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 0.1
    sample = jax.jit(lambda key: flow.sample(key, 7))(jax.random.key(1))
    assert sample.shape == (7, 2, 2, 1)
    assert np.all((sample >= 0) & (sample <= 1))


def test_even_pixels_cost_log2_of_the_levels():
    flow = histogram_flow((2, 2, 1), levels=17, hidden=(9,), rngs=nnx.Rngs(0))
    batch = {"image": jax.random.randint(jax.random.key(0), (50, 2, 2, 1), 0, 17) / 16}
    objective = jax.jit(partial(objectives.flow_bits_per_dim, flow, levels=17))
    bits, metrics = objective(batch, jax.random.key(1))
    # The log-determinant of the histogram is 0; the normal's quantiles undo its density.
    np.testing.assert_allclose(bits, np.log2(17), rtol=1e-5)
    np.testing.assert_array_equal(metrics["loss"], bits)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coupling_flow(1, rngs=nnx.Rngs(0)), "features must be at least 2, got 1"),
        (
            lambda: multiscale_flow((6, 4, 1), rngs=nnx.Rngs(0)),
            r"shape must be divisible by 2 2 times, got \(6, 4, 1\)",
        ),
    ],
)
def test_impossible_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
