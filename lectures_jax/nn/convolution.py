"""Convolution layers, by the formulations of `ops`, and the brick of every detector here."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from lectures_jax import ops
from lectures_jax.nn.initializers import he_normal, lecun_normal, normal
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.nn.precision import promote
from lectures_jax.ops.convolution import Padding


def _conv_general_dilated(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i d"],
    strides: Sequence[int],
    padding: Any,
    *,
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    feature_group_count: int,
    **_: Any,
) -> Float[Array, "b h2 w2 d"]:
    """`ops.conv2d`, called as Flax calls XLA's; axis order, precision and sharding are its own."""
    if any(step != 1 for step in lhs_dilation):
        raise ValueError(f"input_dilation must be 1, got {lhs_dilation}: see ConvTranspose.")
    stride, dilation = (strides[0], strides[1]), (rhs_dilation[0], rhs_dilation[1])
    padding = padding if isinstance(padding, str) else tuple(map(tuple, padding))
    return ops.conv2d(
        x, kernel, stride=stride, padding=padding, dilation=dilation, groups=feature_group_count
    )


Conv = partial(nnx.Conv, kernel_init=lecun_normal, conv_general_dilated=_conv_general_dilated)
"""Flax's layer for images, computed by `ops.conv2d`: gradients are fast on CPU and in loops."""


class ConvTranspose(nnx.Module):
    """The gradient of a convolution as a layer: the image grows by the stride.

    The kernel is [rows, columns, outputs, inputs], as for `nnx.ConvTranspose` with
    `transpose_kernel=True`, and starts with variance 1 / inputs per tap that meets a cell.
    Source: Zeiler et al. (2010); Dumoulin & Visin (2016), sec. 4.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: Padding = "SAME",
        use_bias: bool = True,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        # A cell of the result meets (kernel / stride)² taps of each input, not kernel².
        deviation = (inputs * max(kernel / stride, 1) ** 2) ** -0.5
        shape = (kernel, kernel, outputs, inputs)
        self.kernel = nnx.Param(deviation * normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(outputs)) if use_bias else None
        self.stride = stride
        self.padding: Padding = padding
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = promote(self.dtype, x, self.kernel[...], bias)
        return ops.conv_transpose2d(x, kernel, bias, stride=self.stride, padding=self.padding)


leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.1)
"""Darknet's activation. Source: Redmon et al. (2016), eq. 2."""


class ConvNorm(nnx.Module):
    """`activation(norm(conv(x)))`, without bias since the normalization has one.

    By default the image is padded by half the kernel on every side, also under a stride, as in
    Darknet (XLA's SAME would pad the far sides only). Source: Redmon & Farhadi (2017), sec. 2.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: Padding | None = None,
        momentum: float = 0.95,
        activation: Callable[[Array], Array] | None = leaky_relu,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=stride,
            padding=kernel // 2 if padding is None else padding,
            use_bias=False,
            kernel_init=he_normal,
            rngs=rngs,
        )
        self.norm = BatchNorm(outputs, momentum=momentum, rngs=rngs)
        self.activation = activation

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        x = self.norm(self.conv(x))
        return x if self.activation is None else self.activation(x)
