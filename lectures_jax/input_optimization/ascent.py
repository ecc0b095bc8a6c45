"""Image ascent: the image that a part of a network answers most to."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial, register_dataclass
from jaxtyping import Array, Float

from lectures_jax.input_optimization.loop import as_argument, optimize_inputs
from lectures_jax.input_optimization.outputs import Network, check_layers, output_shapes
from lectures_jax.input_optimization.parameterization import Fourier, Parameterization
from lectures_jax.input_optimization.regularization import Regularization, penalty
from lectures_jax.input_optimization.transforms import Transforms
from lectures_jax.typing import Key

NATURAL = Fourier()
"""224×224 pixels with the spectrum and the colors of photographs."""

USUAL = Transforms()
NONE = Regularization()


@partial(
    register_dataclass, data_fields=["channel", "direction", "position"], meta_fields=["layer"]
)
@dataclass(frozen=True)
class Activation:
    """What of a network is to be high: a layer, a channel, a direction, a neuron or a class.

    | | |
    |---|---|
    | `Activation("fire5")` | half the mean square of the whole layer |
    | `Activation("fire5", channel=3)` | a channel, the mean over its positions |
    | `Activation("fire5", direction=v)` | the map times v, channel by channel, the mean over \
positions |
    | `Activation("fire5", channel=3, position=(6, 6))` | a neuron |
    | `Activation(channel=7)` | class 7 of a network that returns logits |

    A map behind ReLU may be 0 everywhere, and has no gradient then: choose the map before it, which
    SqueezeNet names `expand5`, and `scores` for its classes.

    Attributes:
        layer: name of a map, None where the network returns logits.
        channel: index of a channel or class; several ask for an image for each.
        direction: a number for each channel, or rows of such, one for each image.
        position: row and column in the map, None for the mean over all.
    """

    layer: str | None = None
    channel: Any = None
    direction: Any = None
    position: Any = None


class Ascent(NamedTuple):
    """Images and the way to them.

    Attributes:
        images: in [0, 1].
        activations: of these images.
        losses: before each step: the negative activation of the transformed images, and
            regularization.
    """

    images: Float[Array, "b h w c"]
    activations: Float[Array, " b"]
    losses: Float[Array, "steps b"]


def maximize_activation(
    key: Key,
    network: Network,
    activation: Activation,
    *,
    parameterization: Parameterization = NATURAL,
    transforms: Transforms = USUAL,
    regularization: Regularization = NONE,
    steps: int = 256,
    learning_rate: float = 0.05,
    every: int | None = None,
    callback: Callable[[int, Float[Array, "b h w c"]], Any] | None = None,
) -> Ascent:
    """Returns images that maximize an activation, from nearly gray ones, by Adam.

    One program serves all channels of a layer, and all networks of one structure.

    Args:
        key: of the first images and of the transforms.
        network: `model.features`, or `model` for its logits; any function of images in [0, 1].
        activation: what is to be high. For several channels there are as many images.
        parameterization: of the images, and with it their size.
        transforms: through which the activation is to stay high.
        regularization: weights of what the images should not be.
        steps: of Adam.
        learning_rate: of Adam.
        every: steps between two calls of `callback`, None for one after the last.
        callback: `(step, images) -> None`.

    Raises:
        ValueError: if the network has no such layer, channel or position.

    Warns:
        RuntimeWarning: if the activation of an image is 0 at the end: behind ReLU it has no
            gradient there, and the image shows nothing.

    Source:
        Erhan et al. (2009), sec. 3; of classes: Simonyan et al. (2014), sec. 2.
    """
    network, activation = as_argument(network), _as_arrays(activation)
    key_init, key_steps = jax.random.split(key)
    params = parameterization.init(key_init, _count(activation))
    outputs = output_shapes(
        network, jax.eval_shape(parameterization, params), name="parameterization"
    )
    _check(outputs, activation)

    def call(step: int, params: Array) -> None:
        if callback is not None:
            callback(step, parameterization(params))

    result = optimize_inputs(
        key_steps,
        Partial(_loss, network, activation, parameterization, transforms, regularization),
        params,
        steps=steps,
        learning_rate=learning_rate,
        every=every,
        callback=call,
    )
    images, activations = _final(network, activation, parameterization, result.inputs)
    _warn_of_dead(outputs, activation, np.asarray(activations))
    return Ascent(images, activations, result.losses)


def activate(outputs: Any, activation: Activation) -> Float[Array, " b"]:
    """Returns the activation in what a network returned, one for each image.

    Args:
        outputs: maps by name, or logits.
        activation: what is looked at.
    """
    x = outputs if activation.layer is None else outputs[activation.layer]
    if activation.channel is None and activation.direction is None:
        return 0.5 * jnp.mean(jnp.square(x).reshape(len(x), -1), axis=1)
    if x.ndim == 4:
        if activation.position is None:
            x = jnp.mean(x, axis=(1, 2))
        else:
            x = x[:, activation.position[0], activation.position[1]]
    if activation.direction is not None:
        return jnp.sum(x * jnp.broadcast_to(activation.direction, x.shape), axis=-1)
    channel = jnp.broadcast_to(jnp.asarray(activation.channel), x.shape[:1])
    return jnp.take_along_axis(x, channel[:, None], axis=1)[:, 0]


def _loss(
    network: Callable,
    activation: Activation,
    parameterization: Any,
    transforms: Any,
    regularization: Regularization,
    params: Array,
    key: Key,
) -> Float[Array, " b"]:
    images = parameterization(params)
    activations = activate(network(transforms(key, images)), activation)
    return penalty(images, regularization) - activations


@jax.jit
def _final(
    network: Callable, activation: Activation, parameterization: Any, params: Array
) -> tuple[Array, Array]:
    images = parameterization(params)
    return images, activate(network(images), activation)


def _as_arrays(activation: Activation) -> Activation:
    """Lists of channels and rows of directions become arrays."""
    channel, direction = (
        value if value is None else np.asarray(value)
        for value in (activation.channel, activation.direction)
    )
    return replace(activation, channel=channel, direction=direction)


def _count(activation: Activation) -> int:
    """Images that are asked for: rows of directions, or channels."""
    shapes = (np.shape(activation.channel)[:1], np.shape(activation.direction)[:-1])
    return max((n for shape in shapes for n in shape), default=1)


def _check(outputs: Any, activation: Activation) -> None:
    """Refuses what the network does not have."""
    check_layers(outputs, [activation.layer])
    shape = (outputs if activation.layer is None else outputs[activation.layer]).shape
    name = "the logits" if activation.layer is None else repr(activation.layer)
    if activation.channel is not None and activation.direction is not None:
        raise ValueError("an activation must be of a channel or a direction, got both.")
    if activation.channel is not None:
        indices = np.atleast_1d(activation.channel)
        if not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(f"channel must be an integer, got {activation.channel}.")
        if wrong := [int(i) for i in indices if not 0 <= i < shape[-1]]:
            got = f"{wrong[0]} in {name}"
            raise ValueError(f"channel must be from 0 to {shape[-1] - 1}, got {got}.")
    if activation.direction is not None and np.shape(activation.direction)[-1:] != shape[-1:]:
        got = list(np.shape(activation.direction))
        raise ValueError(f"direction must have the {shape[-1]} channels of {name}, got {got}.")
    if activation.position is None:
        return
    whole_layer = activation.channel is None and activation.direction is None
    if len(shape) != 4 or whole_layer:
        raise ValueError(f"position must be None for a whole layer or a vector, got {name}.")
    if not all(0 <= i < n for i, n in zip(activation.position, shape[1:3], strict=True)):
        got = tuple(activation.position)
        raise ValueError(f"position must be within {shape[1:3]} of {name}, got {got}.")


def _warn_of_dead(outputs: Any, activation: Activation, activations: np.ndarray) -> None:
    """Says which images show nothing, because ReLU gave 0 and no gradient all the way."""
    dead = np.flatnonzero(activations == 0)
    if not len(dead):
        return
    what = "the logits" if activation.layer is None else repr(activation.layer)
    if activation.channel is not None:
        channels = np.broadcast_to(np.asarray(activation.channel), activations.shape)[dead]
        what = f"channel {', '.join(map(str, channels))} of {what}"
    maps = f" of {', '.join(outputs)}" if isinstance(outputs, Mapping) else ""
    warnings.warn(
        f"behind ReLU there is no activation and no gradient: images of {what} show nothing; "
        f"choose a map before ReLU{maps}, or another key.",
        RuntimeWarning,
        stacklevel=3,
    )
