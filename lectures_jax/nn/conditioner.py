"""Networks that compute a flow's shifts, scales and knots: dense, convolutional and masked."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float

from lectures_jax import ops
from lectures_jax.nn.bijection import Condition
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.initializers import lecun_normal
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.precision import promote
from lectures_jax.nn.random import split_optional
from lectures_jax.typing import Key

Activation = Callable[[Array], Array]


class DenseConditioner(nnx.Module):
    """A multilayer perceptron of the fixed entries and of the condition.

    The last layer starts at zero, so that a flow starts as the identity.

    Args:
        inputs: number of fixed entries.
        outputs: numbers to compute.
        hidden: sizes of the hidden layers.
        condition: size of the condition.
        dropout: share of each hidden layer's outputs that training sets to zero.

    Source: Dinh et al. (2015), sec. 4.1; zeros at the start: Kingma & Dhariwal (2018), sec. 3.3.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (64, 64),
        condition: int = 0,
        activation: Activation = jax.nn.silu,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        sizes = (inputs + condition, *hidden)
        self.layers = nnx.List(Linear(a, b, rngs=rngs) for a, b in pairwise(sizes))
        self.last = _zero_linear(sizes[-1], outputs, rngs)
        self.activation = activation
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

    def __call__(
        self, x: Float[Array, "b d"], condition: Condition = None, *, key: Key | None = None
    ) -> Float[Array, "b f"]:
        """Returns the numbers, for each example.

        Args:
            x: the fixed entries.
            condition: a vector for each example.
            key: for dropout.
        """
        keys = split_optional(key, len(self.layers))
        x = x if condition is None else jnp.concatenate([x, condition], axis=-1)
        for layer, one in zip(self.layers, keys, strict=True):
            x = _drop(self.dropout, self.activation(layer(x)), one)
        return self.last(x)


class ConvConditioner(nnx.Module):
    """Three convolutions, 3×3, 1×1 and 3×3, of the fixed channels; the first adds the condition.

    Args:
        inputs: number of fixed channels.
        outputs: channels to compute.
        hidden: channels in between.
        condition: size of the condition, which a dense layer maps to a summand of every cell.
        dropout: share of the hidden values that training sets to zero.

    Source: Kingma & Dhariwal (2018), sec. 3.3.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: int = 64,
        condition: int = 0,
        activation: Activation = jax.nn.silu,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.enter = Conv(inputs, hidden, kernel_size=(3, 3), rngs=rngs)
        self.condition = Linear(condition, hidden, use_bias=False, rngs=rngs) if condition else None
        self.mix = Conv(hidden, hidden, kernel_size=(1, 1), rngs=rngs)
        self.last = Conv(
            hidden, outputs, kernel_size=(3, 3), kernel_init=nnx.initializers.zeros, rngs=rngs
        )
        self.activation = activation
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

    def __call__(
        self, x: Float[Array, "b h w c"], condition: Condition = None, *, key: Key | None = None
    ) -> Float[Array, "b h w f"]:
        """Returns the numbers, for each cell.

        Args:
            x: the fixed channels.
            condition: a vector for each example.
            key: for dropout.
        """
        x, summand = self.enter(x), _apply(self.condition, condition)
        if summand is not None:
            x = x + summand[:, None, None]
        x = self.activation(self.mix(self.activation(x)))
        return self.last(_drop(self.dropout, x, key))


class MaskedLinear(nnx.Module):
    """`x (W ∘ mask) + b`. Source: Germain et al. (2015), eq. 9."""

    def __init__(
        self,
        mask: Bool[Array, "i o"],
        *,
        zero: bool = False,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        inputs, outputs = mask.shape
        init = nnx.initializers.zeros if zero else lecun_normal
        self.kernel = nnx.Param(init(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.mask = nnx.Variable(mask)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b i"]) -> Float[Array, "b o"]:
        x, kernel, bias = promote(self.dtype, x, self.kernel[...], self.bias[...])
        return x @ jnp.where(self.mask[...], kernel, 0) + bias[None]


class Made(nnx.Module):
    """A dense network whose outputs for a feature depend only on the features before it.

    The last layer starts at zero, so that a flow starts as the identity.

    Args:
        features: numbers of an example.
        parameters: numbers to compute for each of them.
        hidden: sizes of the hidden layers.
        order: place of each feature in the order, by default its index.
        condition: size of the condition, on which all outputs depend.
        dropout: share of each hidden layer's outputs that training sets to zero.

    Source: Germain et al. (2015), sec. 3; with a condition: Papamakarios et al. (2017), sec. 3.4.
    """

    def __init__(
        self,
        features: int,
        parameters: int,
        *,
        hidden: Sequence[int] = (64, 64),
        order: Sequence[int] | None = None,
        condition: int = 0,
        activation: Activation = jax.nn.silu,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        conditional = condition > 0
        *masks, last = ops.autoregressive_masks(
            features=features,
            hidden=hidden,
            parameters=parameters,
            order=order,
            conditional=conditional,
        )
        self.layers = nnx.List(MaskedLinear(mask, rngs=rngs) for mask in masks)
        self.last = MaskedLinear(last, zero=True, rngs=rngs)
        self.condition = (
            Linear(condition, hidden[0], use_bias=False, rngs=rngs) if conditional else None
        )
        self.order = tuple(range(features)) if order is None else tuple(int(i) for i in order)
        self.parameters = parameters
        self.activation = activation
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

    def __call__(
        self, x: Float[Array, "b d"], condition: Condition = None, *, key: Key | None = None
    ) -> Float[Array, "b d p"]:
        """Returns the numbers of each feature.

        Args:
            x: all features.
            condition: a vector for each example.
            key: for dropout.
        """
        keys = split_optional(key, len(self.layers))
        y, summand = x, _apply(self.condition, condition)
        for i, (layer, one) in enumerate(zip(self.layers, keys, strict=True)):
            y = layer(y)
            if i == 0 and summand is not None:
                y = y + summand
            y = _drop(self.dropout, self.activation(y), one)
        return self.last(y).reshape(*x.shape, self.parameters)


def _apply(layer: nnx.Linear | None, condition: Condition) -> Array | None:
    """Returns what the condition adds; refuses one that is missing, or that no layer takes."""
    if layer is None and condition is None:
        return None
    if layer is None or condition is None:
        raise ValueError(
            "condition must be given exactly where the conditioner was made for one, "
            f"got {'none' if condition is None else 'one'}."
        )
    return layer(condition)


def _zero_linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return Linear(inputs, outputs, kernel_init=nnx.initializers.zeros, rngs=rngs)


def _drop(dropout: nnx.Dropout | None, x: Array, key: Key | None) -> Array:
    return x if dropout is None else dropout(x, rngs=key)
