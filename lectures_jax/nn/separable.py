"""The depth-wise separable convolution as a layer."""

from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.nn.convolution import Conv


class SeparableConv(nnx.Module):
    """A filter for each channel by itself, then a 1×1 convolution across the channels.

    `k² c + c d` weights where an ordinary convolution has `k² c d`. Between the two there is
    neither bias nor activation. Source: Chollet (2017), sec. 1.1 and 4.7.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.depthwise = Conv(
            inputs,
            inputs,
            (kernel, kernel),
            strides=stride,
            feature_group_count=inputs,
            use_bias=False,
            rngs=rngs,
        )
        self.pointwise = Conv(inputs, outputs, (1, 1), use_bias=use_bias, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return self.pointwise(self.depthwise(x))
