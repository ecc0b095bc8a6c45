"""Random arrays of several axes, drawn as one row."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array

from lectures_jax.typing import Key


def draw(function: Callable[..., Array], key: Key, shape: Sequence[int], dtype: Any) -> Array:
    """Returns `function(key, shape, dtype)` bit for bit, for distributions of independent entries.

    JAX counts the entries along a row, whatever the shape. For four axes XLA's CPU backend takes
    seconds to compile the computation of their indices, for one axis a third of a second.
    """
    return function(key, (math.prod(shape),), dtype).reshape(shape)
