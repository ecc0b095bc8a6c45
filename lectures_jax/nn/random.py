"""Random keys for layers that may do without."""

import jax

from lectures_jax.typing import Key


def split_optional(key: Key | None, n: int) -> list[Key | None]:
    """Returns `n` keys, or `n` times None where there is no key.

    Args:
        key: for random layers; None in evaluation.
        n: number of keys.
    """
    return [None] * n if key is None else list(jax.random.split(key, n))
