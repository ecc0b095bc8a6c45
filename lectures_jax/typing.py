"""Types that several layers share."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, PRNGKeyArray

Key = PRNGKeyArray
"""One typed PRNG key, as `jax.random.key` makes it."""

Batch = dict[str, Any]
"""Arrays by name (`image`, `boxes`, `labels`, ...), the examples along their leading axis."""


class Ratio(NamedTuple):
    """A metric that is the quotient of two sums over examples, as a Dice or a mean over pixels is.

    Attributes:
        numerator: sum over the examples, of any shape.
        denominator: sum over the examples, of a shape that divides the numerator.
    """

    numerator: Array
    denominator: Array


Metrics = dict[str, Any]
"""Arrays by name, means over the examples of one batch, or the two sums of a `Ratio`."""

Objective = Callable[..., tuple[Float[Array, ""], Metrics]]
"""`(model, batch, key) -> (scalar to minimize, metrics)`: where a model meets a loss."""
