"""The network that scores samples, trained on images that no generator sees, and baselines."""

from functools import cached_property, lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from lectures_jax import data, metrics, objectives, train
from lectures_jax.models.cnn import Cnn
from lectures_jax.recipes.generator import Kind

IMAGES = 5000  # of a set that the scores compare, at most; pairs grow with the square
NEAREST = 1000  # samples whose nearest training image is looked for


class Evaluator:
    """Scores of generated images against the real training images.

    The network is a small CNN that classifies augmented images of `splits.test`, so that it has
    seen nothing that a generator is trained on. Its features are the 64 numbers before the last
    layer, whitened: over the training images their mean is 0 and their covariance the identity.
    So no score depends on the scale that the network happened to choose, and two sets of n images
    each of the same origin have a Fréchet distance of about 2000 / n; see `baselines`.

    Args:
        splits: the network is trained on `test`, and scores compare with `train`.
        steps: of the network's training.
        most: images that the scores compare, at most.
        out: folder in which the network's training is kept and resumed; None leaves no files.

    Attributes:
        count: how many samples to give, as many as there are training images, `most` at most.
        accuracy: of the network, on the training images, which it never saw.
    """

    def __init__(
        self, splits: data.Splits, *, steps: int, most: int = IMAGES, out: Path | None = None
    ):
        self.splits = splits
        self._model = train_classifier(splits, out, steps=steps)
        images = splits.train["image"]
        self.count = min(len(images), most)
        chosen = np.random.default_rng(0).permutation(len(images))[: self.count]
        features, labels = self._predict(images[chosen])
        self._mean = features.mean(axis=0)
        variance, axes = np.linalg.eigh(np.cov(features, rowvar=False))
        self._whiten = axes / np.sqrt(np.maximum(variance, 1e-6 * variance[-1]))
        self._real = (features - self._mean) @ self._whiten
        self.accuracy = float(np.mean(labels == splits.train["labels"][chosen]))

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns 64 whitened numbers for each image.

        Args:
            images: float32 [n, h, w, c] in [0, 1].
        """
        return (self._predict(images)[0] - self._mean) @ self._whiten

    def labels(self, images: np.ndarray) -> np.ndarray:
        """Returns the predicted class of each image.

        Args:
            images: float32 [n, h, w, c] in [0, 1].
        """
        return self._predict(images)[1]

    def class_shares(self, images: np.ndarray) -> np.ndarray:
        """Returns the share of the images that is predicted as each class.

        Args:
            images: float32 [n, h, w, c] in [0, 1].
        """
        labels = jnp.asarray(self.labels(images))
        return np.asarray(metrics.class_histogram(labels, num_classes=len(self.splits.classes)))

    def scores(self, images: np.ndarray) -> dict[str, float]:
        """Returns the scores by the names of `report.SAMPLE_SCORES`.

        Args:
            images: `count` samples, float32 [n, h, w, c] in [0, 1].
        """
        return self._compare(images, self._real, self.splits.train["image"])

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """The scores that a model must beat, and those that none can reach.

        Two random halves of the real training images, compared with each other; images drawn
        from a Gaussian mixture (full covariances, in the space of 30 principal components) and from
        probabilistic PCA (16 components), both fitted to the training images; and the training
        images themselves with a little noise, which beat all models but for the
        nearest-neighbor ratio.
        """
        images, most = self.splits.train["image"], self.count
        order = np.random.default_rng(1).permutation(len(images))
        half = min(len(images) // 2, most)
        one, other = images[order[:half]], images[order[half : 2 * half]]
        return {
            "real against real": self._compare(one, self.features(other), other),
            "copies with noise": self.scores(_copies(images, most)),
            "Gaussian mixture": self.scores(_from_mixture(images[order[:most]], most)),
            "probabilistic PCA": self.scores(_from_pca(images[order[:most]], most)),
        }

    def _compare(
        self, images: np.ndarray, real: np.ndarray, trained_on: np.ndarray
    ) -> dict[str, float]:
        """Scores of images by the features of real ones; copies are looked for in `trained_on`."""
        features = self.features(images)
        few = np.random.default_rng(0).permutation(len(images))[:NEAREST]
        sets = (images[few], trained_on, self.splits.test["image"][:NEAREST])
        drawn, trained_on, unseen = (x.reshape(len(x), -1) for x in sets)
        scores = {
            "frechet": metrics.frechet_distance(features, real),
            "kernel": metrics.kernel_distance(features, real),
            **metrics.manifold_scores(real, features)._asdict(),
            "neighbor_ratio": metrics.nearest_neighbor_ratio(drawn, trained_on, unseen),
            "least_class": self.class_shares(images).min(),
        }
        return {name: float(value) for name, value in scores.items()}

    def _predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return train.predict(self._model, images, function=features_and_labels)


@lru_cache(maxsize=4)
def evaluator(
    kind: Kind,
    root: Path | None,
    run_folder: Path | None,
    *,
    steps: int | None = None,
    most: int = IMAGES,
) -> Evaluator:
    """Returns the evaluator of a data set; trained once per process and folder.

    Args:
        kind: of the data set, as `data.read_classified` takes it.
        root: where the files are.
        run_folder: of the run that is scored, in whose `evaluator` the network's training is kept,
            so that a resumed run reads it back; None leaves no files.
        steps: of the network's training; by default 500 for the digits (20 s) and 1500 for files.
        most: images that the scores compare, at most.
    """
    splits = data.read_classified(kind, root)
    default = 500 if kind == "digits" else 1500
    out = None if run_folder is None else run_folder / "evaluator"
    return Evaluator(splits, steps=default if steps is None else steps, most=most, out=out)


def train_classifier(splits: data.Splits, out: Path | None, *, steps: int) -> Cnn:
    """Returns a small network that classifies the images of `splits.test`.

    Args:
        splits: `test` is trained on.
        out: folder of the training; None leaves no files.
        steps: of the training.
    """
    model, _ = train.fit(
        jax.random.key(0),
        Cnn(
            len(splits.classes),
            channels=((16,), (32,), (64,)),
            inputs=splits.train["image"].shape[-1],
            rngs=nnx.Rngs(0),
        ),
        partial(objectives.classification, smoothing=0.05),
        optax.adamw(optax.cosine_onecycle_schedule(steps, 5e-3), weight_decay=0.02),
        data.batches(splits.test, batch_size=64, seed=0),
        steps=steps,
        out=out,
        ema_decay=0.99,
        augment=partial(data.augment_classification, kind="affine"),
        log_every=max(steps, 1),
    )
    return model


def features_and_labels(model: Cnn, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the numbers before the last layer, and the likeliest class.

    Args:
        model: of `train_classifier`.
        images: float32 [n, h, w, c] in [0, 1].
    """
    pooled = model.features(images)["pooled"]
    return pooled, jnp.argmax(model.classify(pooled), axis=-1)


def _copies(images: np.ndarray, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    chosen = images[rng.permutation(len(images))[:count]]
    noise = rng.normal(size=chosen.shape).astype(np.float32)
    return np.clip(chosen + 0.05 * noise, 0, 1)


def _from_mixture(images: np.ndarray, count: int) -> np.ndarray:
    vectors = images.reshape(len(images), -1)
    pca = PCA(min(30, *vectors.shape), random_state=0).fit(vectors)
    codes = pca.transform(vectors)
    components = min(20, len(vectors))
    mixture = GaussianMixture(components, reg_covar=1e-3, max_iter=30, random_state=0)
    mixture.fit(codes.astype(np.float64))  # in float32 a covariance may come out indefinite
    drawn = pca.inverse_transform(mixture.sample(count)[0])
    return np.clip(drawn, 0, 1).astype(np.float32).reshape(-1, *images.shape[1:])


def _from_pca(images: np.ndarray, count: int) -> np.ndarray:
    """Draws from probabilistic PCA. Source: Tipping & Bishop (1999), eq. 7 and 8."""
    vectors = images.reshape(len(images), -1)
    pca = PCA(min(16, *vectors.shape), random_state=0).fit(vectors)
    rng = np.random.default_rng(0)
    noise = pca.noise_variance_
    deviation = np.sqrt(np.maximum(pca.explained_variance_ - noise, 0))
    drawn = pca.mean_ + (rng.normal(size=(count, len(deviation))) * deviation) @ pca.components_
    drawn = drawn + np.sqrt(noise) * rng.normal(size=drawn.shape)
    return np.clip(drawn, 0, 1).astype(np.float32).reshape(-1, *images.shape[1:])
