"""Auto-PGD, which sets its own step: it halves where progress ends, and goes back to the best."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lectures_jax.input_optimization.attack_arguments import (
    Budget,
    Inputs,
    Labels,
    Logits,
    check_norm,
    logits_shape,
    prepared,
)
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
from lectures_jax.typing import check_count

Loss = Literal["ce", "dlr"]
"""Cross-entropy, or the difference of logits ratio, which no scale of the logits can flatten."""

LEAST = {"ce": 2, "dlr": 3, "dlr towards": 4}
"""Classes that a loss needs."""

MOMENTUM = 0.75  # α of eq. 5
SHARE = 0.75  # ρ, steps of an interval that must make progress, of condition 1


class _Attempt(NamedTuple):
    """All that one restart carries from step to step, per example.

    `best` is by the loss, which decides where to go on; `kept` by the margin, and is returned.
    """

    x: Array
    before: Array
    gradient: Array
    step_size: Array
    loss: Array
    best: Array
    best_gradient: Array
    best_loss: Array
    kept: Array
    kept_margin: Array
    rises: Array
    loss_then: Array
    halved_then: Array


def apgd(
    key: Keys,
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: Budget,
    steps: int = 100,
    norm: Literal["linf", "l2"] = "linf",
    loss: Loss = "ce",
    targeted: bool = False,
    restarts: int = 1,
) -> Float[Array, "b *d"]:
    """Returns the best inputs of Auto-PGD.

    It begins with steps of 2ε, carries three quarters of each step's move and a quarter of the one
    before, and halves the step of an example whose loss has not risen in three of four steps since
    the last look, or whose best loss has not changed.

    Args:
        key: of the first points; one for all examples, which then begin alike, or one for each.
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: true classes, or the classes to be answered.
        epsilon: radius of the ball, for all or for each example.
        steps: of each restart.
        norm: of the ball.
        loss: that rises.
        targeted: whether the labels are targets.
        restarts: how often it begins anew.

    Returns:
        Inputs within ε of x and in [0, 1]; of all on the way, those with the lowest margin.

    Raises:
        ValueError: as for `pgd`, or if the loss is unknown or needs more classes.

    Source:
        Croce & Hein (2020), algorithm 1, and eq. 6 for the ratio.
    """
    logits_fn, x, labels, epsilon = prepared(logits_fn, x, labels, epsilon=epsilon)
    if loss not in ("ce", "dlr"):
        raise ValueError(f"loss must be one of ce, dlr, got {loss!r}.")
    check_norm(norm, allowed=("linf", "l2"))
    check_count(steps=steps, restarts=restarts)
    classes = logits_shape(logits_fn, x)[1]
    if classes < LEAST[loss]:
        raise ValueError(f"loss {loss!r} needs {LEAST[loss]} classes at least, got {classes}.")
    options = {"norm": norm, "loss": loss, "targeted": targeted, "restarts": restarts}
    return run_apgd(key, logits_fn, x, labels, labels, epsilon, steps=steps, **options)


@partial(jax.jit, static_argnames=("steps", "norm", "loss", "targeted", "restarts"))
def run_apgd(
    key: Keys,
    logits_fn: Any,
    x: Array,
    labels: Array,
    towards: Array,
    epsilon: Array,
    *,
    steps: int,
    norm: Norm,
    loss: str,
    targeted: bool = False,
    restarts: int = 1,
) -> Array:
    """Returns the best inputs of Auto-PGD, whose arguments were checked.

    Args:
        key: one for all examples, or one for each.
        logits_fn: a tree, from `as_argument`.
        x: inputs.
        labels: true classes, or the classes to be answered.
        towards: the other class that the loss "dlr towards" goes for.
        epsilon: from `per_example`.
        steps: of each restart.
        norm: of the ball.
        loss: "ce", "dlr" or "dlr towards".
        targeted: whether the labels are targets.
        restarts: how often it begins anew.
    """

    def evaluate(x: Array) -> tuple[Array, Array, Array]:
        def total(x: Array) -> tuple[Array, tuple[Array, Array]]:
            logits = logits_fn(x)
            losses = _losses(logits, labels, towards, loss, targeted)
            return jnp.sum(losses), (losses, margin(logits, labels, targeted=targeted))

        (_, aux), gradient = jax.value_and_grad(total, has_aux=True)(x)
        return *aux, gradient

    def restart(best: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
        start = random_point(fold(key, number), x, epsilon, norm=norm)
        end = _attempt(evaluate, x, start, epsilon, steps, norm)
        better = end.kept_margin < best[1]
        kept = choose(better, end.kept, best[0])
        return (kept, jnp.where(better, end.kept_margin, best[1])), None

    worst = jnp.full(x.shape[:1], jnp.inf, jax.eval_shape(evaluate, x)[1].dtype)
    (best, _), _ = jax.lax.scan(restart, (x, worst), jnp.arange(restarts))
    return best


def _checkpoints(steps: int) -> list[int]:
    """Returns the steps after which a step size may halve: 22 % of all, then ever closer.

    Args:
        steps: of the attack.

    Source:
        Croce & Hein (2020), sec. 3.2.
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return [int(np.ceil(share * steps)) for share in shares if 0 < share <= 1]


def _attempt(
    evaluate: Callable[[Array], tuple[Array, Array, Array]],
    center: Array,
    start: Array,
    epsilon: Array,
    steps: int,
    norm: Norm,
) -> _Attempt:
    """One restart."""
    loss, rank, gradient = evaluate(start)
    state = _Attempt(
        x=start,
        before=start,
        gradient=gradient,
        step_size=2 * epsilon,
        loss=loss,
        best=start,
        best_gradient=gradient,
        best_loss=loss,
        kept=start,
        kept_margin=rank,
        rises=jnp.zeros(loss.shape, jnp.int32),
        loss_then=loss,
        halved_then=jnp.ones(loss.shape, bool),  # the first look goes by the rises alone
    )

    def step(state: _Attempt, now: tuple[Array, Array, Array]) -> tuple[_Attempt, None]:
        first, interval, looks = now
        ahead = state.x + state.step_size * steepest(state.gradient, norm=norm)
        ahead = project(ahead, center, epsilon, norm=norm)
        share = jnp.where(first, 1, MOMENTUM).astype(center.dtype)
        x = state.x + share * (ahead - state.x) + (1 - share) * (state.x - state.before)
        x = project(x, center, epsilon, norm=norm)
        state = _advance(state, x, evaluate(x))
        return jax.lax.cond(looks, _look, lambda state, _: state, state, interval), None

    state, _ = jax.lax.scan(step, state, _schedule(steps))
    return state


def _schedule(steps: int) -> tuple[Array, Array, Array]:
    """Of each step: whether it is the first, its interval's length, whether a look follows."""
    looks = np.array(_checkpoints(steps))
    numbers = np.arange(1, steps + 1)
    lengths = np.diff(looks, prepend=0)
    interval = lengths[np.minimum(np.searchsorted(looks, numbers), len(looks) - 1)]
    return jnp.asarray(numbers == 1), jnp.asarray(interval), jnp.asarray(np.isin(numbers, looks))


def _advance(state: _Attempt, x: Array, evaluated: tuple[Array, Array, Array]) -> _Attempt:
    loss, rank, gradient = evaluated
    higher, lower = loss > state.best_loss, rank < state.kept_margin
    return state._replace(
        x=x,
        before=state.x,
        gradient=gradient,
        loss=loss,
        best=choose(higher, x, state.best),
        best_gradient=choose(higher, gradient, state.best_gradient),
        best_loss=jnp.where(higher, loss, state.best_loss),
        kept=choose(lower, x, state.kept),
        kept_margin=jnp.where(lower, rank, state.kept_margin),
        rises=state.rises + (loss > state.loss),
    )


def _look(state: _Attempt, interval: Array) -> _Attempt:
    """Halves the steps of the examples that make no progress, which go on from their best."""
    slow = state.rises < SHARE * interval
    same = ~state.halved_then & (state.best_loss <= state.loss_then)
    halve: Bool[Array, " b"] = slow | same
    return state._replace(
        x=choose(halve, state.best, state.x),
        before=choose(halve, state.best, state.before),
        gradient=choose(halve, state.best_gradient, state.gradient),
        loss=jnp.where(halve, state.best_loss, state.loss),
        step_size=choose(halve, state.step_size / 2, state.step_size),
        rises=jnp.zeros_like(state.rises),
        loss_then=state.best_loss,
        halved_then=halve,
    )


def _losses(logits: Array, labels: Array, towards: Array, loss: str, targeted: bool) -> Array:
    """What an attack makes larger."""
    if loss == "ce":
        values = cross_entropy(logits, labels)
        return -values if targeted else values
    falling = -jnp.sort(-logits, axis=-1)
    if loss == "dlr":
        distance = margin(logits, labels, targeted=targeted)
        return -distance / _not_zero(falling[:, 0] - falling[:, 2])
    own, other = (jnp.take_along_axis(logits, c[:, None], axis=1)[:, 0] for c in (labels, towards))
    spread = falling[:, 0] - (falling[:, 2] + falling[:, 3]) / 2
    return (other - own) / _not_zero(spread)


def _not_zero(spread: Array) -> Array:
    return jnp.maximum(spread, jnp.finfo(spread.dtype).tiny ** 0.5)
