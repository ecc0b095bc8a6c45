"""Where an attack may go, the ball around an input and the range of pixels, and whom it fools.

Every function here works on each example by itself. One key serves all examples, which then get the
same draws, or each has its own: either way the result for an example is the same in any batch.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.typing import Key, is_typed_key

Norm = Literal["linf", "l2", "l1"]
"""How the size of a perturbation is measured: the largest entry, the length, the sum."""

Keys = Any
"""One key for all examples, which then get the same draws, or one for each."""

SHARE = 0.05  # of the entries that a step in the L1 norm moves


def typed(key: Any) -> Any:
    """Returns typed keys, also of one that is an array of integers.

    Args:
        key: typed keys, or what `jax.random.PRNGKey` makes.
    """
    return key if is_typed_key(key) else jax.random.wrap_key_data(key)


def draw(key: Keys, function: Callable[[Key], Any]) -> Any:
    """Returns draws for each example, with a leading axis of 1 where all share them.

    Args:
        key: one key for all examples, or one for each.
        function: `key -> draws` of one example, a tree of arrays.
    """
    key = typed(key)
    return jax.vmap(function)(key if key.ndim else key[None])


def fold(key: Keys, number: Any) -> Keys:
    """Returns other keys.

    Args:
        key: one key, or one for each example.
        number: folded into each.
    """
    key = typed(key)
    if key.ndim:
        return jax.vmap(lambda one: jax.random.fold_in(one, number))(key)
    return jax.random.fold_in(key, number)


def project(x: Array, center: Array, epsilon: Array, *, norm: Norm) -> Array:
    """Returns the inputs moved into the ball, then into [0, 1]: exactly, in spite of rounding.

    Args:
        x: inputs, the examples along the leading axis.
        center: of each ball, in [0, 1].
        epsilon: radius of each ball, from `per_example`.
        norm: that measures it.

    Source:
        L1: Duchi et al. (2008), fig. 1.
    """
    if norm == "linf":
        low = jnp.maximum(_add_towards(center, -epsilon), 0)
        return jnp.clip(x, low, jnp.minimum(_add_towards(center, epsilon), 1))
    if x.dtype.itemsize < 4:  # sums of so few digits say nothing
        wide = (v.astype(jnp.float32) for v in (x, center, epsilon))
        return _narrowed(project(*wide, norm=norm), center)
    delta = x - center
    radius = epsilon * (1 - _rounding(x))
    delta = _shrink_l2(delta, radius) if norm == "l2" else _shrink_l1(delta, radius)
    return jnp.clip(_add_towards(center, delta), 0, 1)


def random_point(key: Keys, center: Array, epsilon: Array, *, norm: Norm) -> Array:
    """Returns a point of each ball, evenly distributed before it is cut to [0, 1].

    Args:
        key: one key, or one for each example.
        center: of each ball, in [0, 1].
        epsilon: radius of each ball, from `per_example`.
        norm: that measures it.
    """
    unit = draw(key, partial(_unit_ball, shape=center.shape[1:], dtype=center.dtype, norm=norm))
    return project(center + epsilon * unit, center, epsilon, norm=norm)


def steepest(gradient: Array, *, norm: Norm) -> Array:
    """Returns the direction of norm 1 in which each example's function rises most, 0 where flat.

    In L1 that is a single entry; a twentieth of the entries, those of the largest derivatives,
    share the step.

    Args:
        gradient: of each example.
        norm: that measures the direction.

    Source:
        Madry et al. (2018), sec. 2.1; L1: Tramèr & Boneh (2019), sec. 4.
    """
    if norm == "linf":
        return jnp.sign(gradient)
    axes = tuple(range(1, gradient.ndim))
    largest = jnp.max(jnp.abs(gradient), axis=axes, keepdims=True)
    scaled = gradient / jnp.where(largest > 0, largest, 1)  # so that no square underflows
    if norm == "l2":
        return scaled / jnp.maximum(jnp.sqrt(jnp.sum(scaled**2, axis=axes, keepdims=True)), 1)
    flat = jnp.abs(scaled).reshape(len(scaled), -1)
    count = max(1, int(SHARE * flat.shape[1]))
    least = jax.lax.top_k(flat, count)[0][:, -1].reshape(-1, *[1] * len(axes))
    chosen = jnp.where(jnp.abs(scaled) >= least, jnp.sign(scaled), 0)
    return chosen / jnp.maximum(jnp.sum(jnp.abs(chosen), axis=axes, keepdims=True), 1)


def margin(
    logits: Float[Array, "b c"], labels: Int[Array, " b"], *, targeted: bool
) -> Float[Array, " b"]:
    """Returns by how much an attack falls short: below 0 it has fooled the network.

    Args:
        logits: of the network.
        labels: true classes, or the targets.
        targeted: whether the labels are targets.

    Returns:
        The logit of the true class minus the largest other one; of a target the negative.

    Source:
        Carlini & Wagner (2017), sec. V.A, f₆.
    """
    own = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    chosen = jnp.max(logits, axis=-1, where=own, initial=-jnp.inf)
    other = jnp.max(logits, axis=-1, where=~own, initial=-jnp.inf)
    return other - chosen if targeted else chosen - other


def is_fooled(
    logits: Float[Array, "b c"], labels: Int[Array, " b"], *, targeted: bool
) -> Bool[Array, " b"]:
    """Returns whether the likeliest class is another than the label; of a target, whether it is it.

    Args:
        logits: of the network.
        labels: true classes, or the targets.
        targeted: whether the labels are targets.
    """
    same = jnp.argmax(logits, axis=-1) == labels
    return same if targeted else ~same


def choose(where: Bool[Array, " b"], new: Array, old: Array) -> Array:
    """Returns for each example the one or the other.

    Args:
        where: whether it is the new one.
        new: one array per example.
        old: the other.
    """
    return jnp.where(where.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _add_towards(x: Array, delta: Array) -> Array:
    """`x + delta`, rounded towards x. Source of the exact error: Knuth (1969), sec. 4.2.2."""
    total = x + delta
    part = total - x
    error = (x - (total - part)) + (delta - part)
    beyond = error * jnp.sign(delta) < 0
    total = jnp.where(beyond, jnp.nextafter(total, jnp.broadcast_to(x, total.shape)), total)
    return jnp.where(delta == 0, x, total)


def _narrowed(x: Array, center: Array) -> Array:
    """Float32 inputs in the dtype of the center, none of them farther from it."""
    narrow, exact = x.astype(center.dtype), center.astype(jnp.float32)
    beyond = jnp.abs(narrow.astype(jnp.float32) - exact) > jnp.abs(x - exact)
    return jnp.where(beyond, jnp.nextafter(narrow, center), narrow)


def _unit_ball(key: Key, *, shape: tuple[int, ...], dtype: Any, norm: Norm) -> Array:
    """A point of the ball of radius 1, evenly distributed. Source: Barthe et al. (2005), th. 1."""
    key_entries, key_depth = jax.random.split(key)
    row = (math.prod(shape),)  # four axes at once would compile for seconds
    if norm == "linf":
        return jax.random.uniform(key_entries, row, dtype, minval=-1).reshape(shape)
    depth = jax.random.exponential(key_depth, dtype=dtype)
    if norm == "l2":
        entries = jax.random.normal(key_entries, row, dtype) * 0.5**0.5
        return (entries / jnp.sqrt(jnp.sum(entries**2) + depth)).reshape(shape)
    entries = jax.random.laplace(key_entries, row, dtype)
    return (entries / (jnp.sum(jnp.abs(entries)) + depth)).reshape(shape)


def _rounding(x: Array) -> float:
    """A bound, as a share, on the error of a sum over one example."""
    return float((16 + math.prod(x.shape[1:]) ** 0.5) * jnp.finfo(x.dtype).eps)


def _shrink_l2(delta: Array, radius: Array) -> Array:
    axes = tuple(range(1, delta.ndim))
    length = jnp.sqrt(jnp.sum(delta**2, axis=axes, keepdims=True))
    return jnp.where(length > radius, delta * (radius / jnp.where(length > 0, length, 1)), delta)


def _shrink_l1(delta: Array, radius: Array) -> Array:
    size = jnp.abs(delta)
    axes = tuple(range(1, delta.ndim))
    falling = -jnp.sort(-size.reshape(len(delta), -1), axis=1)
    excess = jnp.cumsum(falling, axis=1) - radius.reshape(-1, 1)
    rank = jnp.arange(1, falling.shape[1] + 1, dtype=delta.dtype)[None]
    count = jnp.maximum(jnp.sum(falling * rank > excess, axis=1, keepdims=True), 1)
    level = jnp.take_along_axis(excess, count - 1, axis=1) / count
    inside = jnp.sum(size, axis=axes, keepdims=True) <= radius
    cut = jnp.maximum(size - level.reshape(radius.shape), 0) * (radius > 0)
    return jnp.where(inside, delta, jnp.sign(delta) * cut)
