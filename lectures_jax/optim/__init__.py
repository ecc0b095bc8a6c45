"""The course's optimizers, averages of weights, and schedules that Optax does not have."""

from lectures_jax.optim.averaging import average_params, greedy_soup
from lectures_jax.optim.descent import (
    adagrad,
    adam,
    adamw,
    gradient_descent,
    momentum,
    nesterov,
    rmsprop,
)
from lectures_jax.optim.kernels import adamw_on_kernels, muon_on_kernels
from lectures_jax.optim.partition import by_path
from lectures_jax.optim.schedules import burn_in, flat_cosine

__all__ = [
    "adagrad",
    "adam",
    "adamw",
    "adamw_on_kernels",
    "average_params",
    "burn_in",
    "by_path",
    "flat_cosine",
    "gradient_descent",
    "greedy_soup",
    "momentum",
    "muon_on_kernels",
    "nesterov",
    "rmsprop",
]
