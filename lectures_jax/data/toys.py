"""Sets that fit in a line, and a batch that comes again and again."""

from collections.abc import Iterator
from itertools import repeat as _repeat

import numpy as np

from lectures_jax.typing import Batch


def xor() -> Batch:
    """Returns the four points of exclusive or: `x` [4, 2] and `y` [4], 1 where one input is 1."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return {"x": x, "y": np.array([0, 1, 1, 0], np.float32)}


def repeat(batch: Batch, steps: int) -> Iterator[Batch]:
    """Returns the same batch `steps` times: training on the whole set at each step.

    Args:
        batch: the whole set.
        steps: how many times.
    """
    return _repeat(batch, steps)
