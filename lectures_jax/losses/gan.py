"""Losses of generative adversarial networks: of the discriminator, of the generator, penalties.

The discriminator says how real an image looks by a logit, `D(x) = σ(logit)`; a critic by a number
without that meaning. Each player minimizes its own loss, with the other one as it is.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.typing import Key

Critic = Callable[[Float[Array, "b *_"]], Float[Array, " b"]]
"""`x -> logits`, one for each example, from that example alone."""


def discriminator_minimax(
    real_logits: Float[Array, "*b"], fake_logits: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `−log D(x) − log(1 − D(G(z)))` in nats.

    At its least, `D = p / (p + q)`, where it is on average `log 4 − 2 · JSD(p, q)`.

    Args:
        real_logits: of real images.
        fake_logits: of generated ones.

    Source:
        Goodfellow et al. (2014), eq. 1.
    """
    return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


def generator_minimax(fake_logits: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `log(1 − D(G(z)))` in nats: what the discriminator maximizes, minimized.

    Its slope vanishes just where the generator is bad, at `D(G(z)) ≈ 0`.

    Args:
        fake_logits: of generated images.

    Source:
        Goodfellow et al. (2014), eq. 1.
    """
    return -jax.nn.softplus(fake_logits)


def generator_non_saturating(fake_logits: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `−log D(G(z))` in nats: the same fixed point, and a slope where it is needed.

    Args:
        fake_logits: of generated images.

    Source:
        Goodfellow et al. (2014), sec. 3.
    """
    return jax.nn.softplus(-fake_logits)


def discriminator_hinge(
    real_logits: Float[Array, "*b"], fake_logits: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `max(0, 1 − real) + max(0, 1 + fake)`; the generator's is `generator_wasserstein`.

    Args:
        real_logits: of real images.
        fake_logits: of generated ones.

    Source:
        Lim & Ye (2017), eq. 10; Miyato et al. (2018), eq. 16.
    """
    return jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits)


def discriminator_wasserstein(
    real_logits: Float[Array, "*b"], fake_logits: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `fake − real`; minus its mean is a distance only for a critic of slope 1 at most.

    Args:
        real_logits: the critic's numbers for real images.
        fake_logits: for generated ones.

    Source:
        Arjovsky et al. (2017), eq. 2.
    """
    return fake_logits - real_logits


def generator_wasserstein(fake_logits: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `−fake`, also the generator's loss against `discriminator_hinge`.

    Args:
        fake_logits: the critic's numbers for generated images.

    Source:
        Arjovsky et al. (2017), sec. 3; Miyato et al. (2018), eq. 17.
    """
    return -fake_logits


def discriminator_relativistic(
    real_logits: Float[Array, "*b"], fake_logits: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `−log σ(real − fake)` in nats: the real one of each pair shall look more real.

    The generator's loss is the same with its arguments exchanged.

    Args:
        real_logits: the critic's numbers for real images.
        fake_logits: for generated ones, as many.

    Source:
        Jolicoeur-Martineau (2019), eq. 7 and 8.
    """
    return jax.nn.softplus(fake_logits - real_logits)


def r1_penalty(critic: Critic, x: Float[Array, "b *_"]) -> Float[Array, " b"]:
    """Returns `‖∇ critic(x)‖²`, the penalty R1 at real images and R2 at generated ones.

    Half of it, times a weight γ, is added to the discriminator's loss. It damps the circling of the
    two players around their equilibrium.

    Args:
        critic: gives each example its logit, independently of the others: no batch normalization.
        x: where to measure.

    Source:
        Mescheder et al. (2018), eq. 9 and 10.
    """
    slope = jax.grad(lambda x: jnp.sum(critic(x)))(x)
    return jnp.sum(slope**2, axis=tuple(range(1, x.ndim)))


def gradient_penalty(
    key: Key, critic: Critic, real: Float[Array, "b *d"], fake: Float[Array, "b *d"]
) -> Float[Array, " b"]:
    """Returns `(‖∇ critic(x̂)‖ − 1)²` at random points between real and generated images.

    Added to the critic's loss with weight 10 it holds the slope near 1, as
    `discriminator_wasserstein` needs it.

    Args:
        key: draws one point on each line.
        critic: gives each example its number, independently of the others.
        real: ends of the lines.
        fake: the other ends.

    Source:
        Gulrajani et al. (2017), eq. 3.
    """
    share = jax.random.uniform(key, (len(real),) + (1,) * (real.ndim - 1), real.dtype)
    squared = r1_penalty(critic, real + share * (fake - real))
    # A flat critic has slope 0, where the root has no derivative.
    flat = squared == 0
    norm = jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, squared)))
    return (norm - 1) ** 2
