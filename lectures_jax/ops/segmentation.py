"""From a class for each image to a class for each pixel."""

from jaxtyping import Array, Float

from lectures_jax.typing import checked


@checked
def dense_to_conv(
    kernel: Float[Array, "n d"], *, height: int, width: int
) -> Float[Array, "{height} {width} c d"]:
    """Returns the kernel of the convolution that a dense layer on a feature map is.

    The layer sees a map [h, w, c] as a row of numbers, channels last. It is the convolution with a
    kernel as large as the map, which has one position there; on a larger map it is computed at
    every position. A dense layer after it sees a vector, a map of one cell: its kernel is 1×1.

    Args:
        kernel: weights [inputs, outputs] of the dense layer.
        height: rows of the map, 1 for a vector.
        width: columns of the map, 1 for a vector.

    Returns:
        Weights for `conv2d` with padding "VALID".

    Raises:
        ValueError: if the inputs are no map of this height and width.

    Source:
        Long et al. (2015), sec. 3.1.
    """
    cells = height * width
    if height < 1 or width < 1 or not kernel.shape[0] or kernel.shape[0] % cells:
        raise ValueError(
            f"kernel must have inputs for each of {height}×{width} cells, got {kernel.shape[0]}."
        )
    return kernel.reshape(height, width, kernel.shape[0] // cells, kernel.shape[1])
