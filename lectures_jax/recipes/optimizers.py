"""Adam as the recipes use it: a training's rows have the learning rate."""

import optax


def adam(
    schedule: optax.Schedule, *, b1: float = 0.9, b2: float = 0.999
) -> optax.GradientTransformation:
    """Returns Optax's Adam, whose state keeps the learning rate, so that `train.fit` reports it.

    Args:
        schedule: learning rate by step.
        b1: decay of the mean of the gradients.
        b2: decay of the mean of their squares.

    Source:
        Kingma & Ba (2015), algorithm 1.
    """
    injected = optax.inject_hyperparams(optax.adam, static_args=("b1", "b2", "eps", "eps_root"))
    return injected(learning_rate=schedule, b1=b1, b2=b2)
