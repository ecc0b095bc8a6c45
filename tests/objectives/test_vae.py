"""The VAE's objective: its parts, its options, and exact bounds of a linear-Gaussian model."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from lectures_jax import losses, objectives, ops, train
from lectures_jax.models.autoencoder import DenseDecoder, dense_encoder
from lectures_jax.models.vae import Vae

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.random((5, 6)), jnp.float32)
KEY = jax.random.key(0)


def make(hidden=(8,), **options) -> Vae:
    rngs = nnx.Rngs(0)
    return Vae(
        dense_encoder((6,), 4, hidden=hidden, rngs=rngs),
        DenseDecoder(2, (6,), hidden=hidden, rngs=rngs),
        **options,
    )


def test_the_loss_is_reconstruction_plus_beta_times_the_divergence():
    model = make()
    loss, metrics = objectives.elbo(model, {"image": X}, KEY, beta=3.0)
    np.testing.assert_allclose(
        loss, metrics["reconstruction"] + 3 * metrics["divergence"], rtol=1e-6
    )
    kl = losses.gaussian_kl(*model.posterior(X))
    np.testing.assert_allclose(metrics["divergence"], kl.mean(), rtol=1e-5)


def test_images_and_vectors_have_the_same_loss():
    flat, _ = objectives.elbo(make(), {"image": X}, KEY)
    rngs = nnx.Rngs(0)
    model = Vae(
        dense_encoder((2, 3, 1), 4, hidden=(8,), rngs=rngs),
        DenseDecoder(2, (2, 3, 1), hidden=(8,), rngs=rngs),
    )
    loss, _ = objectives.elbo(model, {"image": X.reshape(5, 2, 3, 1)}, KEY)
    np.testing.assert_allclose(loss, flat, rtol=1e-6)


def test_free_bits_add_a_constant_and_no_gradient():
    def divergence_part(model, free_bits):
        loss, metrics = objectives.elbo(model, {"image": X}, KEY, free_bits=free_bits)
        return loss - metrics["reconstruction"]

    model = make()
    np.testing.assert_allclose(divergence_part(model, 50.0), 2 * 50)  # two units
    free = nnx.grad(partial(divergence_part, free_bits=50.0))(model)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(free))
    penalized = nnx.grad(partial(divergence_part, free_bits=0.0))(model)
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(penalized))


def test_the_divergence_warms_up_inside_the_step():
    warmup = partial(objectives.elbo, beta=optax.linear_schedule(0.0, 1.0, 4))
    model, history = train.fit(
        KEY,
        make(),
        warmup,
        optax.sgd(1e-3),
        ({"image": X} for _ in range(6)),
        steps=6,
        log_every=1,
    )
    betas = [row["beta"] for row in history]
    np.testing.assert_allclose(betas, [0, 0.25, 0.5, 0.75, 1, 1])
    assert model.steps[...] == 6


def test_the_optimal_variance_follows_the_error_and_never_rises():
    model = make(variance=0.5)
    z = jnp.zeros((5, 2))
    error = np.mean((X - model.decode(z)) ** 2)
    nll = objectives.optimal_sigma_nll(model, X, z, momentum=0.9)
    np.testing.assert_allclose(np.exp(model.pixel_log_var[...]), 0.9 * 0.5 + 0.1 * error, rtol=1e-5)
    np.testing.assert_allclose(nll, objectives.gaussian_nll(model, X, z), rtol=1e-6)
    model.pixel_log_var[...] = jnp.log(jnp.float32(error / 2))
    objectives.optimal_sigma_nll(model, X, z)
    np.testing.assert_allclose(np.exp(model.pixel_log_var[...]), error / 2, rtol=1e-5)


def test_training_keeps_the_optimal_variance():
    balanced = partial(objectives.elbo, reconstruction=objectives.optimal_sigma_nll)
    batches = ({"image": X} for _ in range(30))
    model, _ = train.fit(KEY, make(variance=1.0), balanced, optax.adam(1e-2), batches, steps=30)
    assert np.exp(model.pixel_log_var[...]) < 0.99**30 + 0.1


def test_the_learned_variance_is_drawn_to_the_squared_error():
    model = make(learned_variance=True)
    z = ops.reparameterize(KEY, *model.posterior(X))
    best = jnp.log(jnp.mean((X - model.decode(z)) ** 2))
    for offset, sign in ((0.0, 0), (0.5, 1), (-0.5, -1)):
        model.pixel_log_var[...] = best + offset
        grads = nnx.grad(lambda model: objectives.elbo(model, {"image": X}, KEY)[0])(model)
        assert np.sign(np.round(grads["pixel_log_var"][...], 4)) == sign


def linear() -> tuple[Vae, stats.rv_continuous]:
    """A VAE without hidden layers whose encoder is the true posterior, and the true density."""
    kernel = np.linalg.qr(RNG.normal(size=(6, 2)))[0] * [1.3, 0.6]
    variance, bias = 0.2, RNG.normal(size=6)
    model = make(hidden=(), squash=jax.nn.identity, variance=variance)
    gain = (kernel**2).sum(axis=0) / variance + 1  # the posterior's precision, diagonal
    weights = kernel / variance / gain
    encoder, decoder = model.encoder.layers[0], model.decoder.layers.layers[0]
    encoder.kernel[...] = jnp.asarray(np.hstack([weights, 0 * weights]), jnp.float32)
    encoder.bias[...] = jnp.asarray(np.concatenate([-bias @ weights, -np.log(gain)]), jnp.float32)
    decoder.kernel[...] = jnp.asarray(kernel.T, jnp.float32)
    decoder.bias[...] = jnp.asarray(bias, jnp.float32)
    covariance = kernel @ kernel.T + variance * np.eye(6)
    return model, stats.multivariate_normal(bias, covariance)


@pytest.mark.parametrize("samples", [1, 7])
def test_with_the_true_posterior_every_bound_is_the_likelihood(samples):
    model, truth = linear()
    bound = partial(objectives.iwae, samples=samples)
    _, metrics = bound(model, {"image": X}, KEY)
    np.testing.assert_allclose(metrics["log_likelihood"], truth.logpdf(X).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["effective_samples"], samples, rtol=1e-3)


def test_the_evidence_bound_has_the_likelihood_as_its_mean():
    model, truth = linear()
    many = jnp.tile(X[:1], (20_000, 1))
    loss, _ = objectives.elbo(model, {"image": many}, KEY)
    np.testing.assert_allclose(-loss, truth.logpdf(X[0]), atol=0.03)


def test_the_naive_estimate_arrives_from_below():
    model, truth = linear()
    batch = {"image": X[:1]}
    few, many = (
        float(objectives.naive_likelihood(model, batch, KEY, samples=k)[1]["log_likelihood"])
        for k in (2, 100_000)
    )
    assert few < many
    np.testing.assert_allclose(many, truth.logpdf(X[0]), atol=0.1)


def test_bernoulli_pixels_read_the_logits():
    model, z = make(), jnp.ones((5, 2))
    expected = losses.bernoulli_reconstruction(X, model.logits(z))
    np.testing.assert_allclose(objectives.bernoulli_nll(model, X, z), expected)
