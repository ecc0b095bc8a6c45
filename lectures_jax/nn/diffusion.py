"""Blocks of a network that depends on how noisy its input is, and on the class that it shows."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float, Int

from lectures_jax import ops
from lectures_jax.nn.initializers import lecun_normal
from lectures_jax.nn.linear import Linear

XlaConv = partial(nnx.Conv, kernel_init=lecun_normal)
"""XLA's own convolution, for maps as small as these. With the formulations of `ops` for CPU the
network for digits compiles in 30 s and takes 76 ms a step, with this one 12 s and 49 ms, or 37 ms
with `runtime.threaded_convolutions`. Samplers only go forward, where XLA is as fast in loops.
"""


class GroupNorm(nnx.Module):
    """Group normalization of maps, by `ops.group_norm`. Source: Wu & He (2018), eq. 7."""

    def __init__(
        self, channels: int, *, groups: int, dtype: DTypeLike | None = None, rngs: nnx.Rngs
    ):
        del rngs  # nothing here is random; taken as every layer takes it
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.groups = groups
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        x = x.astype(self.dtype or x.dtype)
        y = ops.group_norm(x, self.scale[...], self.bias[...], groups=self.groups)
        return y.astype(self.dtype or y.dtype)


class ConditionEmbedding(nnx.Module):
    """One vector for how noisy the input is and for its class, where one is given.

    The label `num_classes` stands for no class, which classifier-free guidance needs.

    Args:
        dim: size of the vector, even.
        num_classes: number of classes; 0 for a network without classes.

    Source: Dhariwal & Nichol (2021), sec. 3; Ho & Salimans (2022), sec. 3.2.
    """

    def __init__(self, dim: int, *, num_classes: int = 0, rngs: nnx.Rngs):
        self.dim = dim
        self.num_classes = num_classes
        self.hidden = Linear(dim, dim, rngs=rngs)
        self.label = nnx.Embed(num_classes + 1, dim, rngs=rngs) if num_classes else None

    def __call__(
        self, alpha_bar: Float[Array, " b"], labels: Int[Array, " b"] | None
    ) -> Float[Array, "b d"]:
        x = self.hidden(ops.signal_embedding(alpha_bar, dim=self.dim))
        if self.label is not None:
            none = jnp.full(alpha_bar.shape, self.num_classes)
            x = x + self.label(none if labels is None else labels)
        elif labels is not None:
            raise ValueError("labels must be None for a network without classes, got some.")
        return jax.nn.silu(x)


class ConditionedBlock(nnx.Module):
    """`g(x) + f(x, condition)`: two 3×3 convolutions behind group norm and SiLU.

    The condition scales and shifts each channel between them; the second convolution starts at
    zero, so that the block starts as its shortcut g, a 1×1 convolution where the channels change.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        condition: size of the condition.
        groups: number of groups of the normalizations.
        dropout: share of the values before the second convolution that training sets to zero.

    Source: Dhariwal & Nichol (2021), sec. 3 and eq. 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        condition: int,
        groups: int = 8,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.norm1 = GroupNorm(inputs, groups=groups, rngs=rngs)
        self.conv1 = XlaConv(inputs, outputs, (3, 3), rngs=rngs)
        self.modulate = Linear(
            condition, 2 * outputs, kernel_init=nnx.initializers.zeros, rngs=rngs
        )
        self.norm2 = GroupNorm(outputs, groups=groups, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
        self.conv2 = XlaConv(
            outputs, outputs, (3, 3), kernel_init=nnx.initializers.zeros, rngs=rngs
        )
        self.shortcut = XlaConv(inputs, outputs, (1, 1), rngs=rngs) if inputs != outputs else None

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        condition: Float[Array, "b e"],
        *,
        key: Array | None = None,
    ) -> Float[Array, "b h w d"]:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        scale, shift = jnp.split(self.modulate(condition)[:, None, None], 2, axis=-1)
        y = jax.nn.silu(self.norm2(y) * (1 + scale) + shift)
        if self.dropout is not None:
            y = self.dropout(y, rngs=key)
        return self.conv2(y) + (x if self.shortcut is None else self.shortcut(x))


class SelfAttention(nnx.Module):
    """`x + attention(norm(x))` among all cells of a map, with one head per 32 channels.

    Source: Vaswani et al. (2017), eq. 1; in diffusion: Ho et al. (2020), sec. 4.
    """

    def __init__(self, channels: int, *, groups: int = 8, rngs: nnx.Rngs):
        self.heads = max(channels // 32, 1)
        self.norm = GroupNorm(channels, groups=groups, rngs=rngs)
        self.query_key_value = Linear(channels, 3 * channels, rngs=rngs)
        self.out = Linear(channels, channels, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        cells = self.query_key_value(self.norm(x)).reshape(b, h * w, 3, self.heads, -1)
        q, k, v = cells[:, :, 0], cells[:, :, 1], cells[:, :, 2]
        y = jax.nn.dot_product_attention(q, k, v)
        return x + self.out(y.reshape(b, h, w, c))
