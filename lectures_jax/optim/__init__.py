"""Learning-rate schedules, as functions of the step for any Optax optimizer."""

from lectures_jax.optim.schedules import burn_in, flat_cosine

__all__ = ["burn_in", "flat_cosine"]
