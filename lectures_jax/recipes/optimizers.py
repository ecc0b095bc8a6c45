"""Adam as the recipes use it: a training's rows have the learning rate."""

import optax


@optax.inject_hyperparams
def _adam(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    return optax.adam(learning_rate)


def adam(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Returns Optax's Adam, whose state keeps the learning rate, so that `train.fit` reports it.

    Args:
        schedule: learning rate by step.

    Source:
        Kingma & Ba (2015), algorithm 1.
    """
    return _adam(learning_rate=schedule)
