"""Array types that several layers share, named once."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

Key = PRNGKeyArray
"""One typed PRNG key, as `jax.random.key` makes it."""

Batch = dict[str, Any]
"""Arrays by name (`image`, `boxes`, `labels`, ...), the examples along their leading axis."""

Metrics = dict[str, Array]
"""Scalars by name, means over the examples of one batch."""

Objective = Callable[[Any, Batch, Key], tuple[Float[Array, ""], Metrics]]
"""`(model, batch, key) -> (scalar to minimize, metrics)`: where a model meets a loss."""
