"""What every trained generative model is handed on as, whatever its family."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from lectures_jax.typing import Key

Kind = Literal["digits", "idx", "images"]
"""Of a data set, as `data.read_classified` takes it."""


class Generator(NamedTuple):
    """A trained generative model.

    Attributes:
        sample: `(key, count) -> images`, float32 [count, h, w, c] in [0, 1].
        parameters: how many numbers of the part that draws were trained.
        seconds: processor time of the training, over all cores, compilation included; of a resumed
            training only the part since.
        bits_per_dim: of held-out images, where the model has a likelihood or a bound of it.
        history: the rows of `train.fit`.
        model: the trained network.
    """

    sample: Callable[[Key, int], np.ndarray]
    parameters: int
    seconds: float
    bits_per_dim: float | None
    history: list
    model: Any


def to_unit_range(x: jax.Array | np.ndarray) -> np.ndarray:
    """Returns images that a network sees in [-1, 1] as float32 in [0, 1], clipped.

    Args:
        x: any number of images.
    """
    return np.clip((np.asarray(x, np.float32) + 1) / 2, 0, 1)
