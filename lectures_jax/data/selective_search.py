"""Boxes that may hold an object, proposed by selective search on a photograph."""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, Num

from lectures_jax.data.images import THREADS
from lectures_jax.ops import Regions, SimilarityWeights, rank_boxes
from lectures_jax.ops._color_spaces import gray8, hsv8, lab8
from lectures_jax.ops._merging import color_bins, merge_by
from lectures_jax.ops._texture import texture_bins
from lectures_jax.typing import Key

Strategies = Literal["single", "fast", "quality"]
"""One segmentation; two color spaces, three scales and two similarities; five, five and four."""


class _Plan(NamedTuple):
    """The color spaces, the scales of their segmentations, and the similarities of regions."""

    spaces: tuple[str, ...]
    scales: tuple[int, ...]
    weights: tuple[SimilarityWeights, ...]


class _Channels(NamedTuple):
    """A color space of the image: its channels in [0, 1], and the bins of color and texture."""

    values: np.ndarray
    color: Array
    texture: Array


ALL, WITHOUT_COLOR = SimilarityWeights(), SimilarityWeights(color=0)
FILL = SimilarityWeights(color=0, texture=0, size=0)
SIZE = SimilarityWeights(color=0, texture=0, fill=0)
PLANS = {
    "single": _Plan(("hsv",), (200,), (ALL,)),
    "fast": _Plan(("hsv", "lab"), (150, 300, 450), (ALL, WITHOUT_COLOR)),
    "quality": _Plan(
        ("hsv", "lab", "gray", "hue", "rgi"),
        (150, 300, 450, 600, 750),
        (ALL, WITHOUT_COLOR, FILL, SIZE),
    ),
}
SIGMA = 0.8
STEP = 64  # regions are padded to a multiple: one program serves many images


def selective_search(
    key: Key,
    image: Num[np.ndarray, "h w 3"],
    *,
    strategies: Strategies = "fast",
    min_size: int = 100,
    max_outputs: int | None = None,
) -> Float32[np.ndarray, "n 4"]:
    """Proposes boxes: regions of several segmentations, merged by several similarities.

    The strategies are those of OpenCV: "single" is one segmentation, of hue, saturation and value;
    "fast" also takes Lab, three scales, and similarities with and without color; "quality" also
    gray, hue, and red, green and gray, five scales, and fill and size alone. The graph segmentation
    is scikit-image's, whose pixels have eight neighbors and not four: its regions are not OpenCV's.

    Args:
        key: of the order.
        image: RGB, uint8, or float in [0, 1].
        strategies: how many segmentations are merged: 1, 12 or 100 times.
        min_size: pixels that a region of a segmentation has at least; less than 100 for objects of
            a few pixels, but then it takes longer.
        max_outputs: the most boxes; None: all.

    Returns:
        Boxes xyxy in pixels, of which no two are equal, the most promising first.

    Raises:
        ValueError: if the image is no RGB image of at least 2×2 pixels, or an option is unknown or
            below 1.
        ImportError: without scikit-image.

    Source:
        Uijlings et al. (2013); Felzenszwalb & Huttenlocher (2004) for the segmentation.
    """
    if strategies not in PLANS:
        raise ValueError(
            f"strategies must be one of {', '.join(get_args(Strategies))}, got {strategies!r}."
        )
    for name, number in (("min_size", min_size), ("max_outputs", max_outputs)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}.")
    plan, spaces = PLANS[strategies], _spaces(_eight_bit(image))
    with ThreadPoolExecutor(THREADS) as pool:  # neither segmentation nor merging holds the GIL
        measured = list(pool.map(_measured, [spaces[name] for name in plan.spaces]))
        tasks = [(channels, scale) for channels in measured for scale in plan.scales]
        merged = list(pool.map(lambda t: _merged(t[0], t[1], min_size, plan.weights), tasks))
    boxes = np.concatenate([np.asarray(regions.boxes)[regions.valid] for regions in merged])
    level = np.concatenate([np.asarray(regions.level)[regions.valid] for regions in merged])
    return _ranked(key, boxes, level, max_outputs)


def graph_segmentation(
    image: Num[np.ndarray, "h w c"], *, scale: int | float, min_size: int = 100
) -> Int32[np.ndarray, "h w"]:
    """Cuts an image into regions that differ more from their neighbors than within.

    Args:
        image: any channels; uint8, or float in [0, 1]. It is blurred by σ = 0.8 pixels first.
        scale: the greater, the larger the regions, such as 200.
        min_size: pixels that a region has at least.

    Returns:
        The label of each pixel, from 0.

    Raises:
        ImportError: without scikit-image.

    Source:
        Felzenszwalb & Huttenlocher (2004); scikit-image.
    """
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        text = "graph segmentation needs scikit-image: pip install scikit-image"
        raise ImportError(text) from error
    labels = felzenszwalb(image, scale=scale, sigma=SIGMA, min_size=min_size)
    return labels.astype(np.int32)


def _eight_bit(image: np.ndarray) -> Int32[np.ndarray, "h w 3"]:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 2:
        raise ValueError(
            f"image must be RGB, [h, w, 3] of at least 2×2 pixels, got {list(image.shape)}."
        )
    if np.issubdtype(image.dtype, np.floating):
        if not (np.min(image) >= 0 and np.max(image) <= 1):  # NaN is neither
            raise ValueError(
                f"image must be in [0, 1], got values from {np.min(image)} to {np.max(image)}."
            )
        return np.rint(255 * image.astype(np.float32)).astype(np.int32)
    if image.dtype != np.uint8:
        raise ValueError(f"image must be uint8, or float in [0, 1], got {image.dtype}.")
    return image.astype(np.int32)


def _spaces(image: Int32[np.ndarray, "h w 3"]) -> dict[str, Array]:
    """The color spaces by name, in 8 bits."""
    rgb = jnp.asarray(image)
    hsv, lab, gray = hsv8(rgb), lab8(rgb), gray8(rgb)
    rgi = jnp.concatenate([rgb[..., :2], gray], axis=-1)
    return {"hsv": hsv, "lab": lab, "gray": gray, "hue": hsv[..., :1], "rgi": rgi}


def _measured(levels: Array) -> _Channels:
    return _Channels(np.asarray(levels) / 255, color_bins(levels), texture_bins(levels))


def _merged(
    channels: _Channels, scale: int, min_size: int, weights: tuple[SimilarityWeights, ...]
) -> Regions:
    labels = graph_segmentation(channels.values, scale=scale, min_size=min_size)
    most = -(-(int(labels.max()) + 1) // STEP) * STEP
    bins = channels.color, channels.texture
    return jax.tree.map(np.asarray, merge_by(jnp.asarray(labels), *bins, n=most, weights=weights))


def _ranked(
    key: Key, boxes: np.ndarray, level: np.ndarray, max_outputs: int | None
) -> Float32[np.ndarray, "n 4"]:
    number = len(boxes)
    length = 1 << (number - 1).bit_length()  # few programs for many numbers of boxes
    padding = length - number
    ranked = rank_boxes(
        key,
        jnp.pad(boxes.astype(np.float32), ((0, padding), (0, 0))),
        jnp.pad(level, (0, padding)),
        jnp.arange(length) < number,
        max_outputs=length,
    )
    return np.asarray(ranked.boxes)[np.asarray(ranked.valid)][:max_outputs]
