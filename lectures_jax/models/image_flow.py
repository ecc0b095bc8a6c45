"""Normalizing flows of images: a histogram for each pixel, or several scales."""

import math
from collections.abc import Sequence
from typing import Any

from flax import nnx

from lectures_jax import ops
from lectures_jax.models.flow import Flow
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

    One autoregressive layer that moves each pixel by a piecewise linear function with a bin for
    each level, then the normal's quantiles. On dequantized pixels nothing is lost to the noise: the
    flow can be as good as any model of the levels themselves.

    Args:
        shape: of an image.
        levels: of a pixel.
        hidden: sizes of the network's hidden layers.
        classes: that it is told.
        dropout: in the network.
        rngs: for the parameters.

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

    A logit; two couplings on a checkerboard; then at each scale a space_to_depth and `steps` times an
    activation normalization, an invertible 1×1 convolution and a coupling of channels. Convolutions
    see a neighborhood: `dense` couplings of the whole coarsest map see the whole image.

    Args:
        shape: height and width, divisible by 2 to the number of scales, and channels.
        scales: squeezes.
        steps: couplings of channels at each scale.
        hidden: channels of the conditioners; their dense ones have eight times as many units.
        dense: couplings of the coarsest map as a vector, after it is made white.
        classes: that it is told.
        transform: of the couplings of channels.
        dropout: in the conditioners.
        rngs: for the parameters.

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
        chain: list[nnx.Module] = []
        for _ in range(steps):
            stay = channels // 2
            outputs = (channels - stay) * transform.parameters
            conditioner = ConvConditioner(stay, outputs, **shared)
            chain += [ActNorm(channels), InvertibleLinear(channels, rngs=rngs)]
            chain += [Coupling(conditioner, transform, stay=stay)]
        if dense and scale == scales - 1:
            cells = (height // 2**scales, width // 2**scales, channels)
            chain += _dense_end(cells, dense, transform, {**shared, "hidden": (8 * hidden,)})
        chains.append(Chain(chain))
        channels //= 2
    bijection = Chain([*front, Multiscale(chains, shape=shape)])
    return Flow(bijection, size=math.prod(shape), classes=classes)


def _dense_end(
    shape: tuple[int, int, int], count: int, transform: Transform, shared: dict[str, Any]
) -> list[nnx.Module]:
    """Couplings of a map as a vector, between a flattening and its inverse."""
    size, rngs = math.prod(shape), shared["rngs"]
    stay = size // 2
    layers: list[nnx.Module] = [
        Flatten(shape),
        Whitening(size, condition=shared["condition"], rngs=rngs),
    ]
    for i in range(count):
        conditioner = DenseConditioner(stay, (size - stay) * transform.parameters, **shared)
        layers.append(Coupling(conditioner, transform, stay=stay, swap=i % 2 == 1))
    return [*layers, Inverse(Flatten(shape))]
