"""Backpropagation as the course derives it: the error δ of a layer from that of the next one.

Nothing here calls `jax.grad`; the tests compare with it.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax.ops._precision import in_float32
from lectures_jax.ops.activation import Name, activation_of
from lectures_jax.ops.linear import linear
from lectures_jax.typing import checked

Loss = Literal["squared_error", "cross_entropy", "binary_cross_entropy"]


class LayerGradients(NamedTuple):
    """Derivatives of the loss with respect to a layer's inputs and parameters.

    Attributes:
        x: with respect to the inputs.
        kernel: with respect to the weights.
        bias: with respect to the biases.
    """

    x: Float[Array, "*_"]
    kernel: Float[Array, "*_"]
    bias: Float[Array, " m"]


@checked
@in_float32
def backprop(
    params: Sequence[dict[str, Array]],
    x: Float[Array, "b n"],
    y: Float[Array, "b d"] | Int[Array, " b"],
    *,
    activation: Name = "tanh",
    loss: Loss = "squared_error",
) -> list[dict[str, Float[Array, "*_"]]]:
    """Returns the gradient of a network's mean loss by the recursion of the errors δ.

    Forward, `z_l = a_{l−1} W_l + b_l` and `a_l = φ(z_l)`, with `a_0 = x`; the last layer is linear.
    Backward, with `b` examples,

    `δ_L = ∂loss/∂z_L / b`, `δ_l = (δ_{l+1} W_{l+1}ᵀ) ⊙ φ′(z_l)`,
    `∂/∂W_l = a_{l−1}ᵀ δ_l`, `∂/∂b_l = Σ δ_l` over the examples.

    The course has examples as columns and W as [out, in]: `δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ φ′(z_l)` and
    `∂/∂W_l = δ_l a_{l−1}ᵀ` are these, transposed.

    Args:
        params: `kernel` [in, out] and `bias` [out] of each layer, floats.
        x: inputs, one example per row.
        y: targets: numbers for `squared_error`, probabilities for `binary_cross_entropy`, both
            summed over the outputs; labels in [0, d) for `cross_entropy`. A label outside belongs
            to no class: its example counts as if all of its true probabilities were 0.
        activation: φ, of every layer but the last.
        loss: name of the loss of `losses`, which is averaged over the examples.

    Returns:
        Gradients, the same tree as `params`.

    Raises:
        ValueError: if there is no layer or no example, no activation or loss of that name, or the
            layers, inputs and targets do not fit together.

    Source:
        Rumelhart, Hinton & Williams (1986), eq. 4 to 9.
    """
    phi = activation_of(activation)
    _check(params, x, y, loss)
    inputs, sums = [x], []
    for layer in params:
        sums.append(linear(inputs[-1], layer["kernel"], layer["bias"]))
        inputs.append(phi.value(sums[-1]))
    delta = _output_error(sums[-1], y, loss) / x.shape[0]
    gradients: list[dict[str, Array]] = []
    for i in reversed(range(len(params))):
        back = linear_backward(inputs[i], params[i]["kernel"], delta)
        gradients.append({"kernel": back.kernel, "bias": back.bias})
        if i:
            delta = back.x * phi.derivative(sums[i - 1])
    return gradients[::-1]


@checked
@in_float32
def linear_backward(
    x: Float[Array, "b n"], kernel: Float[Array, "n m"], delta: Float[Array, "b m"]
) -> LayerGradients:
    """Returns a dense layer's gradients from the error of its outputs: `δ Wᵀ`, `xᵀ δ` and `Σ δ`.

    Args:
        x: inputs of the layer, one example per row.
        kernel: W, the weights of the layer.
        delta: δ, derivative of the loss with respect to the layer's outputs.

    Returns:
        Derivatives with respect to inputs, weights and biases; the latter two summed over examples.

    Source:
        Rumelhart, Hinton & Williams (1986), eq. 6 and 7.
    """
    return LayerGradients(delta @ kernel.T, x.T @ delta, jnp.sum(delta, axis=0))


@checked
@in_float32
def conv2d_backward(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c d"],
    delta: Float[Array, "b i j d"],
    *,
    stride: int = 1,
    padding: int = 0,
) -> LayerGradients:
    """Returns a convolution's gradients, as those of a dense layer whose cells share their weights.

    Weight `K[u, v]` connects output `(i, j)` with input `(s i + u, s j + v)` for all i and j: its
    gradient is the sum over these cells, not their mean. The gradient of an input is the sum over
    all outputs that it takes part in.

    Args:
        x: inputs of the layer.
        kernel: K, the weights [rows, columns, inputs, outputs].
        delta: δ, derivative of the loss with respect to the layer's outputs.
        stride: s, input cells from one output to the next.
        padding: zeros on each side.

    Returns:
        Derivatives with respect to inputs, weights and biases; the latter two summed over examples.

    Raises:
        ValueError: if `delta` is not of the size that the convolution gives.

    Source:
        LeCun et al. (1989), sec. 4; Goodfellow, Bengio & Courville (2016), eq. 9.11 and 9.13.
    """
    (kh, kw), (height, width) = kernel.shape[:2], delta.shape[1:3]
    padded = jnp.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    expected = tuple(
        (n - k) // stride + 1 for n, k in zip(padded.shape[1:3], (kh, kw), strict=True)
    )
    if (height, width) != expected:
        raise ValueError(f"delta must be of height and width {expected}, got {(height, width)}.")
    dx, cells = jnp.zeros_like(padded), []
    for u in range(kh):
        for v in range(kw):
            rows = slice(u, u + stride * (height - 1) + 1, stride)
            columns = slice(v, v + stride * (width - 1) + 1, stride)
            cells.append(jnp.einsum("bijc,bijd->cd", padded[:, rows, columns], delta))
            dx = dx.at[:, rows, columns].add(delta @ kernel[u, v].T)
    inside = slice(padding, -padding or None)
    return LayerGradients(
        dx[:, inside, inside],
        jnp.stack(cells).reshape(kernel.shape),
        jnp.sum(delta, axis=(0, 1, 2)),
    )


def _output_error(
    outputs: Float[Array, "b d"], y: Float[Array, "b d"] | Int[Array, " b"], loss: str
) -> Float[Array, "b d"]:
    """Derivative of each example's loss with respect to the last layer's outputs."""
    match loss:
        case "squared_error":
            return 2 * (outputs - y)
        case "cross_entropy":
            true = jax.nn.one_hot(y, outputs.shape[1], dtype=outputs.dtype)
            return jax.nn.softmax(outputs, axis=1) - true
        case _:
            return jax.nn.sigmoid(outputs) - y


def _check(params: Sequence[dict[str, Array]], x: Array, y: Array, loss: str) -> None:
    if loss not in get_args(Loss):
        raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}.")
    if not params:
        raise ValueError("params must hold at least one layer, got none.")
    if not x.shape[0]:
        raise ValueError("x must hold at least one example, got none.")
    size = x.shape[1]
    for i, layer in enumerate(params):
        kernel, bias = layer["kernel"], layer["bias"]
        if not all(jnp.issubdtype(a.dtype, jnp.floating) for a in (kernel, bias)):
            raise ValueError(f"params[{i}] must hold floats, got {kernel.dtype} and {bias.dtype}.")
        if kernel.ndim != 2 or kernel.shape[0] != size or bias.shape != kernel.shape[1:]:
            raise ValueError(
                f"params[{i}] must have a kernel [{size}, m] and a bias [m], "
                f"got {list(kernel.shape)} and {list(bias.shape)}."
            )
        size = kernel.shape[1]
    expected = (x.shape[0],) if loss == "cross_entropy" else (x.shape[0], size)
    if y.shape != expected:
        raise ValueError(f"y must have shape {expected} for {loss}, got {y.shape}.")
