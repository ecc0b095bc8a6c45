"""Where autoencoders meet their losses."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses
from lectures_jax.ops._draws import draw
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics, check_range


def autoencoder(model, batch: Batch, key: Key) -> tuple[Float[Array, ""], Metrics]:
    """Returns the squared error of the reconstruction, summed over pixels.

    Args:
        model: `model(x)` is the reconstruction.
        batch: `image`, of any shape.
        key: not used.

    Returns:
        The mean over the examples, and `loss`.

    Source:
        Hinton & Salakhutdinov (2006).
    """
    return _reconstruction(model, batch["image"], batch["image"])


def denoising(
    model, batch: Batch, key: Key, *, deviation: float
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the squared error of what is made of a noisy image, summed over pixels.

    `mean_i ‖f(x_i + σ ε_i) − x_i‖²`, ε_i ~ N(0, I)

    The best f goes from a noisy image to the mean of the clean ones that it may come from: back to
    where the data are.

    Args:
        model: `model(x)` is the image without noise.
        batch: `image`, of any shape, without noise.
        key: for the noise, new in each step.
        deviation: σ of the Gaussian noise, which may leave the range of the data.

    Returns:
        The mean over the examples, and `loss`.

    Raises:
        ValueError: if `deviation` is negative.

    Source:
        Vincent et al. (2008), sec. 2.3; the mean: Alain & Bengio (2014), theorem 1.
    """
    check_range(deviation=deviation, low=0)
    x = batch["image"]
    return _reconstruction(model, x + deviation * draw(jax.random.normal, key, x.shape, x.dtype), x)


def _reconstruction(model, x: Array, target: Array) -> tuple[Float[Array, ""], Metrics]:
    rows = (upcast(image).reshape(len(image), -1) for image in (model(x), target))
    loss = jnp.mean(losses.squared_error(*rows))
    return loss, {"loss": loss}
