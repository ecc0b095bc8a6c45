"""Masks of instance ids: the borders between objects, and objects made of a predicted mask."""

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer
from scipy import ndimage

from lectures_jax.typing import check_count, check_positive, check_range

FARTHEST = 6.0  # deviations, beyond which a border's weight is below 2e-8 of its height
EVERY_NEIGHBOR = np.ones((3, 3), bool)


def border_weights(
    instances: Integer[np.ndarray, "h w"], *, height: float = 10.0, sigma: float = 5.0
) -> Float32[np.ndarray, "h w"]:
    """Returns the weight of each pixel by which a network comes to separate objects that touch.

    `w(x) = w_c(x) + w_0 exp(−(d_1(x) + d_2(x))² / 2σ²)` on the background, where d_1 and d_2 are
    the distances to the nearest and to the second nearest object, and `w_c(x)` inside of objects.
    The class weight w_c is one half over the share of the pixels that are in an object, or that
    are not: the mean of w_c is 1, and both kinds weigh the same.

    Args:
        instances: id of the object at each pixel, 0 for the background.
        height: w_0, of the weight between objects that touch.
        sigma: σ, in pixels.

    Raises:
        ValueError: if `height` is negative or `sigma` not positive.

    Source:
        Ronneberger et al. (2015), eq. 2.
    """
    check_range(height=height, low=0)
    check_positive(sigma=sigma)
    inside = instances > 0
    share = inside.mean() if inside.size else 0.0
    weights = np.ones(instances.shape, np.float32)
    if 0 < share < 1:
        weights = np.where(inside, 0.5 / share, 0.5 / (1 - share)).astype(np.float32)
    nearest, second = _two_distances(instances, reach=int(np.ceil(FARTHEST * sigma)))
    between = height * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return weights + np.where(inside, 0, between).astype(np.float32)


def touching(instances: Integer[np.ndarray, "h w"], *, width: int = 1) -> Bool[np.ndarray, "h w"]:
    """Returns the pixels that have two different objects within `width` rows and columns.

    They are the border class of a mask in which objects touch: without them the objects fall apart
    into connected components.

    Args:
        instances: id of the object at each pixel, 0 for the background.
        width: rows and columns to each side, at least 1.

    Raises:
        ValueError: if `width` is below 1.
    """
    check_count(width=width)
    ids = instances.astype(np.int64)
    none = ids.max(initial=0) + 1
    side = 2 * width + 1
    largest = ndimage.maximum_filter(ids, side, mode="nearest")
    smallest = ndimage.minimum_filter(np.where(ids > 0, ids, none), side, mode="nearest")
    return (largest > 0) & (smallest != largest)


def connected_components(mask: Bool[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """Returns the number of the connected component of each pixel, 0 where the mask is not set.

    Pixels are connected to all eight neighbors.

    Args:
        mask: pixels that belong to an object.
    """
    ids = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, EVERY_NEIGHBOR, output=ids)
    return ids


def split_instances(
    interior: Bool[np.ndarray, "h w"], border: Bool[np.ndarray, "h w"], *, min_area: int = 1
) -> Int32[np.ndarray, "h w"]:
    """Returns the objects of a mask whose touching borders are a class of their own.

    Objects are the connected components of the interior; each pixel of the border goes to the
    nearest of them.

    Args:
        interior: pixels inside of an object.
        border: pixels between objects that touch.
        min_area: objects of fewer pixels are left out, at least 1.

    Returns:
        Ids 1, 2, …; 0 for the background.

    Raises:
        ValueError: if `min_area` is below 1.
    """
    check_count(min_area=min_area)
    ids = connected_components(interior)
    if ids.any():
        nearest = np.zeros((2, *ids.shape), np.int32)
        ndimage.distance_transform_edt(
            ids == 0, return_distances=False, return_indices=True, indices=nearest
        )
        ids = np.where(interior | border, ids[tuple(nearest)], 0)
    areas = np.bincount(ids.ravel())
    areas[:1] = 0
    kept = areas >= min_area
    numbers = np.where(kept, np.cumsum(kept), 0)
    return numbers[ids].astype(np.int32)


def _two_distances(
    instances: np.ndarray, *, reach: int
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """The distances to the nearest two objects; infinite beyond `reach`."""
    h, w = instances.shape
    nearest, second = np.full((2, h, w), np.inf, np.float32)
    ids, numbers = np.unique(instances, return_inverse=True)
    numbers = numbers.reshape(h, w) + (0 if 0 in ids else 1)
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        if box is None:
            continue
        around = tuple(
            slice(max(part.start - reach, 0), min(part.stop + reach, side))
            for part, side in zip(box, (h, w), strict=True)
        )
        distance = np.asarray(ndimage.distance_transform_edt(numbers[around] != number), np.float32)
        first, other = nearest[around], second[around]  # views, which are written to
        np.minimum(other, np.maximum(first, distance), out=other)
        np.minimum(first, distance, out=first)
    return nearest, second
