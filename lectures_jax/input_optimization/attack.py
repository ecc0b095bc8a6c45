"""Attacks by the gradient: the smallest change of an image that a network answers wrongly to.

The network is a function `images -> logits` in evaluation mode. Where it is a tree of arrays, such
as a Flax module, other weights and other batches of the same shape compile nothing. Each example
has a budget of its own, and what is returned never leaves it, nor [0, 1].
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from lectures_jax.input_optimization.attack_arguments import (
    Budget,
    Inputs,
    Labels,
    Logits,
    check_norm,
    prepared,
)
from lectures_jax.input_optimization.loop import descend
from lectures_jax.input_optimization.perturbation import (
    Keys,
    Norm,
    choose,
    fold,
    margin,
    project,
    random_point,
    steepest,
)
from lectures_jax.losses import cross_entropy
from lectures_jax.typing import check_count, check_range


def fgsm(
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: Budget,
    targeted: bool = False,
) -> Float[Array, "b *d"]:
    """Returns inputs after one step of ε in the sign of the gradient (fast gradient sign).

    `clip(x + ε sign ∇ₓ L(x, label), 0, 1)`, and minus for a target

    Args:
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: true classes, or the classes to be answered.
        epsilon: largest change of an entry, for all or for each example.
        targeted: whether the labels are targets.

    Raises:
        ValueError: if ε is negative, a label is no class, or x is not in [0, 1].

    Source:
        Goodfellow et al. (2015), sec. 4.
    """
    return _fgsm(*prepared(logits_fn, x, labels, epsilon=epsilon), targeted=targeted)


def bim(
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: Budget,
    step_size: Budget,
    steps: int,
    targeted: bool = False,
) -> Float[Array, "b *d"]:
    """Returns the best inputs of several small FGSM steps that stay within ε: the basic iteration.

    Args:
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: true classes, or the classes to be answered.
        epsilon: largest change of an entry, for all or for each example.
        step_size: change of an entry in a step, for all or for each example.
        steps: how many.
        targeted: whether the labels are targets.

    Raises:
        ValueError: as for `fgsm`, or if `step_size` or `steps` is negative.

    Source:
        Kurakin et al. (2017), sec. 2.2.
    """
    key = jax.random.key(0)  # nothing is drawn
    return pgd(
        *(key, logits_fn, x, labels),
        epsilon=epsilon,
        step_size=step_size,
        steps=steps,
        targeted=targeted,
        random_start=False,
    )


def mi_fgsm(
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: Budget,
    step_size: Budget,
    steps: int,
    momentum: float = 1.0,
    targeted: bool = False,
) -> Float[Array, "b *d"]:
    """Returns the best inputs of the basic iteration with momentum, which other networks fall for.

    `g ← μ g + ∇L / ‖∇L‖₁`, and a step in the sign of g

    Args:
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: true classes, or the classes to be answered.
        epsilon: largest change of an entry, for all or for each example.
        step_size: change of an entry in a step, for all or for each example.
        steps: how many.
        momentum: μ, share of the gradients so far that is kept.
        targeted: whether the labels are targets.

    Raises:
        ValueError: as for `bim`, or if `momentum` is negative.

    Source:
        Dong et al. (2018), algorithm 1.
    """
    check_range(momentum=momentum, low=0)
    check_count(steps=steps, low=0)
    given = prepared(logits_fn, x, labels, epsilon=epsilon, step_size=step_size)
    options = {"norm": "linf", "targeted": targeted, "restarts": 1, "random_start": False}
    return _pgd(jax.random.key(0), *given, momentum, steps=steps, **options)


def pgd(
    key: Keys,
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: Budget,
    step_size: Budget,
    steps: int,
    norm: Norm = "linf",
    targeted: bool = False,
    restarts: int = 1,
    random_start: bool = True,
) -> Float[Array, "b *d"]:
    """Returns the best inputs of projected gradient descent from random points of the ball.

    A step goes `step_size` far in the direction of the ball's norm in which the cross-entropy rises
    most, or falls most towards a target, and back into the ball and [0, 1]. Of all inputs on the
    way those are kept whose margin is lowest, so that what fools the network is not lost again.

    Args:
        key: of the first points; one for all examples, which then begin alike, or one for each.
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: true classes, or the classes to be answered.
        epsilon: radius of the ball, for all or for each example.
        step_size: length of a step in the norm of the ball, for all or for each example.
        steps: of each restart.
        norm: of the ball.
        targeted: whether the labels are targets.
        restarts: how often it begins anew.
        random_start: begin at a random point, or at x.

    Returns:
        Inputs within ε of x and in [0, 1]; x itself, bit by bit, where ε is 0. The result for an
        example is the same in any batch.

    Raises:
        ValueError: as for `bim`, or if the norm is unknown or `restarts` is below 1.

    Source:
        Madry et al. (2018), sec. 2.1; L1: Tramèr & Boneh (2019), sec. 4.
    """
    check_norm(norm)
    check_count(steps=steps, low=0)
    check_count(restarts=restarts)
    given = prepared(logits_fn, x, labels, epsilon=epsilon, step_size=step_size)
    options = {"norm": norm, "targeted": targeted, "restarts": restarts}
    return _pgd(key, *given, None, steps=steps, random_start=random_start, **options)


def _cross_entropy_objective(
    logits_fn: Logits, labels: Array, targeted: bool, x: Array, key: Any
) -> tuple[Array, Array]:
    """Returns the loss that an attack descends, and the margin by which its results rank.

    Args:
        logits_fn: `images -> logits`.
        labels: true classes, or the classes to be answered.
        targeted: whether the labels are targets.
        x: inputs.
        key: not used.
    """
    logits = logits_fn(x)
    loss = cross_entropy(logits, labels)
    return loss if targeted else -loss, margin(logits, labels, targeted=targeted)


@partial(jax.jit, static_argnames="targeted")
def _fgsm(logits_fn: Any, x: Array, labels: Array, epsilon: Array, *, targeted: bool) -> Array:
    nothing = jax.random.key(0)  # is drawn

    def total(x: Array) -> Array:
        return jnp.sum(_cross_entropy_objective(logits_fn, labels, targeted, x, nothing)[0])

    step = epsilon * steepest(jax.grad(total)(x), norm="linf")
    return project(x - step, x, epsilon, norm="linf")


@partial(jax.jit, static_argnames=("steps", "norm", "targeted", "restarts", "random_start"))
def _pgd(
    key: Keys,
    logits_fn: Any,
    x: Array,
    labels: Array,
    epsilon: Array,
    step_size: Array,
    momentum: Any,
    *,
    steps: int,
    norm: Norm,
    targeted: bool,
    restarts: int,
    random_start: bool,
) -> Array:
    objective = partial(_cross_entropy_objective, logits_fn, labels, targeted)
    optimizer = _steps(step_size, norm, momentum)
    into_ball = Partial(partial(project, norm=norm), center=x, epsilon=epsilon)

    def restart(best: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
        start = x
        if random_start:
            start = random_point(fold(key, number), x, epsilon, norm=norm)
        result = descend(
            *(jax.random.key(0), objective, start, optimizer), steps=steps, project=into_ball
        )
        better = result.ranks < best[1]
        new = choose(better, result.inputs, best[0]), jnp.where(better, result.ranks, best[1])
        return new, None

    worst = jnp.full(x.shape[:1], jnp.inf, jax.eval_shape(objective, x, None)[1].dtype)
    (best, _), _ = jax.lax.scan(restart, (x, worst), jnp.arange(restarts))
    return best


def _steps(step_size: Array, norm: Norm, momentum: Any) -> optax.GradientTransformation:
    """Steps of a given length against the gradient, or against a running sum of gradients."""

    def init(params: Any) -> Any:
        return optax.EmptyState() if momentum is None else jnp.zeros_like(params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        if momentum is not None:
            axes = tuple(range(1, updates.ndim))
            total = jnp.sum(jnp.abs(updates), axis=axes, keepdims=True)
            updates = state = momentum * state + updates / jnp.where(total > 0, total, 1)
        return -step_size * steepest(updates, norm=norm), state

    return optax.GradientTransformation(init, update)
