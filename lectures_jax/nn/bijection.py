"""What every invertible layer of a normalizing flow can do."""

from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.typing import Key

Condition = Float[Array, "b k"] | None
"""The vector that a conditional flow is given for each example; None for other flows."""

Transformed = tuple[Float[Array, "b *shape"], Float[Array, " b"]]
"""New values, and the log-determinant of each example."""


class Bijection(nnx.Module):
    """An invertible function of each example, which may depend on a condition.

    `forward` goes from data to simpler values, `inverse` back; both give one log-determinant per
    example, that of the way they go.
    """

    def forward(
        self, x: Float[Array, "b *shape"], condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        """Returns the new values and the log-determinants.

        Args:
            x: the old values.
            condition: a vector for each example.
            key: for dropout.
        """
        raise NotImplementedError

    def inverse(self, z: Float[Array, "b *shape"], condition: Condition = None) -> Transformed:
        """Returns the old values and the log-determinants of the way back.

        Args:
            z: the new values.
            condition: a vector for each example.
        """
        raise NotImplementedError

    def data_dependent_init(
        self, x: Float[Array, "b *shape"], condition: Condition = None
    ) -> Float[Array, "b *shape2"]:
        """Sets in place what depends on the data, and returns the new values of the batch.

        By default nothing depends on them.

        Args:
            x: a batch, as it arrives at this layer.
            condition: a vector for each example.
        """
        return self.forward(x, condition)[0]
