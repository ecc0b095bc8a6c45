"""Saliency: which pixels a network's answer depends on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax.input_optimization.attack_arguments import (
    Inputs,
    Labels,
    Logits,
    check_attack,
    check_inputs,
    check_labels,
    logits_shape,
)
from lectures_jax.input_optimization.loop import as_argument
from lectures_jax.input_optimization.outputs import output_shapes
from lectures_jax.input_optimization.perturbation import (
    Keys,
    draw,
    fold,
)
from lectures_jax.typing import Key, check_count, check_range


def gradient_saliency(logits_fn: Logits, x: Inputs, labels: Labels) -> Float[Array, "b *d"]:
    """Returns the derivatives of each example's logit of a class with respect to the input.

    Args:
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: class of each example that is to be explained.

    Raises:
        ValueError: if a label is no class, or x is not in [0, 1].

    Source:
        Simonyan et al. (2014), sec. 3; their map is the largest absolute value over the channels.
    """
    logits_fn = as_argument(logits_fn)
    x, labels = check_attack(logits_fn, x, labels)
    return _gradient(logits_fn, x, labels)


def smooth_grad(
    key: Keys,
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    samples: int = 32,
    sigma: float = 0.15,
) -> Float[Array, "b *d"]:
    """Returns the mean of the derivatives at inputs with noise, which is less speckled.

    Args:
        key: of the noise; one for all examples, which then get the same, or one for each.
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: class of each example that is to be explained.
        samples: of the noise.
        sigma: its standard deviation.

    Raises:
        ValueError: if a label is no class, x is not in [0, 1], or a number is out of range.

    Source:
        Smilkov et al. (2017), sec. 3.
    """
    check_count(samples=samples)
    check_range(sigma=sigma, low=0)
    logits_fn = as_argument(logits_fn)
    x, labels = check_attack(logits_fn, x, labels)
    return _smooth(key, logits_fn, x, labels, jnp.asarray(sigma, x.dtype), samples=samples)


def integrated_gradients(
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    baseline: Inputs | None = None,
    *,
    steps: int = 64,
) -> Float[Array, "b *d"]:
    """Returns the share of each entry in the rise of the logit from a baseline to the input.

    `(x − x₀) ∫₀¹ ∇f(x₀ + t (x − x₀)) dt`; the sum over an example is `f(x) − f(x₀)`, up to the
    error of the midpoint rule.

    Args:
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: class of each example that is to be explained.
        baseline: x₀, which says nothing; by default black.
        steps: midpoints of the integral.

    Raises:
        ValueError: if a label is no class, x or the baseline is not in [0, 1], or `steps` is below
            1.

    Source:
        Sundararajan et al. (2017), eq. 1 and 3.
    """
    check_count(steps=steps)
    logits_fn = as_argument(logits_fn)
    x, labels = check_attack(logits_fn, x, labels)
    baseline = jnp.zeros_like(x) if baseline is None else check_inputs(baseline, name="baseline")
    if baseline.shape != x.shape:
        raise ValueError(f"baseline must have the shape of x, {x.shape}, got {baseline.shape}.")
    return _integrated(logits_fn, x, labels, baseline, steps=steps)


def grad_cam(
    features_fn: Callable[[Any], Array],
    head_fn: Callable[[Any], Array],
    x: Inputs,
    labels: Labels,
) -> Float[Array, "b rows columns"]:
    """Returns where a map of features speaks for a class, at least 0.

    `relu(Σ_c w_c A_c)`, where w_c is the mean derivative of the logit over the channel A_c

    Args:
        features_fn: `images -> map`, such as `lambda images: model.features(images)["stage3"]`.
        head_fn: `map -> logits`, what the network does from there on.
        x: images in [0, 1].
        labels: class of each example that is to be explained.

    Returns:
        A value for each cell of the map; `ops.upsample_bilinear` brings it to the images' size.

    Raises:
        ValueError: if a label is no class, x is not in [0, 1], or there is no map.

    Source:
        Selvaraju et al. (2017), eq. 1 and 2.
    """
    x = check_inputs(x)
    features_fn, head_fn = as_argument(features_fn), as_argument(head_fn)
    shape = output_shapes(features_fn, x, name="x").shape
    if len(shape) != 4:
        expected = "a map of shape (batch, rows, columns, channels)"
        raise ValueError(f"features_fn must give {expected}, got shape {shape}.")
    features = _call(features_fn, x)
    labels = check_labels(labels, len(x), logits_shape(head_fn, features))
    return _grad_cam(head_fn, features, labels)


def occlusion(
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    size: int,
    stride: int | None = None,
    value: float = 0.5,
) -> Float[Array, "b h w"]:
    """Returns by how much the class's probability falls, on average, when a pixel is covered.

    Args:
        logits_fn: `images -> logits`.
        x: images in [0, 1].
        labels: class of each example that is to be explained.
        size: side of the gray square, in pixels.
        stride: pixels between two of its places; by default half its side.
        value: gray level of the square.

    Returns:
        For each pixel the mean over the squares that cover it.

    Raises:
        ValueError: if a label is no class, x is no batch of images in [0, 1], or a number is out of
            range.

    Source:
        Zeiler & Fergus (2014), sec. 4.2.
    """
    stride = max(size // 2, 1) if stride is None else stride
    check_count(size=size, stride=stride)
    check_range(value=value, low=0, high=1)
    logits_fn = as_argument(logits_fn)
    x, labels = check_attack(logits_fn, x, labels)
    if x.ndim != 4:
        expected = "(batch, height, width, channels)"
        raise ValueError(f"x must be images of shape {expected}, got {x.shape}.")
    check_range(size=size, low=1, high=min(x.shape[1:3]))
    check_range(stride=stride, low=1, high=size)
    rows, columns = (_starts(side, size, stride) for side in x.shape[1:3])
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    return _occlusion(logits_fn, x, labels, jnp.asarray(places), value, size=size)


def _starts(side: int, size: int, stride: int) -> np.ndarray:
    """First rows or columns of the squares, the last at the border."""
    return np.unique(np.append(np.arange(0, side - size + 1, stride), side - size))


@jax.jit
def _call(function: Any, x: Array) -> Array:
    return function(x)


def _derivative(logits_fn: Logits, x: Array, labels: Array) -> Array:
    def total(x: Array) -> Array:
        return jnp.sum(jnp.take_along_axis(logits_fn(x), labels[:, None], axis=1))

    return jax.grad(total)(x)


_gradient = jax.jit(_derivative)


@partial(jax.jit, static_argnames="samples")
def _smooth(
    key: Keys, logits_fn: Any, x: Array, labels: Array, sigma: Array, *, samples: int
) -> Array:
    def normal(key: Key) -> Array:
        return jax.random.normal(key, (x[0].size,), x.dtype).reshape(x.shape[1:])

    def add(total: Array, sample: Array) -> tuple[Array, None]:
        noise = sigma * draw(fold(key, sample), normal)
        return total + _derivative(logits_fn, x + noise, labels), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(x), jnp.arange(samples))
    return total / samples


@partial(jax.jit, static_argnames="steps")
def _integrated(logits_fn: Any, x: Array, labels: Array, baseline: Array, *, steps: int) -> Array:
    def add(total: Array, share: Array) -> tuple[Array, None]:
        between = baseline + share * (x - baseline)
        return total + _derivative(logits_fn, between, labels), None

    midpoints = (jnp.arange(steps, dtype=x.dtype) + 0.5) / steps
    total, _ = jax.lax.scan(add, jnp.zeros_like(x), midpoints)
    return (x - baseline) * total / steps


@jax.jit
def _grad_cam(head_fn: Any, features: Array, labels: Array) -> Array:
    derivative = _derivative(head_fn, features, labels)
    weights = jnp.mean(derivative, axis=(1, 2), keepdims=True)
    return jax.nn.relu(jnp.sum(weights * features, axis=-1))


@partial(jax.jit, static_argnames="size")
def _occlusion(
    logits_fn: Any, x: Array, labels: Array, places: Array, value: Any, *, size: int
) -> Array:
    def probability(x: Array) -> Array:
        probabilities = jax.nn.softmax(logits_fn(x))
        return jnp.take_along_axis(probabilities, labels[:, None], axis=1)

    height, width = x.shape[1:3]
    whole = probability(x)

    def add(sums: tuple[Array, Array], place: Array) -> tuple[tuple[Array, Array], None]:
        row, column = (
            (jnp.arange(side) >= start) & (jnp.arange(side) < start + size)
            for side, start in zip((height, width), place, strict=True)
        )
        covered = (row[:, None] & column[None, :])[None]
        fall = whole - probability(jnp.where(covered[..., None], value, x))
        return (sums[0] + fall[:, :, None] * covered, sums[1] + covered), None

    none = jnp.zeros((len(x), height, width), whole.dtype), jnp.zeros((1, height, width), x.dtype)
    (falls, counts), _ = jax.lax.scan(add, none, places)
    return falls / counts
