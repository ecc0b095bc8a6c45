"""Collapse of the posterior where it is the minimum of the loss, and what changes the loss."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import weights
from lectures_jax.models.vae import Vae

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).random((32, 8, 8, 1), np.float32)


@pytest.fixture(scope="module")
def collapse(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch4_generative" / "collapse.py"
    spec = importlib.util.spec_from_file_location("experiment_collapse", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def gradient(collapse, variance, beta):
    """Of the loss in the parameters, times σ²."""
    sizes = {"shape": [8, 8, 1], "latent": 2, "hidden": 8, "dense": True}
    sizes |= {"variance": variance, "learned_variance": False}
    structure, params, rest = nnx.split(
        weights.build_model("vae", sizes, rngs=nnx.Rngs(0)), nnx.Param, ...
    )

    def loss(params):
        model = nnx.merge(structure, params, rest, copy=True)
        setting = collapse.Setting(beta=beta, warmup=1.0, free_bits=0.0)
        model.steps[...] = jnp.int32(5)
        return variance * collapse.fixed(model, {"image": jnp.asarray(IMAGES)}, KEY, setting)[0]

    return jax.tree.leaves(jax.grad(loss)(params))


def test_only_the_product_of_weight_and_variance_matters(collapse):
    base = gradient(collapse, 0.1, 4.0)
    for same, other in zip(base, gradient(collapse, 0.4, 1.0), strict=True):
        np.testing.assert_allclose(same, other, rtol=1e-3, atol=1e-5)
    changed = gradient(collapse, 0.1, 1.0)
    assert any(float(jnp.abs(a - b).max()) > 1e-3 for a, b in zip(base, changed, strict=True))


def test_a_weight_that_rises_is_whole_from_the_end_of_the_warm_up_on(collapse):
    config = collapse.Config(steps=8, hidden=8, latent=2, seeds=1)
    settings = [collapse.Setting(beta=2.0, warmup=4.0), collapse.Setting(beta=2.0)]
    rising, whole = collapse.train(config, settings, collapse.fixed, IMAGES).history["beta"].T
    np.testing.assert_allclose(rising, [0, 0.5, 1, 1.5, 2, 2, 2, 2])
    np.testing.assert_allclose(whole[1:], 2)


def test_units_are_in_use_where_the_images_vary_by_more_than_the_variance(collapse):
    """One number decides 16 pixels, each 0 or 1: together a variance of 4 along one direction.

    Above it the best code is none (Lucas et al. 2019, sec. 4.2); free nats make it cost nothing.
    """
    bits = np.random.default_rng(1).integers(0, 2, (64, 1, 1, 1)).astype(np.float32)
    images = np.full((64, 8, 8, 1), 0.5, np.float32)
    images[:, :4, :4] = bits
    config = collapse.Config(steps=400, hidden=16, latent=2, seeds=1)
    settings = [
        collapse.Setting(variance=0.1),
        collapse.Setting(variance=20.0),
        collapse.Setting(variance=20.0, free_bits=1.0),
    ]
    vaes = collapse.train(config, settings, collapse.fixed, images)
    used, collapsed, free = collapse.measure(config, vaes, images)[0]
    assert used["units"] >= 1
    assert (collapsed["units"], free["units"] >= 1) == (0, True)
    assert collapsed["divergence"] < 0.02
    assert used["error"] < 0.01 < 0.05 < collapsed["error"]
    np.testing.assert_allclose(collapsed["error"], [1 / 16], rtol=0.05)


def test_a_computed_variance_follows_the_error(collapse):
    config = collapse.Config(steps=300, hidden=16, latent=2, seeds=1)
    vaes = collapse.train(config, [collapse.Setting()], collapse.computed, IMAGES)
    variance = float(np.exp(vaes.call(lambda model: model.pixel_log_var[...])[0]))
    error = np.mean((vaes.call(Vae.__call__, jnp.asarray(IMAGES))[0] - IMAGES) ** 2)
    assert 0.8 * error < variance < 3 * error
