"""What every attack asks of its arguments: images in [0, 1], labels that are classes, budgets."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from lectures_jax.input_optimization.images import as_pixels
from lectures_jax.input_optimization.loop import as_argument
from lectures_jax.input_optimization.outputs import output_shapes

Logits = Callable[[Any], Array]
"""`images -> logits`: a network in evaluation mode, or a function of the images alone."""

Inputs = Any
"""Floats in [0, 1], the examples along the first axis; an array of JAX or of NumPy."""

Labels = Any
"""Integers, the class of each example; an array of JAX or of NumPy."""

Budget = Any
"""A number of at least 0 for all examples, or one for each."""


def prepared(logits_fn: Logits, x: Any, labels: Any, **sizes: Any) -> tuple[Any, ...]:
    """Returns `(logits_fn, x, labels, *sizes)`, looked at and made arguments of compiled programs.

    The network is a tree, inputs and labels are arrays, and each size, such as `epsilon`, is one
    number for each example, with the axes of the inputs.

    Args:
        logits_fn: `images -> logits`.
        x: floats in [0, 1], the examples along the leading axis.
        labels: one class of each example.
        sizes: numbers, or one for each example, that must not be negative.

    Raises:
        ValueError: as `check_attack` does.
    """
    logits_fn = as_argument(logits_fn)
    x, labels = check_attack(logits_fn, x, labels, **sizes)
    return logits_fn, x, labels, *(per_example(size, x) for size in sizes.values())


def check_attack(logits_fn: Logits, x: Any, labels: Any, **sizes: Any) -> tuple[Array, Array]:
    """Returns images and labels as arrays, after a look at them.

    Args:
        logits_fn: for the number of classes.
        x: floats in [0, 1], the examples along the leading axis.
        labels: one class of each example.
        sizes: numbers, or one for each example, that must not be negative.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    x = check_inputs(x)
    labels = check_labels(labels, len(x), logits_shape(logits_fn, x))
    for name, value in sizes.items():
        if isinstance(value, Tracer):
            continue
        given = np.asarray(value)
        if given.ndim > 1 or (given.ndim == 1 and len(given) != len(x)):
            got = f"shape {given.shape}"
            raise ValueError(f"{name} must be a number or one for each of {len(x)}, got {got}.")
        if not np.all(given >= 0):
            raise ValueError(f"{name} must be at least 0, got {np.min(given)}.")
    return x, labels


def logits_shape(logits_fn: Logits, x: Array) -> tuple[int, ...]:
    """Returns the shape of the logits; the network is traced once for each shape of inputs.

    Args:
        logits_fn: a tree, from `as_argument`.
        x: inputs.
    """
    logits = output_shapes(logits_fn, x, name="x")
    if not hasattr(logits, "shape"):
        raise ValueError(f"logits_fn must give logits, got {type(logits).__name__}.")
    return logits.shape


def check_inputs(x: Any, *, name: str = "x") -> Array:
    """Returns inputs as an array, after a look at their dtype and range.

    Args:
        x: floats in [0, 1], the examples along the leading axis.
        name: of the argument, for the message.

    Raises:
        ValueError: if they are not.
    """
    expected = f"{name} must be floats in [0, 1], the examples along the first axis"
    x = as_pixels(x, name=name, expected=expected)
    if x.ndim < 2:
        raise ValueError(f"{expected}, got shape {x.shape}.")
    return x


def check_labels(labels: Any, examples: int, logits: tuple[int, ...]) -> Array:
    """Returns labels as an array, after a look at them.

    Args:
        labels: one class of each example.
        examples: how many there are.
        logits: shape of the network's result.

    Raises:
        ValueError: if the network gives no logits, or a label is none of its classes.
    """
    if len(logits) != 2 or logits[0] != examples:
        expected = f"logits of shape ({examples}, classes)"
        raise ValueError(f"logits_fn must give {expected}, got shape {logits}.")
    labels = labels if isinstance(labels, Tracer) else np.asarray(labels)
    if labels.shape != (examples,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        got = f"{labels.dtype} of shape {labels.shape}"
        raise ValueError(f"labels must be {examples} integers, one for each example, got {got}.")
    if not isinstance(labels, Tracer) and examples:
        wrong = labels[(labels < 0) | (labels >= logits[1])]
        if len(wrong):
            raise ValueError(f"labels must be in [0, {logits[1] - 1}], got {wrong[0]}.")
    return jnp.asarray(labels)


def check_norm(norm: str, *, allowed: tuple[str, ...] = ("linf", "l2", "l1")) -> None:
    """Refuses an unknown norm.

    Args:
        norm: its name.
        allowed: known names.

    Raises:
        ValueError: with the known names.
    """
    if norm not in allowed:
        raise ValueError(f"norm must be one of {', '.join(allowed)}, got {norm!r}.")


def per_example(value: Any, x: Array) -> Array:
    """Returns a number, or one for each example, with the axes of the inputs.

    It is rounded towards zero: in its own dtype no perturbation exceeds the size that was asked for
    in double precision.

    Args:
        value: a number or one for each example, at least 0.
        x: inputs.
    """
    if not isinstance(value, Array):
        exact = np.asarray(value, np.float64)
        value = exact.astype(x.dtype)
        value = np.where(value > exact, np.nextafter(value, np.zeros_like(value)), value)
    value = jnp.broadcast_to(jnp.asarray(value, x.dtype), x.shape[:1])
    return value.reshape(-1, *[1] * (x.ndim - 1))
