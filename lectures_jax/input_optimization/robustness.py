"""Accuracy under attack: an ensemble of attacks, each on what those before it have not fooled."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lectures_jax.input_optimization.attack_adaptive import LEAST, run_apgd
from lectures_jax.input_optimization.attack_arguments import (
    Inputs,
    Labels,
    Logits,
    check_norm,
    logits_shape,
    per_example,
    prepared,
)
from lectures_jax.input_optimization.perturbation import Keys
from lectures_jax.input_optimization.square import square_attack
from lectures_jax.typing import Key, check_count

Attack = Callable[[Keys, Array, Array, np.ndarray], Array]
"""`(keys, x, labels, indices) -> inputs`, of some examples."""


class Robustness(NamedTuple):
    """How a network stands up to attacks.

    Attributes:
        accuracy: share of the examples that are right as they are and that no attack has fooled; at
            least as high as the accuracy under the worst perturbation.
        clean_accuracy: share of those that are right as they are.
        remaining: accuracy after each attack, in the order in which they were run.
        robust: which examples no attack has fooled.
        inputs: what has fooled the network, or x.
    """

    accuracy: float
    clean_accuracy: float
    remaining: dict[str, float]
    robust: Bool[np.ndarray, " b"]
    inputs: Float[np.ndarray, "b *d"]


def robust_accuracy(
    key: Key,
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: float,
    norm: Literal["linf", "l2"] = "linf",
    steps: int = 100,
    restarts: int = 2,
    targets: int = 9,
    queries: int = 1000,
    batch_size: int = 64,
) -> Robustness:
    """Returns the accuracy under an ensemble of attacks that need no tuning.

    Auto-PGD with the cross-entropy; Auto-PGD with the difference of logits ratio, towards each of
    the likeliest wrong classes where there are four classes or more; and on images the Square
    attack, which uses no gradient and so notices where gradients are hidden.

    Args:
        key: of all draws; the results do not depend on the batches.
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: true classes.
        epsilon: radius of the ball.
        norm: of the ball.
        steps: of each restart of Auto-PGD.
        restarts: of each Auto-PGD; one leaves up to a point more of a plain network's accuracy on
            digits than five of 1,000 steps do, two leave a third of a point at most.
        targets: likeliest wrong classes that are gone for, at most.
        queries: of the Square attack for each image; 0 leaves it out.
        batch_size: examples that are attacked at once.

    Raises:
        ValueError: if ε is negative, a label is no class, x is not in [0, 1], or a number is out of
            range.

    Source:
        Croce & Hein (2020), sec. 5, without FAB, which added nothing to the other three in most of
        its table 2.
    """
    check_norm(norm, allowed=("linf", "l2"))
    check_count(steps=steps, restarts=restarts, targets=targets, batch_size=batch_size)
    check_count(queries=queries, low=0)
    if np.ndim(epsilon) != 0:
        raise ValueError(f"epsilon must be one number, got shape {np.shape(epsilon)}.")
    logits_fn, *_ = prepared(logits_fn, x, labels, epsilon=epsilon)
    run = _Run(key, logits_fn, np.asarray(x), np.asarray(labels), batch_size)
    clean = run.accuracy
    others = np.argsort(-np.where(run.is_own, -np.inf, run.logits), axis=1, kind="stable")

    def adaptive(loss: str, rank: int) -> Attack:
        def attack(keys: Keys, x: Array, labels: Array, indices: np.ndarray) -> Array:
            towards = jnp.asarray(others[indices, rank])
            budget = per_example(epsilon, x)
            options = {"norm": norm, "loss": loss, "steps": steps, "restarts": restarts}
            return run_apgd(keys, logits_fn, x, labels, towards, budget, **options)

        return attack

    def square(keys: Keys, x: Array, labels: Array, indices: np.ndarray) -> Array:
        options = {"epsilon": epsilon, "norm": norm, "queries": queries}
        return square_attack(keys, logits_fn, x, labels, **options).inputs

    classes = run.logits.shape[1]
    run.attack("Auto-PGD, cross-entropy", adaptive("ce", 0))
    if classes >= LEAST["dlr towards"]:
        for rank in range(min(targets, classes - 1)):
            run.attack("Auto-PGD, towards each class", adaptive("dlr towards", rank))
    elif classes >= LEAST["dlr"]:
        run.attack("Auto-PGD, difference of logits", adaptive("dlr", 0))
    if queries and x.ndim == 4:
        run.attack("Square", square)
    return Robustness(run.accuracy, clean, run.remaining, run.robust, run.inputs)


class _Run:
    """The examples that are left, and attacks on them in batches of one shape."""

    def __init__(
        self, key: Key, logits_fn: Any, x: np.ndarray, labels: np.ndarray, batch_size: int
    ):
        self.keys = jax.random.split(key, len(x))
        self.logits_fn, self.x, self.labels = logits_fn, x, labels
        self.batch_size = min(batch_size, max(len(x), 1))
        self.inputs = x.copy()
        classes = logits_shape(logits_fn, jnp.asarray(x[:1]))[1]
        self.logits = np.zeros((len(x), classes), x.dtype)
        for batch, count in self._batches(np.arange(len(x))):
            logits = _call(logits_fn, jnp.asarray(x[batch]))
            self.logits[batch[:count]] = np.asarray(logits)[:count]
        self.is_own = np.eye(classes, dtype=bool)[labels]
        self.robust = self.logits.argmax(axis=1) == labels
        self.remaining: dict[str, float] = {}

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.robust)) if len(self.robust) else float("nan")

    def attack(self, name: str, attack: Attack) -> None:
        """Attacks what is left, and asks the network itself whether it is fooled."""
        for batch, count in self._batches(np.flatnonzero(self.robust)):
            x, labels = jnp.asarray(self.x[batch]), jnp.asarray(self.labels[batch])
            results = attack(self.keys[batch], x, labels, batch)
            answers = np.asarray(_call(self.logits_fn, results)).argmax(axis=1)
            fooled = (answers != self.labels[batch])[:count]
            chosen = batch[:count][fooled]
            self.inputs[chosen] = np.asarray(results)[:count][fooled]
            self.robust[chosen] = False
        self.remaining[name] = self.accuracy

    def _batches(self, indices: np.ndarray):
        """Indices in batches of one size, the last filled up, and how many of each count."""
        for start in range(0, len(indices), self.batch_size):
            batch = indices[start : start + self.batch_size]
            yield np.resize(batch, self.batch_size), len(batch)


@jax.jit
def _call(logits_fn: Any, x: Array) -> Array:
    return logits_fn(x)
