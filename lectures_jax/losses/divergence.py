"""Divergences between distributions, in nats."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


@checked
@in_float32
def gaussian_kl(mean: Float[Array, "*b d"], log_var: Float[Array, "*b d"]) -> Float[Array, "*b"]:
    """Returns `KL(N(mean, exp(log_var)) ‖ N(0, I))` in nats.

    `½ Σ_d (mean² + exp(log_var) − 1 − log_var)`

    Args:
        mean: mean of the posterior.
        log_var: log σ² of the posterior, not log σ.

    Returns:
        One value per posterior, at least 0.

    Source:
        Kingma & Welling (2014), appendix B.
    """
    return 0.5 * jnp.sum(mean**2 + jnp.expm1(log_var) - log_var, axis=-1)
