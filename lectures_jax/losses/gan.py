"""Losses of generative adversarial networks: of the discriminator, of the generator, penalties.

The discriminator gives each image a logit; `D(x) = σ(logit)` is the probability that it is real. In
the hinge, Wasserstein and relativistic losses the number is a score without that meaning. Each
player minimizes its own loss while the other one is fixed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32, upcast
from lectures_jax.typing import Key, checked

Discriminator = Callable[[Float[Array, "b *_"]], Float[Array, " b"]]
"""`x -> logits`, one for each example, from that example alone."""


@checked
@in_float32
def discriminator_minimax(
    real_logits: Float[Array, "*b"], fake_logits: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `−log D(x) − log(1 − D(G(z)))` in nats.

    Its mean is minimal for `D = p / (p + q)`, where it is `log 4 − 2 · JSD(p, q)`.

    Args:
        real_logits: logits of real images.
        fake_logits: logits of generated images.

    Returns:
        One value per pair of images, at least 0.

    Source:
        Goodfellow et al. (2014), eq. 1.
    """
    return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


@checked
@in_float32
def generator_minimax(fake_logits: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `log(1 − D(G(z)))` in nats: the generator minimizes what the discriminator maximizes.

    Its gradient vanishes where the generator is bad, at `D(G(z)) ≈ 0`.

    Args:
        fake_logits: logits of generated images.

    Returns:
        One value per image, at most 0.

    Source:
        Goodfellow et al. (2014), eq. 1.
    """
    return -jax.nn.softplus(fake_logits)


@checked
@in_float32
def generator_non_saturating(fake_logits: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `−log D(G(z))` in nats: its gradient does not vanish where the generator is bad.

    The equilibrium of the two players is that of `generator_minimax`.

    Args:
        fake_logits: logits of generated images.

    Returns:
        One value per image, at least 0.

    Source:
        Goodfellow et al. (2014), sec. 3.
    """
    return jax.nn.softplus(-fake_logits)


@checked
@in_float32
def discriminator_hinge(
    real_logits: Float[Array, "*b"], fake_logits: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `max(0, 1 − real) + max(0, 1 + fake)`; the generator's is `generator_wasserstein`.

    Args:
        real_logits: scores of real images.
        fake_logits: scores of generated images.

    Returns:
        One value per pair of images, at least 0.

    Source:
        Lim & Ye (2017), eq. 10; Miyato et al. (2018), eq. 16.
    """
    return jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits)


@checked
@in_float32
def discriminator_wasserstein(
    real_logits: Float[Array, "*b"], fake_logits: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `fake − real`.

    Minus its mean is a distance of distributions only if the norm of the discriminator's gradient
    is nowhere above 1.

    Args:
        real_logits: scores of real images.
        fake_logits: scores of generated images.

    Returns:
        One value per pair of images.

    Source:
        Arjovsky et al. (2017), eq. 2.
    """
    return fake_logits - real_logits


@checked
def generator_wasserstein(fake_logits: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `−fake`, also the generator's loss against `discriminator_hinge`.

    Args:
        fake_logits: scores of generated images.

    Returns:
        One value per image.

    Source:
        Arjovsky et al. (2017), sec. 3; Miyato et al. (2018), eq. 17.
    """
    return -fake_logits


@checked
@in_float32
def discriminator_relativistic(
    real_logits: Float[Array, "*b"], fake_logits: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `−log σ(real − fake)` in nats: the real image of a pair should have the higher score.

    The generator's loss is the same with its arguments exchanged.

    Args:
        real_logits: scores of real images.
        fake_logits: scores of as many generated images.

    Returns:
        One value per pair of images, at least 0.

    Source:
        Jolicoeur-Martineau (2019), eq. 7 and 8.
    """
    return jax.nn.softplus(fake_logits - real_logits)


@checked
def r1_penalty(discriminator: Discriminator, x: Float[Array, "b *_"]) -> Float[Array, " b"]:
    """Returns `‖∇ discriminator(x)‖²`, of which R1 and R2 are the mean times γ/2.

    R1 takes it at real images, R2 at generated ones. The factor γ/2 is not part of this function;
    `objectives.gan_discriminator` applies it. The penalty damps the circling of the two players
    around their equilibrium.

    Args:
        discriminator: gives each example its logit from that example alone, so without batch
            normalization. Half precision reaches it in float32.
        x: images at which the gradient is taken.

    Returns:
        One value per image, at least 0: the squares of all its pixels' derivatives, summed.

    Source:
        Mescheder et al. (2018), eq. 9 and 10, without the factor γ/2 and the mean.
    """
    # Not `in_float32`, which would widen a discriminator that is a tree of arrays.
    gradient = jax.grad(lambda x: jnp.sum(discriminator(x)))(upcast(x))
    return jnp.sum(gradient**2, axis=tuple(range(1, x.ndim))).astype(x.dtype)


@checked
def gradient_penalty(
    key: Key, discriminator: Discriminator, real: Float[Array, "b *d"], fake: Float[Array, "b *d"]
) -> Float[Array, " b"]:
    """Returns `(‖∇ discriminator(x̂)‖ − 1)²` at random points between real and generated images.

    Added to the discriminator's loss with weight 10, it keeps the gradient's norm near 1, as
    `discriminator_wasserstein` requires.

    Args:
        key: for one point on the line between each real and generated image.
        discriminator: gives each example its score from that example alone, so without batch
            normalization. Half precision reaches it in float32.
        real: real images.
        fake: as many generated images.

    Returns:
        One value per pair of images, at least 0.

    Source:
        Gulrajani et al. (2017), eq. 3.
    """
    a, b = upcast(real), upcast(fake)
    share = jax.random.uniform(key, (len(a),) + (1,) * (a.ndim - 1), a.dtype)
    squared = r1_penalty(discriminator, a + share * (b - a))
    # Where the gradient is zero, the root has no derivative.
    flat = squared == 0
    norm = jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, squared)))
    return ((norm - 1) ** 2).astype(jnp.result_type(real, fake))
