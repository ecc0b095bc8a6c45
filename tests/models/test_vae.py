"""Autoencoders and the VAE: shapes, PCA's subspace, and what the encoder's output means."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.linalg import subspace_angles

from lectures_jax import objectives, train
from lectures_jax.models.autoencoder import (
    Autoencoder,
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    dense_encoder,
)
from lectures_jax.models.vae import Vae


def test_a_linear_autoencoder_spans_the_subspace_of_pca():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    x = (rng.normal(size=(256, 8)) * [3, 2, 1, 0.5, 0.4, 0.3, 0.2, 0.1] @ axes).astype(np.float32)
    x -= x.mean(axis=0)
    rngs = nnx.Rngs(0)
    model = Autoencoder(
        dense_encoder((8,), 2, hidden=(), rngs=rngs),
        DenseDecoder(2, (8,), hidden=(), rngs=rngs),
        squash=jax.nn.identity,
    )
    model, _ = train.fit(
        jax.random.key(0),
        model,
        objectives.autoencoder,
        optax.sgd(0.01, momentum=0.9),
        ({"image": x} for _ in range(800)),
        steps=800,
    )
    principal = np.linalg.svd(x)[2][:2]
    kernel = np.asarray(model.decoder.layers.layers[0].kernel[...])
    assert subspace_angles(kernel.T, principal.T).max() < 0.02
    residual = np.mean((x - x @ principal.T @ principal) ** 2)
    np.testing.assert_allclose(np.mean((model(jnp.asarray(x)) - x) ** 2), residual, rtol=1e-3)


@nnx.jit
def code_and_reconstruction(model, x):
    return model.encode(x), model(x)


def test_pairs_take_images_to_codes_and_back():
    shape, rngs = (8, 12, 3), nnx.Rngs(0)
    dense = Autoencoder(
        dense_encoder(shape, 5, hidden=(4,), rngs=rngs),
        DenseDecoder(5, shape, hidden=(4,), rngs=rngs),
    )
    images = Autoencoder(
        ConvEncoder(shape, 5, channels=(2, 3), hidden=4, rngs=rngs),
        ConvDecoder(5, shape, channels=(3, 2), hidden=4, rngs=rngs),
    )
    for model in (dense, images):
        code, reconstruction = code_and_reconstruction(model, jnp.zeros((2, *shape)))
        assert code.shape == (2, 5)
        assert reconstruction.shape == (2, *shape)
        assert np.all((reconstruction > 0) & (reconstruction < 1))


def test_an_image_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="divisible by 4 in height and width, got"):
        ConvEncoder((28, 30, 1), 5, rngs=nnx.Rngs(0))


def vae(**options) -> Vae:
    rngs = nnx.Rngs(0)
    return Vae(
        dense_encoder((6,), 4, hidden=(8,), rngs=rngs),
        DenseDecoder(2, (6,), hidden=(8,), rngs=rngs),
        **options,
    )


def test_the_encoder_s_output_is_mean_and_log_variance():
    model, x = vae(), jnp.linspace(0, 1, 12).reshape(2, 6)
    mean, log_var = model.posterior(x)
    np.testing.assert_array_equal(jnp.concatenate([mean, log_var], 1), model.encoder(x))
    np.testing.assert_array_equal(model.encode(x), mean)
    np.testing.assert_allclose(model.decode(mean), jax.nn.sigmoid(model.logits(mean)))
    np.testing.assert_array_equal(model(x), model.decode(mean))
    assert not np.allclose(model(x, key=jax.random.key(0)), model(x))


@pytest.mark.parametrize("learned", [True, False])
def test_the_variance_is_a_parameter_only_where_it_is_learned(learned):
    params = nnx.state(vae(variance=0.3, learned_variance=learned), nnx.Param)
    assert ("pixel_log_var" in params) == learned
