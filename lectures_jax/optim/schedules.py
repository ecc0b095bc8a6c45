"""Learning-rate schedules that Optax does not have; the others are Optax's own."""

import jax.numpy as jnp
import optax


def burn_in(
    learning_rate: float | optax.Schedule, *, steps: int, power: float = 4.0
) -> optax.Schedule:
    """Returns a schedule that rises as a power of the step, then follows `learning_rate`.

    `learning_rate(n) · min(1, n / steps)^power`

    With power 4 the rate of a detector's first hundreds of steps is close to 0, while batch norm's
    averages and the confidences of the empty cells settle.

    Args:
        learning_rate: a constant, or a schedule of the step.
        steps: length of the rise, at least 1.
        power: 1 is a linear warm-up, 4 is Darknet's.

    Raises:
        ValueError: if `steps` is not positive.

    Source:
        Darknet's `get_current_rate`, option `burn_in`, of 1 000 steps in the configuration of
        Redmon & Farhadi (2018).
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    after = learning_rate if callable(learning_rate) else optax.constant_schedule(learning_rate)

    def schedule(count):
        return after(count) * jnp.minimum(1.0, count / steps) ** power

    return schedule


def flat_cosine(
    peak: float, *, steps: int, warmup: int = 0, decay_share: float = 1 / 3
) -> optax.Schedule:
    """Returns a schedule that rises linearly, stays at its peak, and falls to 0 as half a cosine.

    Against a cosine over the whole run, more steps are taken at the full rate, and the flat part
    does not depend on where the run will end.

    Args:
        peak: value of the flat part.
        steps: length of the run, after which the schedule is 0.
        warmup: steps of the linear rise from 0.
        decay_share: share of `steps` over which the rate falls, in [0, 1].

    Raises:
        ValueError: if the rise and the fall do not fit into `steps`.

    Source:
        Hägele et al. (2024), "Scaling laws and compute-optimal training beyond fixed training
        durations", sec. 3, with their constant phase and cooldown; a cosine in the place of 1 − √.
    """
    decay = round(decay_share * steps)
    if min(warmup, decay) < 0 or warmup + decay > steps:
        raise ValueError(
            f"warmup and decay_share · steps must be at least 0 and fit into steps = {steps}, "
            f"got {warmup} and {decay}."
        )

    def schedule(count):
        rise = jnp.minimum(1.0, count / max(warmup, 1)) if warmup else 1.0
        fallen = jnp.clip((count - (steps - decay)) / max(decay, 1), 0.0, 1.0)
        return peak * rise * 0.5 * (1 + jnp.cos(jnp.pi * fallen))

    return schedule
