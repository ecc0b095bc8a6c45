"""Images whose every factor of variation is known."""

import numpy as np

from lectures_jax.typing import Batch

FACTORS = {"shape": 2, "size": 4, "column": 8, "row": 8}
"""The factors in the order of `factors`, and how many levels each has."""

SIZE = 16  # cells of an image, each way
FINE = 4  # samples of a cell, each way


def factor_sprites() -> Batch:
    """Returns a square or an ellipse in each of four sizes at each of 64 places: 512 images.

    Returns:
        `image` float32 [512, 16, 16, 1] in [0, 1] with soft edges; `factors` int32 [512, 4], the
        levels of shape, size, column and row, whose every combination occurs once.

    Source:
        After dSprites: Matthey et al. (2017).
    """
    factors = np.stack(np.meshgrid(*map(np.arange, FACTORS.values()), indexing="ij"), axis=-1)
    factors = factors.reshape(-1, len(FACTORS))
    shape, size, column, row = factors.T[..., None, None]
    at = (np.arange(SIZE * FINE) + 0.5) / FINE
    x, y = at[None, None, :] - (4.5 + column), at[None, :, None] - (4.5 + row)
    radius = 2.0 + 0.75 * size
    square = np.maximum(abs(x), abs(y)) <= radius
    ellipse = (x / radius) ** 2 + (y / (0.6 * radius)) ** 2 <= 1
    inside = np.where(shape == 0, square, ellipse).astype(np.float32)
    cells = inside.reshape(len(factors), SIZE, FINE, SIZE, FINE).mean(axis=(2, 4))
    return {"image": cells[..., None], "factors": factors.astype(np.int32)}
