"""What the generative experiments share: data, and the form in which they hand on a result.

Scores: `judge(config.data, config.root).scores(generator.sample(key, count))`, of `_judge.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from flax import nnx

from lectures_jax import data, report

Kind = Literal["digits", "idx", "images"]


class Generator(NamedTuple):
    """A trained generator, as `compare` wants it.

    Attributes:
        sample: `(key, count) -> images`, float32 [count, h, w, c] in [0, 1].
        parameters: numbers that were learnt.
        seconds: processor time of the training, over all cores, compilation included; of a resumed
            training only the part since.
        bits_per_dim: of held-out images, where the model has a likelihood or a bound of it.
        history: the rows of `train.fit`.
        model: the trained network.
    """

    sample: Callable[[jax.Array, int], np.ndarray]
    parameters: int
    seconds: float
    bits_per_dim: float | None
    history: list
    model: Any


def read(kind: Kind, root: Path | None) -> data.Splits:
    """The images; generators learn from `train`, the network that judges them from `test`."""
    return data.read_classified(kind, root)


def parameters(model: nnx.Module) -> int:
    """Numbers that are learnt."""
    return sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))


def sheet(images: np.ndarray, *, columns: int = 10) -> np.ndarray:
    """Images in rows, each some 50 pixels wide."""
    zoom = max(1, round(50 / images.shape[1]))
    large = np.asarray(images).repeat(zoom, axis=1).repeat(zoom, axis=2)
    return report.grid(large, columns=columns)
