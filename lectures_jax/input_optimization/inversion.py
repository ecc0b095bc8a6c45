"""Feature inversion: an image whose features are those of another, and so what they still know."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from lectures_jax.input_optimization.images import Image, as_images
from lectures_jax.input_optimization.loop import MakeOptimizer, as_argument, optimize_inputs
from lectures_jax.input_optimization.outputs import Network, check_layers, output_shapes
from lectures_jax.input_optimization.parameterization import Parameterization, Pixels
from lectures_jax.input_optimization.regularization import Regularization, penalty
from lectures_jax.typing import Key

SMOOTH = Regularization(total_variation=2.0)
"""Fills what a map does not see."""


class Inversion(NamedTuple):
    """A reconstruction.

    Attributes:
        image: in [0, 1].
        losses: before each step: relative squared error of the features, and regularization.
    """

    image: Float[Array, "h w c"]
    losses: Float[Array, " steps"]


def invert_features(
    key: Key,
    features: Network,
    image: Image,
    layer: str,
    *,
    regularization: Regularization = SMOOTH,
    parameterization: Parameterization | None = None,
    steps: int = 300,
    learning_rate: float = 0.2,
) -> Inversion:
    """Returns an image with the features of another in one layer, from nearly gray, by Adam.

    `argmin_x ‖Θ(x) − Θ(x̂)‖² / ‖Θ(x̂)‖² + λ R(x)`. The learning rate falls along half a cosine.

    Args:
        key: of the image to start from.
        features: `images -> {layer: map}`, such as `model.features`.
        image: x̂ in [0, 1].
        layer: name of the map Θ.
        regularization: the weights λ; what a map does not see, such as a border, is smooth.
        parameterization: of x, by default pixels; `Fourier`, with a learning rate of 0.1, comes
            nearer to the colors from deep layers. It must have the size of the image.
        steps: of Adam.
        learning_rate: of Adam at the beginning.

    Raises:
        ValueError: if the image is not in [0, 1] or the network does not take its size, there is
            no such layer, it is 0 everywhere, or the sizes differ.

    Source:
        Mahendran & Vedaldi (2015), eq. 1 and 3.
    """
    images = as_images(image)
    height, width, channels = images.shape[1:]
    parameterization = parameterization or Pixels(height, width, channels)
    key_init, key_steps = jax.random.split(key)
    params = parameterization.init(key_init, 1)
    if (size := jax.eval_shape(parameterization, params).shape) != images.shape:
        raise ValueError(f"parameterization must be of images {images.shape[1:]}, got {size[1:]}.")
    check_layers(output_shapes(features, images, name="image"), [layer])
    target = features(images)[layer]
    if not jnp.any(target):
        raise ValueError(f"layer must not be 0 everywhere, got {layer!r} of this image.")
    objective = Partial(
        _objective(layer), as_argument(features), target, parameterization, regularization
    )
    result = optimize_inputs(
        key_steps,
        objective,
        params,
        steps=steps,
        learning_rate=learning_rate,
        optimizer=_falling_adam(steps),
    )
    return Inversion(parameterization(result.inputs)[0], result.losses[:, 0])


@lru_cache
def _objective(layer: str) -> Callable:
    """One function for each layer, so that another call with it compiles nothing."""

    def objective(features, target, parameterization, regularization, params, key):
        del key  # nothing here is random
        images = parameterization(params)
        error = jnp.sum(jnp.square(features(images)[layer] - target))
        return error / jnp.sum(jnp.square(target)) + penalty(images, regularization)

    return objective


@lru_cache
def _falling_adam(steps: int) -> MakeOptimizer:
    """Adam with a learning rate that falls along half a cosine to 0."""
    return lambda rate: optax.adam(optax.cosine_decay_schedule(rate, steps))
