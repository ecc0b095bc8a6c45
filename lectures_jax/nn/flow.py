"""Invertible layers: `forward` makes data simpler, `inverse` undoes it, both with log-determinants.

`forward(x, condition, key=...)` gives `(z, log_det)`, `inverse(z, condition)` gives
`(x, −log_det)`, one log-determinant per example.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool

from lectures_jax import ops
from lectures_jax.nn.conditioner import Condition, ConvConditioner, Made
from lectures_jax.nn.transforms import Moved, Transform
from lectures_jax.typing import Key


class Coupling(nnx.Module):
    """Half of the channels moves, as the other half, which stays, and the condition tell.

    On vectors or on maps, as the conditioner is; both ways cost one call of it.

    Args:
        conditioner: from the channels that stay to `moved · transform.parameters` numbers.
        transform: what moves the others.
        stay: channels that stay: the first ones, or the last if `swap`.
        swap: which.

    Source: Dinh et al. (2015), sec. 3.2; Dinh et al. (2017), eq. 4 and 5.
    """

    def __init__(
        self, conditioner: nnx.Module, transform: Transform, *, stay: int, swap: bool = False
    ):
        self.conditioner = conditioner
        self.transform = transform
        self.stay = stay
        self.swap = swap

    def forward(self, x: Array, condition: Condition = None, *, key: Key | None = None) -> Moved:
        """Returns the new values and the log-determinants."""
        return self._move(self.transform.forward, x, condition, key)

    def inverse(self, z: Array, condition: Condition = None) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        return self._move(self.transform.inverse, z, condition, None)

    def _move(self, function: Any, x: Array, condition: Condition, key: Key | None) -> Moved:
        cut = x.shape[-1] - self.stay if self.swap else self.stay
        first, last = x[..., :cut], x[..., cut:]
        still, moved = (last, first) if self.swap else (first, last)
        raw = self.conditioner(still, condition, key=key)  # pyright: ignore[reportCallIssue]
        raw = raw.reshape(*moved.shape, self.transform.parameters)
        moved, log_det = function(moved, raw)
        parts = [moved, still] if self.swap else [still, moved]
        return jnp.concatenate(parts, axis=-1), log_det


class MaskedCoupling(nnx.Module):
    """The entries of a map outside the mask move by shift and scale: a checkerboard, for example.

    Args:
        mask: which entries stay, [h, w, c].
        hidden: channels of the conditioner.
        condition: numbers of the condition.
        limit: of the logarithms of the scales.
        dropout: in the conditioner.

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

    def forward(self, x: Array, condition: Condition = None, *, key: Key | None = None) -> Moved:
        """Returns the new values and the log-determinants."""
        shift, log_scale = self._numbers(x, condition, key)
        return ops.affine_coupling(x, shift, log_scale, self.mask[...])

    def inverse(self, z: Array, condition: Condition = None) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        shift, log_scale = self._numbers(z, condition, None)
        return ops.affine_coupling_inverse(z, shift, log_scale, self.mask[...])

    def _numbers(self, x: Array, condition: Condition, key: Key | None) -> tuple[Array, Array]:
        still = jnp.where(self.mask[...][None], x, 0)
        shift, scale = jnp.split(self.conditioner(still, condition, key=key), 2, axis=-1)
        return shift, self.limit * jnp.tanh(scale / self.limit)


class Autoregressive(nnx.Module):
    """Each feature moves as the features before it tell: `forward` is one call, `inverse` d calls.

    Forward from data, it is a masked autoregressive flow: densities are cheap, samples cost d
    calls. Turned round by `Inverse`, it is an inverse autoregressive flow: samples are cheap.

    Source: Papamakarios et al. (2017), sec. 3.1; Kingma et al. (2016), sec. 3.
    """

    def __init__(self, conditioner: Made, transform: Transform):
        self.conditioner = conditioner
        self.transform = transform

    def forward(self, x: Array, condition: Condition = None, *, key: Key | None = None) -> Moved:
        """Returns the new values and the log-determinants."""
        return self.transform.forward(x, self.conditioner(x, condition, key=key))

    def inverse(self, z: Array, condition: Condition = None) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        place = jnp.array(self.conditioner.order)[None]

        def one_more(i: Array, x: Array) -> Array:
            found, _ = self.transform.inverse(z, self.conditioner(x, condition))
            return jnp.where(place == i, found, x)

        x = jax.lax.fori_loop(0, z.shape[-1], one_more, jnp.zeros_like(z))
        return x, self.transform.inverse(z, self.conditioner(x, condition))[1]


class Inverse(nnx.Module):
    """A layer turned round: its `forward` is the other's `inverse`."""

    def __init__(self, layer: nnx.Module):
        self.layer: Any = layer

    def forward(self, x: Array, condition: Condition = None, *, key: Key | None = None) -> Moved:
        """Returns the new values and the log-determinants."""
        del key  # ways back draw no random numbers
        return self.layer.inverse(x, condition)

    def inverse(self, z: Array, condition: Condition = None) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        return self.layer.forward(z, condition)


class Chain(nnx.Module):
    """One layer after the other. Source: Rezende & Mohamed (2015), eq. 6 and 7."""

    def __init__(self, layers: Sequence[nnx.Module]):
        self.layers: Any = nnx.List(layers)

    def forward(self, x: Array, condition: Condition = None, *, key: Key | None = None) -> Moved:
        """Returns the new values and the log-determinants."""
        keys = [None] * len(self.layers) if key is None else jax.random.split(key, len(self.layers))
        total = jnp.zeros(len(x), x.dtype)
        for layer, one in zip(self.layers, keys, strict=True):
            x, log_det = layer.forward(x, condition, key=one)
            total = total + log_det
        return x, total

    def inverse(self, z: Array, condition: Condition = None) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        total = jnp.zeros(len(z), z.dtype)
        for layer in reversed(self.layers):
            z, log_det = layer.inverse(z, condition)
            total = total + log_det
        return z, total


class Multiscale(nnx.Module):
    """Chains on maps; after each but the last, half of the channels is done and leaves.

    Each chain works on maps squeezed 2×2. What left early is finer detail.

    Args:
        chains: from fine to coarse.
        shape: of an image, `[h, w, c]`; h and w are divisible by 2 to the number of chains.

    Returns of `forward`: one vector per image, the parts in the order in which they left.

    Source: Dinh et al. (2017), sec. 3.6, fig. 4b.
    """

    def __init__(self, chains: Sequence[Chain], *, shape: tuple[int, int, int]):
        self.chains = nnx.List(chains)
        self.shape = shape

    def forward(self, x: Array, condition: Condition = None, *, key: Key | None = None) -> Moved:
        """Returns the new values and the log-determinants."""
        total, left, count = jnp.zeros(len(x), x.dtype), [], len(self.chains)
        keys = [None] * count if key is None else jax.random.split(key, count)
        for i, (chain, one) in enumerate(zip(self.chains, keys, strict=True)):
            x, log_det = chain.forward(ops.space_to_depth(x), condition, key=one)
            total = total + log_det
            if i < count - 1:
                x, done = jnp.split(x, 2, axis=-1)
                left.append(done)
        return jnp.concatenate([part.reshape(len(part), -1) for part in (*left, x)], axis=-1), total

    def inverse(self, z: Array, condition: Condition = None) -> Moved:
        """Returns the old values and the log-determinants of the way back."""
        shapes = self._shapes()
        ends = [sum(math.prod(s) for s in shapes[: i + 1]) for i in range(len(shapes) - 1)]
        parts = [
            part.reshape(len(z), *shape)
            for part, shape in zip(jnp.split(z, ends, axis=-1), shapes, strict=True)
        ]
        x, total = parts.pop(), jnp.zeros(len(z), z.dtype)
        for i, chain in reversed(list(enumerate(self.chains))):
            if i < len(self.chains) - 1:
                x = jnp.concatenate([x, parts.pop()], axis=-1)
            x, log_det = chain.inverse(x, condition)
            total, x = total + log_det, ops.depth_to_space(x)
        return x, total

    def _shapes(self) -> list[tuple[int, int, int]]:
        """Of what leaves after each chain."""
        h, w, c = self.shape
        shapes = []
        for i in range(len(self.chains)):
            h, w, c = h // 2, w // 2, c * 4
            if i < len(self.chains) - 1:
                c //= 2
            shapes.append((h, w, c))
        return shapes
