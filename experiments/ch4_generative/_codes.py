"""Codes of images: encoding, decoding, and distributions fitted to them afterwards."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from lectures_jax import data, objectives, ops, train
from lectures_jax.models.autoencoder import DenseDecoder, dense_encoder
from lectures_jax.models.vae import Vae

Draw = Callable[[jax.Array, int], np.ndarray]
"""`(key, count) -> codes`."""


def encode(model: Vae, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log variance of the posterior of each image."""
    return train.predict(model, images, function=Vae.posterior)


def decode(model: Vae, codes: np.ndarray) -> np.ndarray:
    """The image of each code."""
    return train.predict(model, codes, function=Vae.decode)


def draw_codes(key: jax.Array, model: Vae, images: np.ndarray) -> np.ndarray:
    """A sample from the posterior of each image."""
    mean, log_var = (jnp.asarray(x) for x in encode(model, images))
    return np.asarray(ops.reparameterize(key, mean, log_var))


class CodeMixture(NamedTuple):
    """A Gaussian mixture of codes, scikit-learn's."""

    mixture: GaussianMixture

    def sample(self, key: jax.Array, count: int) -> np.ndarray:
        """So many codes, in random order."""
        seed = int(jax.random.randint(key, (), 0, np.iinfo(np.int32).max))
        self.mixture.random_state = seed
        drawn = self.mixture.sample(count)[0].astype(np.float32)  # by component
        return np.random.default_rng(seed).permutation(drawn)

    def log_prob(self, codes: np.ndarray) -> np.ndarray:
        """The density of each code, in nats."""
        return self.mixture.score_samples(codes.astype(np.float64))


def fit_mixture(codes: np.ndarray, *, components: int, seed: int) -> CodeMixture:
    """Fits a mixture to at most 20 000 codes. Source: Ghosh et al. (2020), sec. 4."""
    codes = codes[np.random.default_rng(seed).permutation(len(codes))[:20_000]]
    mixture = GaussianMixture(components, reg_covar=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # In float32 a covariance may come out indefinite.
        mixture.fit(codes.astype(np.float64))
    return CodeMixture(mixture)


def learn_second_stage(
    key: jax.Array, codes: np.ndarray, *, hidden: int, batch_size: int, steps: int
) -> Draw:
    """Trains a VAE of the codes, and returns its samples. Source: Dai & Wipf (2019), sec. 4."""
    d = codes.shape[1]
    key_init, key_train = jax.random.split(key)
    rngs = nnx.Rngs(key_init)
    model = Vae(
        dense_encoder((d,), 2 * d, hidden=(hidden,), rngs=rngs),
        DenseDecoder(d, (d,), hidden=(hidden,), rngs=rngs),
        squash=jax.nn.identity,
        variance=1.0,
        learned_variance=True,
    )
    examples = {"image": codes, "labels": np.zeros(len(codes), np.int32)}
    model, _ = train.fit(
        key_train,
        model,
        objectives.elbo,
        optax.adam(optax.cosine_decay_schedule(1e-3, steps)),
        data.batches(examples, batch_size=batch_size, seed=0),
        steps=steps,
        ema_decay=0.99,
        log_every=steps,
    )

    def draw(key: jax.Array, count: int) -> np.ndarray:
        key_code, key_noise = jax.random.split(key)
        mean = model.decode(jax.random.normal(key_code, (count, d)))
        deviation = jnp.exp(model.pixel_log_var[...] / 2)
        return np.asarray(mean + deviation * jax.random.normal(key_noise, mean.shape))

    return draw
