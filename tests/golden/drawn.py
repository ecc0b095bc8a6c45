"""Numbers for the arrays of a network of torchvision, the same wherever they are drawn."""

import math

import numpy as np


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays by name: kernels of He's deviation, others near those of a trained network."""
    rng = np.random.default_rng(0)
    return {name: array(name, shapes[name], rng.random(shapes[name])) for name in sorted(shapes)}


def array(name: str, shape: tuple[int, ...], uniform: np.ndarray) -> np.ndarray:
    if len(shape) > 1:
        values = (2 * uniform - 1) * math.sqrt(6 / math.prod(shape[1:]))
    elif name.endswith(("running_var", ".weight")):
        values = 0.5 + uniform
    else:
        values = 0.2 * uniform - 0.1
    return values.astype(np.float32)


def images(height: int, width: int) -> np.ndarray:
    """Two images, float32 [2, height, width, 3] in [0, 1]."""
    return np.random.default_rng(1).random((2, height, width, 3)).astype(np.float32)
