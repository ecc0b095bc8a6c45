"""Families of increasing functions of one number, by parameters that a conditioner computes."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.bijection import Transformed

Raw = Float[Array, "b *shape p"]
"""The conditioner's output: the parameters of each entry."""


@dataclass(frozen=True)
class Affine:
    """`x · exp(s) + t`, where |s| stays below `limit`. Source: Dinh et al. (2017), eq. 4."""

    limit: float = 3.0

    @property
    def parameters(self) -> int:
        """How many numbers an entry needs."""
        return 2

    def forward(self, x: Float[Array, "b *shape"], raw: Raw) -> Transformed:
        """Returns the new values and the log-determinants."""
        return ops.affine_coupling(x, *self._shift_and_scale(raw), _empty_mask(x))

    def inverse(self, y: Float[Array, "b *shape"], raw: Raw) -> Transformed:
        """Returns the old values and the log-determinants of the way back."""
        return ops.affine_coupling_inverse(y, *self._shift_and_scale(raw), _empty_mask(y))

    def _shift_and_scale(self, raw: Array) -> tuple[Array, Array]:
        return raw[..., 0], self.limit * jnp.tanh(raw[..., 1] / self.limit)


@dataclass(frozen=True)
class Spline:
    """`ops.rq_spline` with `bins` bins within ± `bound`. Source: Durkan et al. (2019), sec. 3."""

    bins: int = 8
    bound: float = 4.0

    @property
    def parameters(self) -> int:
        """How many numbers an entry needs."""
        return 3 * self.bins - 1

    def forward(self, x: Float[Array, "b *shape"], raw: Raw) -> Transformed:
        """Returns the new values and the log-determinants."""
        y, log_derivative = ops.rq_spline(x, *self._parts(raw), bound=self.bound)
        return y, _sum(log_derivative)

    def inverse(self, y: Float[Array, "b *shape"], raw: Raw) -> Transformed:
        """Returns the old values and the log-determinants of the way back."""
        x, log_derivative = ops.rq_spline_inverse(y, *self._parts(raw), bound=self.bound)
        return x, _sum(log_derivative)

    def _parts(self, raw: Array) -> list[Array]:
        return jnp.split(raw, [self.bins, 2 * self.bins], axis=-1)


@dataclass(frozen=True)
class Histogram:
    """`ops.piecewise_linear` with `bins` bins in [0, 1]. Source: Müller et al. (2019), sec. 4.2."""

    bins: int

    @property
    def parameters(self) -> int:
        """How many numbers an entry needs."""
        return self.bins

    def forward(self, x: Float[Array, "b *shape"], raw: Raw) -> Transformed:
        """Returns the new values and the log-determinants."""
        y, log_derivative = ops.piecewise_linear(x, raw)
        return y, _sum(log_derivative)

    def inverse(self, y: Float[Array, "b *shape"], raw: Raw) -> Transformed:
        """Returns the old values and the log-determinants of the way back."""
        x, log_derivative = ops.piecewise_linear_inverse(y, raw)
        return x, _sum(log_derivative)


Transform = Affine | Spline | Histogram
"""A family of increasing functions of one number."""


def _empty_mask(x: Array) -> Array:
    return jnp.zeros(x.shape[1:], bool)


def _sum(x: Array) -> Array:
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))
