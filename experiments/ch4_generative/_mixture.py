"""The Gaussian mixture that every flow has to beat, measured the same way."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import losses, ops

ALPHA = 0.05  # of the logit, as in the flows


class Mixture(NamedTuple):
    """A mixture of Gaussians with full covariances of dequantized images after a logit.

    Attributes:
        mixture: scikit-learn's.
        shape: of an image.
        levels: of a pixel.
        components: chosen on a part of the training images.
        ridge: added to the variances, chosen likewise.
    """

    mixture: Any
    shape: tuple[int, ...]
    levels: int
    components: int
    ridge: float

    def bits_per_dim(self, key: jax.Array, images: np.ndarray) -> float:
        """Mean of the bits per dimension of images, with fresh noise."""
        y, log_det = logits_of(key, images, self.levels)
        nll = -(self.mixture.score_samples(y) + log_det)
        bits = losses.bits_per_dim(jnp.asarray(nll), dims=y.shape[1], levels=self.levels)
        return float(bits.mean())

    def sample(self, seed: int, count: int) -> np.ndarray:
        """Images in [0, 1]."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(self.components, count, p=self.mixture.weights_)
        roots = np.linalg.cholesky(self.mixture.covariances_)[chosen]
        noise = rng.standard_normal((count, roots.shape[-1]))
        y = self.mixture.means_[chosen] + np.einsum("nij,nj->ni", roots, noise)
        x, _ = ops.logit_transform_inverse(jnp.asarray(y, jnp.float32), alpha=ALPHA)
        return np.asarray(ops.quantize(x, levels=self.levels)).reshape(-1, *self.shape)


def logits_of(key: jax.Array, images: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Dequantized images after the logit, as vectors, and their log-determinants."""
    x = ops.dequantize(key, jnp.asarray(images), levels=levels).reshape(len(images), -1)
    y, log_slope = ops.logit_transform(x, alpha=ALPHA)
    return np.asarray(y), np.asarray(log_slope.sum(axis=1))


def fit_mixture(
    key: jax.Array,
    images: np.ndarray,
    *,
    levels: int,
    components: tuple[int, ...] = (4, 8, 12, 16),
    ridges: tuple[float, ...] = (0.02, 0.05, 0.1),
    copies: int = 8,
) -> Mixture:
    """Fits mixtures to four fifths of the images and the best of them, by the rest, to all.

    Args:
        key: of the noise.
        images: to learn from.
        levels: of a pixel.
        components: numbers to try.
        ridges: to try.
        copies: draws of the noise of each image that is learnt from.
    """
    from sklearn.mixture import GaussianMixture

    def fit(pictures: np.ndarray, count: int, ridge: float) -> Mixture:
        y, _ = logits_of(key, np.concatenate([pictures] * copies), levels)
        mixture = GaussianMixture(count, reg_covar=ridge, random_state=0)
        return Mixture(mixture.fit(y), images.shape[1:], levels, count, ridge)

    key, key_held, key_order = jax.random.split(key, 3)
    order = np.asarray(jax.random.permutation(key_order, len(images)))
    held, learnt = np.split(order, [len(images) // 5])
    tried = [fit(images[learnt], count, ridge) for count in components for ridge in ridges]
    best = min(tried, key=lambda m: m.bits_per_dim(key_held, images[held]))
    return fit(images, best.components, best.ridge)
