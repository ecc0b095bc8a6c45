"""Images moved by the same length in four ways: at random, to fool, to dream, towards data."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.spatial.distance import cdist

from lectures_jax import input_optimization, ops
from lectures_jax.typing import Batch, Key

WAYS = ("noise", "attack", "dream", "towards data")


def move(
    key: Key, network: Any, test: Batch, training: Batch, *, length: float
) -> dict[str, np.ndarray]:
    """Returns images after each of `WAYS`, all moved by the same Euclidean length.

    Noise goes in a random direction; an attack is projected gradient descent on the classifier; a
    dream enhances what the network sees, by a smooth change; towards data leads to the nearest
    training image of another class.

    Args:
        key: of noise and of the attack's first points.
        network: classifier in evaluation mode, with `features(images)["pooled"]`.
        test: `image`, float32 [n, h, w, c] in [0, 1], and `labels`.
        training: `image` and `labels`, of at least two classes.
        length: of the change; less where black and white do not allow as much.
    """
    images, labels = jnp.asarray(test["image"]), jnp.asarray(test["labels"])
    key_noise, key_attack, key_dream = jax.random.split(key, 3)
    fooled = input_optimization.pgd(
        *(key_attack, network, images, labels),
        epsilon=length,
        step_size=length / 5,
        steps=20,
        norm="l2",
    )
    changes = (
        jax.random.normal(key_noise, images.shape),
        fooled - images,
        dream(key_dream, network, images, length=length),
        jnp.asarray(nearest_of_another_class(test, training)) - images,
    )
    changed = (np.asarray(to_length(images, change, length=length)) for change in changes)
    return dict(zip(WAYS, changed, strict=True))


@jax.jit
def to_length(images: jax.Array, change: jax.Array, *, length: float | jax.Array) -> jax.Array:
    """Returns images moved so far in a direction, within [0, 1].

    What is cut off at black and white is added to the other pixels, as far as they allow.

    Args:
        images: in [0, 1].
        change: direction, of any length.
        length: of the change, Euclidean.
    """
    for _ in range(20):
        norm = jnp.sqrt(jnp.sum(change**2, axis=(1, 2, 3), keepdims=True))
        change = jnp.clip(images + change * (length / jnp.maximum(norm, 1e-6)), 0, 1) - images
    return images + change


def dream(key: Key, network: Any, images: jax.Array, *, length: float) -> jax.Array:
    """Returns a smooth change of about this length that lets a network see more of what it sees.

    Half the mean square of the network's last map rises, as in Inceptionism; the change is a mean
    over 3×3 pixels, since natural images are smooth.

    Args:
        key: not used by the objective.
        network: with `features(images)["pooled"]`.
        images: where the dream begins.
        length: of the change, Euclidean.

    Source:
        Mordvintsev et al. (2015), "Inceptionism: going deeper into neural networks".
    """
    objective = Partial(_seen, network, images)
    start = jnp.zeros_like(images)
    options = {"steps": 30, "learning_rate": length / 30}
    return _smooth(input_optimization.optimize_inputs(key, objective, start, **options).inputs)


def _seen(network: Any, images: jax.Array, change: jax.Array, key: Key) -> jax.Array:
    seen = network.features(jnp.clip(images + _smooth(change), 0, 1))["pooled"]
    return -0.5 * jnp.mean(seen**2, axis=1)


_smooth = partial(ops.mean_pool, size=3, stride=1, padding="SAME")


def nearest_of_another_class(test: Batch, training: Batch) -> np.ndarray:
    """Returns for each test image the nearest training image with another label.

    Args:
        test: `image` and `labels`.
        training: `image` and `labels`, of at least two classes.
    """
    distance = pixel_distance(test["image"], training["image"])
    distance[test["labels"][:, None] == training["labels"]] = np.inf
    return training["image"][np.argmin(distance, axis=1)]


def pixel_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the Euclidean distances of all pairs, [n, m].

    Args:
        a: n images.
        b: m images.
    """
    return cdist(a.reshape(len(a), -1), b.reshape(len(b), -1))
