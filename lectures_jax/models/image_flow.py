"""Normalizing flows of images: a histogram for each pixel, or several scales."""

import math
from collections.abc import Sequence
from typing import Any

from flax import nnx

from lectures_jax import ops
from lectures_jax.models.flow import Flow
from lectures_jax.nn.bijection import Bijection
from lectures_jax.nn.conditioner import ConvConditioner, DenseConditioner, Made
from lectures_jax.nn.flow import (
    Autoregressive,
    Chain,
    Coupling,
    Inverse,
    MaskedCoupling,
    Multiscale,
)
from lectures_jax.nn.invertible import ActNorm, Flatten, InvertibleLinear, Logit, Probit, Whitening
from lectures_jax.nn.transforms import Affine, Histogram, Transform


def histogram_flow(
    shape: tuple[int, ...],
    *,
    levels: int,
    hidden: Sequence[int] = (512,),
    classes: int = 0,
    dropout: float = 0.0,
    rngs: nnx.Rngs,
) -> Flow:
    """Returns a flow for small images of few levels: each pixel's histogram, given those before.

    One autoregressive layer transforms each pixel by a piecewise linear function with a bin for
    each level, then the normal distribution's quantiles follow. On dequantized pixels nothing is
    lost to the noise: the flow can be as good as any model of the levels themselves.

    Args:
        shape: height, width and channels of an image.
        levels: values that a pixel can take.
        hidden: sizes of the network's hidden layers.
        classes: number of classes, where the flow is conditioned on one; otherwise 0.
        dropout: share of the network's hidden values that training sets to zero.
        rngs: for the initial parameters.

    Source:
        Papamakarios et al. (2017), sec. 3; Müller et al. (2019), sec. 4.2.
    """
    size = math.prod(shape)
    transform = Histogram(levels)
    made = Made(size, levels, hidden=hidden, condition=classes, dropout=dropout, rngs=rngs)
    chain = [Flatten(shape), Autoregressive(made, transform), Probit()]
    return Flow(Chain(chain), size=size, classes=classes)


def multiscale_flow(
    shape: tuple[int, int, int],
    *,
    scales: int = 2,
    steps: int = 4,
    hidden: int = 64,
    dense: int = 0,
    classes: int = 0,
    transform: Transform = Affine(),  # noqa: B008 (frozen)
    dropout: float = 0.0,
    rngs: nnx.Rngs,
) -> Flow:
    """Returns a multiscale flow of images in [0, 1].

    A logit and two couplings on a checkerboard; then, at each scale, `space_to_depth` and `steps`
    times an activation normalization, an invertible 1×1 convolution and a coupling of channels.
    Convolutions depend on a neighborhood, `dense` couplings of the coarsest map on the whole image.

    Args:
        shape: height and width, divisible by 2 to the number of scales, and channels.
        scales: number of scales, each of half the resolution of the one before.
        steps: couplings of channels at each scale.
        hidden: channels of the conditioners; their dense ones have eight times as many units.
        dense: couplings of the coarsest map as a vector, after a whitening.
        classes: number of classes, where the flow is conditioned on one; otherwise 0.
        transform: family of functions of the couplings of channels.
        dropout: share of the conditioners' hidden values that training sets to zero.
        rngs: for the initial parameters.

    Raises:
        ValueError: if the scales do not divide the image.

    Source:
        Dinh et al. (2017), sec. 3.6; Kingma & Dhariwal (2018), fig. 2.
    """
    height, width, channels = shape
    if scales < 1 or height % 2**scales or width % 2**scales:
        raise ValueError(f"shape must be divisible by 2 {scales} times, got {shape}.")
    board = ops.checkerboard_mask(height=height, width=width, channels=channels)
    shared = {"hidden": hidden, "condition": classes, "dropout": dropout, "rngs": rngs}
    front = [Logit(), *(MaskedCoupling(m, **shared) for m in (board, ~board))]
    chains = []
    for scale in range(scales):
        channels *= 4
        chain: list[Bijection] = []
        for _ in range(steps):
            num_fixed = channels // 2
            outputs = (channels - num_fixed) * transform.parameters
            conditioner = ConvConditioner(num_fixed, outputs, **shared)
            chain += [ActNorm(channels), InvertibleLinear(channels, rngs=rngs)]
            chain += [Coupling(conditioner, transform, num_fixed=num_fixed)]
        if dense and scale == scales - 1:
            cells = (height // 2**scales, width // 2**scales, channels)
            chain += _dense_end(cells, dense, transform, {**shared, "hidden": (8 * hidden,)})
        chains.append(Chain(chain))
        channels //= 2
    bijection = Chain([*front, Multiscale(chains, shape=shape)])
    return Flow(bijection, size=math.prod(shape), classes=classes)


def _dense_end(
    shape: tuple[int, int, int], count: int, transform: Transform, shared: dict[str, Any]
) -> list[Bijection]:
    """Couplings of a map as a vector, between a flattening and its inverse."""
    size, rngs = math.prod(shape), shared["rngs"]
    num_fixed = size // 2
    layers: list[Bijection] = [
        Flatten(shape),
        Whitening(size, condition=shared["condition"], rngs=rngs),
    ]
    for i in range(count):
        conditioner = DenseConditioner(
            num_fixed, (size - num_fixed) * transform.parameters, **shared
        )
        layers.append(Coupling(conditioner, transform, num_fixed=num_fixed, swap=i % 2 == 1))
    return [*layers, Inverse(Flatten(shape))]
