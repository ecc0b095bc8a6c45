"""The judge of all generative experiments: a network that no generator saw, scores, and floors."""

from collections.abc import Mapping
from functools import cached_property, lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import Kind, read
from flax import nnx
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from lectures_jax import data, metrics, objectives, train
from lectures_jax.models.cnn import Cnn
from lectures_jax.report.page import Section, Table

MOST = 5000  # images of a set that the scores compare; pairs grow with the square
NEAREST = 1000  # samples whose nearest training image is looked for
NAMES = {
    "frechet": "classifier-Fréchet",
    "kernel": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "neighbor_ratio": "nearest-neighbor ratio",
    "least_class": "least class share",
}
"""What the scores are called where people read them."""


class Judge:
    """Scores of generated images against the real training images.

    The network is a small CNN that tells the classes of `splits.test` apart, augmented, so that it
    has seen nothing that a generator learns from. Its features are the 64 numbers before the last
    layer, whitened: over the training images their mean is 0 and their covariance the identity.
    So no score depends on the scale that the network happened to choose, and two sets of n images
    each of the same origin have a Fréchet distance of about 2000 / n; see `floors`.

    Attributes:
        count: how many samples to give, as many as there are training images, 5000 at most.
        accuracy: of the network, on the training images, which it never saw.
    """

    def __init__(self, splits: data.Splits, *, steps: int):
        self.splits = splits
        model, _ = train.fit(
            jax.random.key(0),
            Cnn(
                len(splits.classes),
                channels=((16,), (32,), (64,)),
                inputs=_channels(splits),
                rngs=nnx.Rngs(0),
            ),
            partial(objectives.classification, smoothing=0.05),
            optax.adamw(optax.cosine_onecycle_schedule(steps, 5e-3), weight_decay=0.02),
            data.batches(splits.test, batch_size=64, seed=0),
            steps=steps,
            ema_decay=0.99,
            augment=augment,
            log_every=max(steps, 1),
        )
        self._model = model
        images = splits.train["image"]
        self.count = min(len(images), MOST)
        chosen = np.random.default_rng(0).permutation(len(images))[: self.count]
        features, found = self._answer(images[chosen])
        self._mean = features.mean(axis=0)
        variance, axes = np.linalg.eigh(np.cov(features, rowvar=False))
        self._whiten = axes / np.sqrt(np.maximum(variance, 1e-6 * variance[-1]))
        self._real = (features - self._mean) @ self._whiten
        self.accuracy = float(np.mean(found == splits.train["labels"][chosen]))

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """Returns 64 numbers for each image."""
        return (self._answer(pictures)[0] - self._mean) @ self._whiten

    def labels(self, pictures: np.ndarray) -> np.ndarray:
        """Returns the class that each image is taken for."""
        return self._answer(pictures)[1]

    def shares(self, pictures: np.ndarray) -> np.ndarray:
        """Returns the share of each class."""
        labels = jnp.asarray(self.labels(pictures))
        return np.asarray(metrics.class_histogram(labels, num_classes=len(self.splits.classes)))

    def scores(self, pictures: np.ndarray) -> dict[str, float]:
        """Returns the scores by the names of `NAMES`.

        Args:
            images: `count` of them, float32 [n, h, w, c] in [0, 1].
        """
        return self._compare(pictures, self._real, self.splits.train["image"])

    @cached_property
    def floors(self) -> dict[str, dict[str, float]]:
        """What a model must beat, and what none can.

        Two random halves of the real training images, compared with each other; images drawn
        from a Gaussian mixture (full covariances, in the space of 30 principal components) and from
        probabilistic PCA (16 components), both fitted to the training images; and the training
        images themselves with a little noise, which beat all models but for the
        nearest-neighbor ratio.
        """
        images = self.splits.train["image"]
        order = np.random.default_rng(1).permutation(len(images))
        half = min(len(images) // 2, MOST)
        one, other = images[order[:half]], images[order[half : 2 * half]]
        return {
            "real against real": self._compare(one, self.features(other), other),
            "copies with noise": self.scores(_copies(images, self.count)),
            "Gaussian mixture": self.scores(_mixture(images[order[:MOST]], self.count)),
            "probabilistic PCA": self.scores(_principal(images[order[:MOST]], self.count)),
        }

    def _compare(
        self, pictures: np.ndarray, real: np.ndarray, learnt: np.ndarray
    ) -> dict[str, float]:
        features = self.features(pictures)
        few = np.random.default_rng(0).permutation(len(pictures))[:NEAREST]
        vectors = [
            x.reshape(len(x), -1) for x in (pictures[few], learnt, self.splits.test["image"])
        ]
        scores = {
            "frechet": metrics.frechet_distance(features, real),
            "kernel": metrics.kernel_distance(features, real),
            **metrics.manifold_scores(real, features)._asdict(),
            "neighbor_ratio": metrics.nearest_neighbor_ratio(
                vectors[0], vectors[1], vectors[2][:NEAREST]
            ),
            "least_class": self.shares(pictures).min(),
        }
        return {name: float(value) for name, value in scores.items()}

    def _answer(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return train.predict(self._model, pictures, function=features_and_labels)


@lru_cache(maxsize=4)
def judge(kind: Kind, root: Path | None, *, steps: int | None = None) -> Judge:
    """Returns the judge of a data set; trained once per process.

    Args:
        kind: as `_common.read`.
        root: as `_common.read`.
        steps: of the network's training; by default 500 for the digits (20 s) and 1500 for files;
            tests take fewer.
    """
    return Judge(read(kind, root), steps=steps or (500 if kind == "digits" else 1500))


def section(scores: Mapping[str, float], floors: Mapping[str, Mapping[str, float]]) -> Section:
    """Returns a model's scores beside the floors."""
    columns = {"this model": scores, **floors}
    rows = [[text, *(column[name] for column in columns.values())] for name, text in NAMES.items()]
    return Section(
        "Scores",
        "Distances are 0 for equal distributions and grow with too few images; precision, "
        "recall, density and coverage are 1 for perfect samples. Copying the training images "
        "with a little noise beats every model: its nearest-neighbor ratio, far below 1, gives it "
        "away. The network behind these numbers learnt from images that no generator saw.",
        table=Table(["score", *columns], rows),
    )


def augment(key: jax.Array, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Turns, scales and shifts each image a little, and adds noise."""
    images = batch["image"]
    n, h, w, c = images.shape
    key_place, key_noise = jax.random.split(key)
    u = jax.random.uniform(key_place, (n, 4, 1), minval=-1.0)
    angle, factor = 0.2 * u[:, 0], jnp.exp(0.12 * u[:, 1])
    cos, sin = jnp.cos(angle) / factor, jnp.sin(angle) / factor
    row, column = (x.reshape(1, -1) for x in jnp.indices((h, w), jnp.float32))
    y, x = row - (h - 1) / 2, column - (w - 1) / 2
    rows = cos * y - sin * x + u[:, 2] * h / 12 + (h - 1) / 2
    columns = sin * y + cos * x + u[:, 3] * w / 12 + (w - 1) / 2
    # Linear interpolation as products of matrices: small images, and a gather compiles for long.
    moved = jnp.einsum("npi,nijc->npjc", _weights(rows, h), images)
    moved = jnp.einsum("npj,npjc->npc", _weights(columns, w), moved).reshape(n, h, w, c)
    return {**batch, "image": moved + 0.05 * jax.random.normal(key_noise, moved.shape)}


def _weights(places: jax.Array, size: int) -> jax.Array:
    """How much each of `size` cells counts at each place; beyond the border its cell goes on."""
    inside = jnp.clip(places, 0, size - 1)[..., None]
    return jnp.maximum(1 - jnp.abs(inside - jnp.arange(size, dtype=inside.dtype)[None, None]), 0)


def features_and_labels(model: Cnn, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The numbers before the last layer, and the likeliest class."""
    pooled = model.features(pictures)["pooled"]
    return pooled, jnp.argmax(model.classify(pooled), axis=-1)


def _channels(splits: data.Splits) -> int:
    return splits.train["image"].shape[-1]


def _copies(images: np.ndarray, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    chosen = images[rng.permutation(len(images))[:count]]
    noise = rng.normal(size=chosen.shape).astype(np.float32)
    return np.clip(chosen + 0.05 * noise, 0, 1)


def _mixture(images: np.ndarray, count: int) -> np.ndarray:
    vectors = images.reshape(len(images), -1)
    pca = PCA(min(30, *vectors.shape), random_state=0).fit(vectors)
    codes = pca.transform(vectors)
    components = min(20, len(vectors))
    mixture = GaussianMixture(components, reg_covar=1e-3, max_iter=30, random_state=0).fit(codes)
    drawn = pca.inverse_transform(mixture.sample(count)[0])
    return np.clip(drawn, 0, 1).astype(np.float32).reshape(-1, *images.shape[1:])


def _principal(images: np.ndarray, count: int) -> np.ndarray:
    """Draws from probabilistic PCA: Tipping & Bishop (1999), eq. 7 and 8."""
    vectors = images.reshape(len(images), -1)
    pca = PCA(min(16, *vectors.shape), random_state=0).fit(vectors)
    rng = np.random.default_rng(0)
    noise = pca.noise_variance_
    spread = np.sqrt(np.maximum(pca.explained_variance_ - noise, 0))
    drawn = pca.mean_ + (rng.normal(size=(count, len(spread))) * spread) @ pca.components_
    drawn = drawn + np.sqrt(noise) * rng.normal(size=drawn.shape)
    return np.clip(drawn, 0, 1).astype(np.float32).reshape(-1, *images.shape[1:])
