"""Random arrays of several axes, drawn as one row."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array

from lectures_jax.typing import Key


def draw(function: Callable[..., Array], key: Key, shape: Sequence[int], dtype: Any) -> Array:
    """Returns `function(key, shape, dtype)`, the same numbers, where `function` draws each alone.

    JAX numbers the entries along the row, whatever the shape. Over four axes, XLA's CPU backend
    compiles the arithmetic of their places for seconds, over one for a third of a second.
    """
    return function(key, (math.prod(shape),), dtype).reshape(shape)
