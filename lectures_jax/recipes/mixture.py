"""Mixtures of Gaussians: of a model's codes, and of images, which every flow has to beat."""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from lectures_jax import losses, ops
from lectures_jax.typing import Key

ALPHA = 0.05  # of the logit, as in the flows
CODES = 20_000  # that a mixture is fitted to, at most


class CodeMixture(NamedTuple):
    """A Gaussian mixture of codes.

    Attributes:
        mixture: scikit-learn's.
    """

    mixture: Any

    def sample(self, key: Key, count: int) -> np.ndarray:
        """Returns codes in random order, float32 [count, z].

        Args:
            key: of the draw.
            count: codes.
        """
        seed = int(jax.random.randint(key, (), 0, np.iinfo(np.int32).max))
        self.mixture.random_state = seed
        drawn = self.mixture.sample(count)[0].astype(np.float32)  # by component
        return np.random.default_rng(seed).permutation(drawn)

    def log_prob(self, codes: np.ndarray) -> np.ndarray:
        """Returns the log-density of each code, in nats.

        Args:
            codes: [n, z].
        """
        return self.mixture.score_samples(codes.astype(np.float64))


def fit_code_mixture(codes: np.ndarray, *, components: int, seed: int) -> CodeMixture:
    """Returns a mixture with full covariances, fitted to at most 20 000 codes.

    Args:
        codes: [n, z].
        components: Gaussians.
        seed: of the choice of codes and of where the fit begins.

    Source:
        Ghosh et al. (2020), sec. 4.
    """
    codes = codes[np.random.default_rng(seed).permutation(len(codes))[:CODES]]
    mixture = GaussianMixture(components, reg_covar=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # In float32 a covariance may come out indefinite.
        mixture.fit(codes.astype(np.float64))
    return CodeMixture(mixture)


class ImageMixture(NamedTuple):
    """A Gaussian mixture with full covariances of dequantized images after a logit.

    Attributes:
        mixture: scikit-learn's.
        shape: of an image.
        levels: of a pixel.
        components: Gaussians.
        ridge: what is added to the variances.
    """

    mixture: Any
    shape: tuple[int, ...]
    levels: int
    components: int
    ridge: float

    @property
    def parameters(self) -> int:
        """How many numbers the mixture is made of."""
        d = int(np.prod(self.shape))
        return self.components * (1 + d + d * (d + 1) // 2) - 1

    def bits_per_dim(self, key: Key, images: np.ndarray) -> float:
        """Returns the mean of the bits per dimension of images.

        Args:
            key: of the noise that dequantizes them.
            images: float32 [n, h, w, c] in [0, 1].
        """
        y, log_det = _logits(key, images, self.levels)
        nll = -(self.mixture.score_samples(y) + log_det)
        bits = losses.bits_per_dim(jnp.asarray(nll), dims=y.shape[1], levels=self.levels)
        return float(bits.mean())

    def sample(self, seed: int, count: int) -> np.ndarray:
        """Returns images in [0, 1].

        Args:
            seed: of the draw.
            count: images.
        """
        rng = np.random.default_rng(seed)
        chosen = rng.choice(self.components, count, p=self.mixture.weights_)
        roots = np.linalg.cholesky(self.mixture.covariances_)[chosen]
        noise = rng.standard_normal((count, roots.shape[-1]))
        y = self.mixture.means_[chosen] + np.einsum("nij,nj->ni", roots, noise)
        x, _ = ops.logit_transform_inverse(jnp.asarray(y, jnp.float32), alpha=ALPHA)
        return np.asarray(ops.quantize(x, levels=self.levels)).reshape(-1, *self.shape)


def fit_image_mixture(
    key: Key,
    images: np.ndarray,
    *,
    levels: int,
    components: tuple[int, ...] = (4, 8, 12, 16),
    ridges: tuple[float, ...] = (0.02, 0.05, 0.1),
    copies: int = 8,
) -> ImageMixture:
    """Fits mixtures to four fifths of the images, and the best by the remaining fifth to all.

    Args:
        key: of the noise that dequantizes the images, and of the split.
        images: float32 [n, h, w, c] in [0, 1].
        levels: of a pixel.
        components: numbers of Gaussians to try.
        ridges: what to try to add to the variances.
        copies: draws of the noise for each image of a fit.
    """

    def fit(some: np.ndarray, count: int, ridge: float) -> ImageMixture:
        y, _ = _logits(key, np.concatenate([some] * copies), levels)
        mixture = GaussianMixture(count, reg_covar=ridge, random_state=0)
        return ImageMixture(mixture.fit(y), images.shape[1:], levels, count, ridge)

    key, key_held, key_order = jax.random.split(key, 3)
    order = np.asarray(jax.random.permutation(key_order, len(images)))
    held_out, fitted = np.split(order, [len(images) // 5])
    tried = [fit(images[fitted], count, ridge) for count in components for ridge in ridges]
    best = min(tried, key=lambda mixture: mixture.bits_per_dim(key_held, images[held_out]))
    return fit(images, best.components, best.ridge)


def _logits(key: Key, images: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Dequantized images after the logit, as vectors, and their log-determinants.

    In double precision: of float32 a covariance may come out indefinite.
    """
    x = ops.dequantize(key, jnp.asarray(images), levels=levels).reshape(len(images), -1)
    y, log_derivative = ops.logit_transform(x, alpha=ALPHA)
    return np.asarray(y, np.float64), np.asarray(log_derivative.sum(axis=1))
