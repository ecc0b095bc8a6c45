"""Invertible layers whose parameters a network computes, and compositions of invertible layers."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool

from lectures_jax import ops
from lectures_jax.nn.bijection import Bijection, Condition, Transformed
from lectures_jax.nn.conditioner import ConvConditioner, Made
from lectures_jax.nn.random import split_optional
from lectures_jax.nn.transforms import Transform
from lectures_jax.typing import Key


class Coupling(Bijection):
    """Transforms some channels, by functions that a network of the other channels chooses.

    The others are fixed: they pass unchanged. The input is vectors or maps, whichever the
    conditioner takes; each direction costs one call of it.

    Args:
        conditioner: from the fixed channels to `transform.parameters` numbers for each of the
            others.
        transform: family of the functions.
        num_fixed: number of fixed channels: the first ones, or the last ones with `swap`.
        swap: fixes the last channels in place of the first ones.

    Source: Dinh et al. (2015), sec. 3.2; Dinh et al. (2017), eq. 4 and 5.
    """

    def __init__(
        self,
        conditioner: Callable[..., Array],
        transform: Transform,
        *,
        num_fixed: int,
        swap: bool = False,
    ):
        self.conditioner = conditioner
        self.transform = transform
        self.num_fixed = num_fixed
        self.swap = swap

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        return self._apply(self.transform.forward, x, condition, key)

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        return self._apply(self.transform.inverse, z, condition, None)

    def _apply(
        self,
        function: Callable[[Array, Array], Transformed],
        x: Array,
        condition: Condition,
        key: Key | None,
    ) -> Transformed:
        cut = x.shape[-1] - self.num_fixed if self.swap else self.num_fixed
        first, last = x[..., :cut], x[..., cut:]
        identity, transformed = (last, first) if self.swap else (first, last)
        raw = self.conditioner(identity, condition, key=key)
        raw = raw.reshape(*transformed.shape, self.transform.parameters)
        transformed, log_det = function(transformed, raw)
        parts = [transformed, identity] if self.swap else [identity, transformed]
        return jnp.concatenate(parts, axis=-1), log_det


class MaskedCoupling(Bijection):
    """Shifts and scales the entries of a map outside the mask: a checkerboard, for example.

    Args:
        mask: True for the entries that pass unchanged.
        hidden: channels of the conditioner.
        condition: size of the condition.
        limit: bound of the scales' logarithms.
        dropout: share of the conditioner's hidden values that training sets to zero.

    Source: Dinh et al. (2017), eq. 9 and fig. 3.
    """

    def __init__(
        self,
        mask: Bool[Array, "h w c"],
        *,
        hidden: int = 64,
        condition: int = 0,
        limit: float = 3.0,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        channels = mask.shape[-1]
        self.mask = nnx.Variable(mask)
        self.limit = limit
        self.conditioner = ConvConditioner(
            channels, 2 * channels, hidden=hidden, condition=condition, dropout=dropout, rngs=rngs
        )

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        shift, log_scale = self._shift_and_scale(x, condition, key)
        return ops.affine_coupling(x, shift, log_scale, self.mask[...])

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        shift, log_scale = self._shift_and_scale(z, condition, None)
        return ops.affine_coupling_inverse(z, shift, log_scale, self.mask[...])

    def _shift_and_scale(
        self, x: Array, condition: Condition, key: Key | None
    ) -> tuple[Array, Array]:
        identity = jnp.where(self.mask[...][None], x, 0)
        shift, scale = jnp.split(self.conditioner(identity, condition, key=key), 2, axis=-1)
        return shift, self.limit * jnp.tanh(scale / self.limit)


class Autoregressive(Bijection):
    """Transforms each feature by a function that depends on the features before it.

    Forward from data, it is a masked autoregressive flow: a density costs one call of the network,
    a sample d calls. In an `Inverse`, it is an inverse autoregressive flow: a sample costs one.

    Source: Papamakarios et al. (2017), sec. 3.1; Kingma et al. (2016), sec. 3.
    """

    def __init__(self, conditioner: Made, transform: Transform):
        self.conditioner = conditioner
        self.transform = transform

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        return self.transform.forward(x, self.conditioner(x, condition, key=key))

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        place = jnp.array(self.conditioner.order)[None]

        def one_more(i: Array, x: Array) -> Array:
            candidate, _ = self.transform.inverse(z, self.conditioner(x, condition))
            return jnp.where(place == i, candidate, x)

        x = jax.lax.fori_loop(0, z.shape[-1], one_more, jnp.zeros_like(z))
        return x, self.transform.inverse(z, self.conditioner(x, condition))[1]


class Inverse(Bijection):
    """A layer in the other direction: its `forward` is the layer's `inverse`."""

    def __init__(self, layer: Bijection):
        self.layer = layer

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        return self.layer.inverse(x, condition)

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        return self.layer.forward(z, condition)


class Chain(Bijection):
    """One layer after the other. Source: Rezende & Mohamed (2015), eq. 6 and 7."""

    def __init__(self, layers: Sequence[Bijection]):
        self.layers: Any = nnx.List(layers)

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        total = jnp.zeros(x.shape[0], x.dtype)
        for layer, one in zip(self.layers, split_optional(key, len(self.layers)), strict=True):
            x, log_det = layer.forward(x, condition, key=one)
            total = total + log_det
        return x, total

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        total = jnp.zeros(z.shape[0], z.dtype)
        for layer in reversed(self.layers):
            z, log_det = layer.inverse(z, condition)
            total = total + log_det
        return z, total

    def data_dependent_init(self, x: Array, condition: Condition = None) -> Array:
        for layer in self.layers:
            x = layer.data_dependent_init(x, condition)
        return x


class Multiscale(Bijection):
    """Chains on maps; after each chain but the last, half of the channels leaves.

    Each chain works on a map of which 2×2 cells became one. What leaves early is finer detail.
    `forward` gives one vector per image, the parts in the order in which they left.

    Args:
        chains: from fine to coarse.
        shape: of an image, `[h, w, c]`; h and w are divisible by 2 to the number of chains.

    Source: Dinh et al. (2017), sec. 3.6, fig. 4b.
    """

    def __init__(self, chains: Sequence[Chain], *, shape: tuple[int, int, int]):
        self.chains = nnx.List(chains)
        self.shape = shape

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        total, parts = jnp.zeros(x.shape[0], x.dtype), []
        keys = split_optional(key, len(self.chains))
        for i, (chain, one) in enumerate(zip(self.chains, keys, strict=True)):
            x, log_det = chain.forward(ops.space_to_depth(x), condition, key=one)
            total = total + log_det
            x = self._factor_out(i, x, parts)
        return _joined(parts), total

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        shapes = self._shapes()
        ends = [sum(math.prod(s) for s in shapes[: i + 1]) for i in range(len(shapes) - 1)]
        parts = [
            part.reshape(z.shape[0], *shape)
            for part, shape in zip(jnp.split(z, ends, axis=-1), shapes, strict=True)
        ]
        x, total = parts.pop(), jnp.zeros(z.shape[0], z.dtype)
        for i, chain in reversed(list(enumerate(self.chains))):
            if i < len(self.chains) - 1:
                x = jnp.concatenate([x, parts.pop()], axis=-1)
            x, log_det = chain.inverse(x, condition)
            total, x = total + log_det, ops.depth_to_space(x)
        return x, total

    def data_dependent_init(self, x: Array, condition: Condition = None) -> Array:
        parts = []
        for i, chain in enumerate(self.chains):
            x = chain.data_dependent_init(ops.space_to_depth(x), condition)
            x = self._factor_out(i, x, parts)
        return _joined(parts)

    def _factor_out(self, i: int, x: Array, parts: list[Array]) -> Array:
        """Adds what leaves after a chain to the parts, all of it at the end; returns the rest."""
        rest, part = jnp.split(x, 2, axis=-1) if i < len(self.chains) - 1 else (x, x)
        parts.append(part)
        return rest

    def _shapes(self) -> list[tuple[int, int, int]]:
        """The shape of what leaves after each chain."""
        h, w, c = self.shape
        shapes = []
        for i in range(len(self.chains)):
            h, w, c = h // 2, w // 2, c * 4
            if i < len(self.chains) - 1:
                c //= 2
            shapes.append((h, w, c))
        return shapes


def _joined(parts: Sequence[Array]) -> Array:
    return jnp.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=-1)
