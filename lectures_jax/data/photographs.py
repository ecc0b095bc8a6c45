"""Color photographs that need no download: they come inside scikit-learn and scikit-image."""

from importlib.resources import as_file, files

import numpy as np
from jaxtyping import Float32

from lectures_jax.data.images import decode_image

PHOTOGRAPHS = {
    "pagoda": ("sklearn.datasets.images", "china.jpg"),
    "dahlia": ("sklearn.datasets.images", "flower.jpg"),
    "astronaut": ("skimage.data", "astronaut.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "galaxies": ("skimage.data", "hubble_deep_field.jpg"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "retina": ("skimage.data", "retina.jpg"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "tissue": ("skimage.data", "ihc.png"),
}
"""Package and file of each."""


def photographs(*names: str) -> dict[str, Float32[np.ndarray, "h w 3"]]:
    """Returns photographs by name, RGB in [0, 1], each of its own size.

    Args:
        names: some of `PHOTOGRAPHS`, such as "astronaut"; none for all ten, which range from
            300×451 to 1411×1411 pixels.

    Raises:
        ValueError: if a name is unknown.
        ImportError: without the package that holds one of them.

    Source:
        Pedregosa et al. (2011), scikit-learn; van der Walt et al. (2014), scikit-image. Their
        documentation names the photographers.
    """
    if unknown := [name for name in names if name not in PHOTOGRAPHS]:
        raise ValueError(f"names must be some of {', '.join(PHOTOGRAPHS)}, got {unknown[0]!r}.")
    return {name: _read(*PHOTOGRAPHS[name]) for name in names or PHOTOGRAPHS}


def _read(package: str, name: str) -> Float32[np.ndarray, "h w 3"]:
    try:
        folder = files(package)
    except ModuleNotFoundError as error:
        owner = {"sklearn": "scikit-learn", "skimage": "scikit-image"}[package.partition(".")[0]]
        raise ImportError(f"the photograph {name} needs {owner}: pip install {owner}") from error
    with as_file(folder / name) as path:
        return decode_image(path).astype(np.float32) / 255
