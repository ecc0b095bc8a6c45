"""Flows in the plane: two moons, whose true density is known."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives
from lectures_jax.models.flow import Flow, coupling_flow
from lectures_jax.nn.transforms import Affine, Spline
from lectures_jax.report import seconds_of
from lectures_jax.train import fit, predict
from lectures_jax.typing import Batch, Key

SIZES: Mapping[str, tuple[Any, int, tuple[int, ...]]] = {
    "affine": (Affine(), 8, (64, 64)),
    "spline": (Spline(bins=8, bound=4.0), 4, (64, 64)),
}
"""Transform, number of couplings, and hidden layers of a flow."""
ENTROPY = 1.0076  # of the two moons, in nats, by quadrature: tests/data/test_toys.py


class TrainedFlow(NamedTuple):
    """A flow of the two moons.

    Attributes:
        model: the flow.
        excess: nats of its cross-entropy above the entropy, on points that it never saw.
        deviation: standard error of `excess`.
        seconds: of the training by the clock, also where it was read back.
        history: of the training.
    """

    model: Flow
    excess: float
    deviation: float
    seconds: float
    history: list


def train_two_moons(
    key: Key, kind: str, out: Path | None, *, steps: int, batch_size: int, points: int
) -> TrainedFlow:
    """Trains a flow on fresh points of the two moons, and measures it on others.

    Args:
        key: of parameters, training points and test points.
        kind: of `SIZES`.
        out: folder for rows and checkpoints; None leaves no files.
        steps: of the training.
        batch_size: points per step.
        points: of the test.
    """
    key_init, key_data, key_train, key_test = jax.random.split(key, 4)
    transform, layers, hidden = SIZES[kind]
    flow = coupling_flow(
        2, transform=transform, layers=layers, hidden=hidden, rngs=nnx.Rngs(key_init)
    )
    rate = optax.cosine_decay_schedule(2e-3, steps)
    model, history = fit(
        key_train,
        flow,
        objectives.flow,
        # As one vector: arrays as small as these cost Adam more kernels than the flow has.
        optax.flatten(optax.chain(optax.clip_by_global_norm(5.0), optax.adam(rate))),
        _fresh_points(key_data, steps, batch_size),
        steps=steps,
        out=out,
        ema_decay=0.998,
    )
    x = np.asarray(data.two_moons(key_test, count=points)["x"])
    difference = true_log_prob(x) - log_prob(model, x)
    error = float(difference.std() / points**0.5)
    return TrainedFlow(model, float(difference.mean()), error, seconds_of(history), history)


def _fresh_points(key: Key, steps: int, size: int) -> Iterator[Batch]:
    """Batches of points of which none comes twice."""
    for number in range(0, steps, 500):
        points = data.two_moons(jax.random.fold_in(key, number), count=500 * size)["x"]
        yield from ({"x": x} for x in np.asarray(points).reshape(-1, size, 2))


def true_log_prob(x: np.ndarray) -> np.ndarray:
    """Returns the true log-density of each point, in nats.

    Args:
        x: points [n, 2].
    """
    return np.asarray(_true_log_prob(x))


_true_log_prob = jax.jit(data.two_moons_log_prob)


def log_prob(model: Flow, x: np.ndarray) -> np.ndarray:
    """Returns the model's log-density of each point, in nats.

    Args:
        model: a flow of the plane.
        x: points [n, 2].
    """
    return predict(model, x, function=Flow.log_prob, batch_size=2000)


def inverse(model: Flow, z: np.ndarray) -> np.ndarray:
    """Returns the points of the plane that the model maps to z.

    Args:
        model: a flow of the plane.
        z: points of the normal plane [n, 2].
    """
    return predict(model, z, function=Flow.inverse, batch_size=2000)[0]
