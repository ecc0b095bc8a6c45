"""Optimizers that treat kernels otherwise than biases and the scales of normalization."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array
from optax import contrib


def adamw_on_kernels(
    learning_rate: float | optax.Schedule, *, weight_decay: float
) -> optax.GradientTransformation:
    """Returns Adam with decoupled weight decay on the kernels only.

    The state keeps the learning rate, so that a training's rows have it. A kernel is an array of
    two or more axes. Biases and the scales of normalization have one: decay
    would pull them to 0, where they are no simpler.

    Args:
        learning_rate: a constant, or a schedule of the step.
        weight_decay: share of a kernel that a step takes away, times the learning rate.

    Source:
        Loshchilov & Hutter (2019), algorithm 2; no decay of biases: He et al. (2019), sec. 3.1.
    """
    kernels = partial(jax.tree.map, lambda parameter: jnp.ndim(parameter) > 1)

    @optax.inject_hyperparams
    def adamw(learning_rate: Any) -> optax.GradientTransformation:
        return optax.adamw(learning_rate, weight_decay=weight_decay, mask=kernels)

    return adamw(learning_rate)


def muon_on_kernels(learning_rate: float | optax.Schedule) -> optax.GradientTransformation:
    """Returns Muon for the kernels and NAdam for all other arrays, both at the same rate.

    Muon takes the mean of a kernel's gradients as a matrix, from all inputs of an output to the
    outputs, and sets its singular values to about 1: directions that are rare in the gradients move
    as far as the frequent ones. An update is scaled to 0.2 of the rate in the root mean square, as
    Adam's usually are, so that rates of Adam's size suit it. The state keeps the learning rate, so
    that a training's rows have it. A kernel is an array of two or more axes, its last the outputs.
    Its price does not depend on the batch: little beside a step of convolutions, but more than a
    step of wide dense layers on few examples.

    Args:
        learning_rate: a constant, or a schedule of the step.

    Source:
        Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks"; the scale:
        Liu et al. (2025), sec. 2.2; NAdam: Dozat (2016), algorithm 2.
    """

    def axes(params: Any) -> Any:
        return jax.tree.map(_inputs_and_outputs, params)

    @optax.inject_hyperparams
    def muon(learning_rate: Any) -> optax.GradientTransformation:
        return contrib.muon(learning_rate, consistent_rms=0.2, muon_weight_dimension_numbers=axes)

    return muon(learning_rate)


def _inputs_and_outputs(parameter: Array) -> contrib.MuonDimensionNumbers | None:
    last = parameter.ndim - 1
    return contrib.MuonDimensionNumbers(tuple(range(last)), last) if last > 0 else None
