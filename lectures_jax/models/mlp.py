"""The multilayer perceptron: dense layers with an activation between them."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.random import split_optional
from lectures_jax.typing import Key


class Mlp(nnx.Module):
    """`f_n(… f_2(f_1(x)))` with `f_i(x) = activation(x W_i + b_i)`; the last layer is linear.

    Args:
        sizes: of the input, of each hidden layer, and of the output: `(784, 256, 128, 10)`.
        activation: of the hidden layers.
        dropout: share of each hidden layer's outputs that training sets to zero.
        kernel_init: of the kernels; biases start at zero.

    Raises:
        ValueError: if there are fewer than two sizes, or one is not positive.

    Source:
        Rumelhart, Hinton & Williams (1986); dropout: Srivastava et al. (2014), sec. 4.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Callable[[Array], Array] = jax.nn.relu,
        dropout: float = 0.0,
        kernel_init: nnx.Initializer = he_normal,
        rngs: nnx.Rngs,
    ):
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two positive numbers, got {tuple(sizes)}.")
        self.activation = activation
        self.layers = nnx.List(
            nnx.Linear(inputs, outputs, kernel_init=kernel_init, rngs=rngs)
            for inputs, outputs in pairwise(sizes)
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

    def features(
        self, x: Float[Array, "b *shape"], *, key: Key | None = None
    ) -> dict[str, Float[Array, "b _"]]:
        """Returns the output of each layer by name: `hidden1`, `hidden2`, …, `logits`."""
        self._check(x)
        x = x.reshape(x.shape[0], -1)
        keys = split_optional(key, len(self.layers))
        maps = {}
        *hidden, last = self.layers
        for i, layer in enumerate(hidden):
            x = self.activation(layer(x))
            if self.dropout is not None:
                x = self.dropout(x, rngs=keys[i])
            maps[f"hidden{i + 1}"] = x
        return {**maps, "logits": last(x)}

    def __call__(
        self, x: Float[Array, "b *shape"], *, key: Key | None = None
    ) -> Float[Array, "b d"]:
        """Returns the last layer's output.

        Args:
            x: examples of any shape, whose values are the inputs in their order.
            key: for dropout.
        """
        return self.features(x, key=key)["logits"]

    def _check(self, x: Array) -> None:
        inputs = self.layers[0].in_features
        if not jnp.issubdtype(x.dtype, jnp.floating) or x.size != x.shape[0] * inputs:
            divide = "" if jnp.issubdtype(x.dtype, jnp.floating) else ": x / 255 for bytes"
            raise ValueError(
                f"x must be floats of shape [batch, ...], {inputs} for each example, got "
                f"{x.dtype}{list(x.shape)}{divide}."
            )
