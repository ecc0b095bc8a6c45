"""Families of increasing functions of one number, which conditioners choose from."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import ops

Moved = tuple[Float[Array, "b *shape"], Float[Array, " b"]]
"""New values, and the log-determinant of each example."""

Raw = Float[Array, "b *shape p"]
"""A conditioner's numbers, for each entry."""


@dataclass(frozen=True)
class Affine:
    """`x · exp(s) + t`, where |s| stays below `limit`. Source: Dinh et al. (2017), eq. 4."""

    limit: float = 3.0

    @property
    def parameters(self) -> int:
        """Numbers per entry."""
        return 2

    def forward(self, x: Float[Array, "b *shape"], raw: Raw) -> Moved:
        """Returns the new values and the log-determinants."""
        return ops.affine_coupling(x, *self._shift_and_scale(raw), _nothing(x))

    def inverse(self, y: Float[Array, "b *shape"], raw: Raw) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        return ops.affine_coupling_inverse(y, *self._shift_and_scale(raw), _nothing(y))

    def _shift_and_scale(self, raw: Array) -> tuple[Array, Array]:
        return raw[..., 0], self.limit * jnp.tanh(raw[..., 1] / self.limit)


@dataclass(frozen=True)
class Spline:
    """`ops.rq_spline` of so many bins within ± `bound`. Source: Durkan et al. (2019), sec. 3."""

    bins: int = 8
    bound: float = 4.0

    @property
    def parameters(self) -> int:
        """Numbers per entry."""
        return 3 * self.bins - 1

    def forward(self, x: Float[Array, "b *shape"], raw: Raw) -> Moved:
        """Returns the new values and the log-determinants."""
        y, log_slope = ops.rq_spline(x, *self._parts(raw), bound=self.bound)
        return y, _sum(log_slope)

    def inverse(self, y: Float[Array, "b *shape"], raw: Raw) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        x, log_slope = ops.rq_spline_inverse(y, *self._parts(raw), bound=self.bound)
        return x, _sum(log_slope)

    def _parts(self, raw: Array) -> list[Array]:
        return jnp.split(raw, [self.bins, 2 * self.bins], axis=-1)


@dataclass(frozen=True)
class Histogram:
    """`ops.piecewise_linear` of so many bins in [0, 1]. Source: Müller et al. (2019), sec. 4.2."""

    bins: int

    @property
    def parameters(self) -> int:
        """Numbers per entry."""
        return self.bins

    def forward(self, x: Float[Array, "b *shape"], raw: Raw) -> Moved:
        """Returns the new values and the log-determinants."""
        y, log_slope = ops.piecewise_linear(x, raw)
        return y, _sum(log_slope)

    def inverse(self, y: Float[Array, "b *shape"], raw: Raw) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        x, log_slope = ops.piecewise_linear_inverse(y, raw)
        return x, _sum(log_slope)


Transform = Affine | Spline | Histogram
"""A family of increasing functions of one number."""


def _nothing(x: Array) -> Array:
    return jnp.zeros(x.shape[1:], bool)


def _sum(x: Array) -> Array:
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))
