"""Activations and their derivatives."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.typing import checked


class Activation(NamedTuple):
    """A function of one number, and its derivative by the rules of calculus."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


def _sigmoid_derivative(z: Array) -> Array:
    return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)  # 1 − σ(z) would be 0 from z = 17 on


def _tanh_derivative(z: Array) -> Array:
    return 4 * _sigmoid_derivative(2 * z)  # 1 − tanh² would be 0 from z = 9 on


def _gelu_derivative(z: Array) -> Array:
    density = jnp.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return jax.lax.erfc(-z / math.sqrt(2)) / 2 + z * density


Name = Literal["identity", "sigmoid", "tanh", "relu", "leaky_relu", "softplus", "gelu"]

ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(lambda z: z, jnp.ones_like),
    "sigmoid": Activation(jax.nn.sigmoid, _sigmoid_derivative),
    "tanh": Activation(jnp.tanh, _tanh_derivative),
    "relu": Activation(jax.nn.relu, lambda z: (z > 0).astype(z.dtype)),
    "leaky_relu": Activation(
        jax.nn.leaky_relu, lambda z: jnp.where(z >= 0, jnp.ones_like(z), 0.01)
    ),
    "softplus": Activation(jax.nn.softplus, jax.nn.sigmoid),
    "gelu": Activation(lambda z: jax.nn.gelu(z, approximate=False), _gelu_derivative),
}
"""The activations of the course. Where a derivative jumps, at 0, it has JAX's value."""


def activation_of(name: str) -> Activation:
    """Returns the activation of a name.

    Raises:
        ValueError: if there is no activation of that name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}.")
    return ACTIVATIONS[name]


@checked
def activation_derivative(
    z: Float[Array, "*b"], *, activation: Name = "tanh"
) -> Float[Array, "*b"]:
    """Returns the derivative of an activation.

    It is at most ¼ for the sigmoid and 1 for tanh; the gradient of a deep network vanishes with the
    product of these derivatives over the layers.

    Args:
        z: arguments of the activation.
        activation: name of the activation.

    Returns:
        The derivative at each argument.

    Raises:
        ValueError: if there is no such activation.

    Source:
        Glorot & Bengio (2010), sec. 3; GELU: Hendrycks & Gimpel (2016), sec. 2.
    """
    return activation_of(activation).derivative(z)
