"""The variational autoencoder: an encoder to a Gaussian, a decoder, and the decoder's variance."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.typing import Key


class Buffer(nnx.Variable):
    """A number that belongs to the model but that no optimizer trains."""


class Vae(nnx.Module):
    """`q(z|x) = N(mean, exp(log_var))` and `p(x|z) = N(decode(z), exp(pixel_log_var) I)`.

    With `logits` in place of `decode`, p(x|z) is a product of Bernoullis; the objective chooses.
    The model counts its training steps, for a warm-up of the divergence.

    Args:
        encoder: from an image to `2 z` numbers, the mean and the log σ².
        decoder: from a code to an image before it is squashed.
        squash: function from the decoder's output to the range of the data.
        variance: σ² of a pixel at the start of training.
        learned_variance: makes σ² a parameter; otherwise it is a constant, which the objective
            with the optimal σ updates.

    Source:
        Kingma & Welling (2014), sec. 3.
    """

    def __init__(
        self,
        encoder: Callable[[Array], Array],
        decoder: Callable[[Array], Array],
        *,
        squash: Callable[[Array], Array] = jax.nn.sigmoid,
        variance: float = 0.05,
        learned_variance: bool = False,
    ):
        self.encoder = encoder
        self.decoder = decoder
        self.squash = squash
        kind = nnx.Param if learned_variance else Buffer
        self.pixel_log_var = kind(jnp.float32(math.log(variance)))
        self.steps = Buffer(jnp.int32(0))

    def posterior(
        self, x: Float[Array, "b *shape"]
    ) -> tuple[Float[Array, "b z"], Float[Array, "b z"]]:
        """Returns mean and log σ² of q(z|x)."""
        mean, log_var = jnp.split(self.encoder(x), 2, axis=-1)
        return mean, log_var

    def encode(self, x: Float[Array, "b *shape"]) -> Float[Array, "b z"]:
        """Returns the mean of q(z|x)."""
        return self.posterior(x)[0]

    def logits(self, z: Float[Array, "b z"]) -> Float[Array, "b *shape"]:
        """Returns the decoder's output before it is squashed."""
        return self.decoder(z)

    def decode(self, z: Float[Array, "b z"]) -> Float[Array, "b *shape"]:
        """Returns the mean of p(x|z)."""
        return self.squash(self.decoder(z))

    def __call__(
        self, x: Float[Array, "b *shape"], *, key: Key | None = None
    ) -> Float[Array, "b *shape"]:
        """Returns the reconstruction, through the posterior's mean or, with a key, a sample."""
        mean, log_var = self.posterior(x)
        return self.decode(mean if key is None else ops.reparameterize(key, mean, log_var))
