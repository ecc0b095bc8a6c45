"""Scenes for a detector that need no download: handwritten digits on textured grounds."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

from lectures_jax.data.digits import Split, handwritten
from lectures_jax.data.records import Dataset, Record
from lectures_jax.typing import Key

CHUNK = 32  # scenes drawn by one call: fixed, so that a scene does not depend on `count`
CANDIDATES = 24  # places tried per digit
INK = 0.35  # a pixel belongs to a digit from this opacity on
MARGIN = 2  # empty cells around a glyph, into which the interpolated stroke fades out


class Glyphs(NamedTuple):
    """Handwritten digits: ink in [0, 1], the cells that hold ink as xyxy, and the digit itself."""

    ink: Float[Array, "k 12 12"]
    extent: Float[Array, "k 4"]
    labels: np.ndarray


class Scenes(NamedTuple):
    """Drawn scenes; `boxes` and `chosen` (index of the glyph) count only where `valid`."""

    image: UInt8[Array, "*b s s 3"]
    boxes: Float[Array, "*b m 4"]
    chosen: Int[Array, "*b m"]
    valid: Bool[Array, "*b m"]
    mask: UInt8[Array, "*b s s"]


def digit_scenes(
    key: Key,
    *,
    count: int,
    split: Split = "train",
    size: int = 160,
    min_digits: int = 3,
    max_digits: int = 9,
    min_size: float = 14.0,
    max_size: float = 64.0,
    max_overlap: float = 0.25,
    masks: bool = False,
) -> Dataset:
    """Draws scenes of handwritten digits with boxes, labels and instance masks.

    Each digit (8×8 cells) is enlarged by a cubic kernel, tinted and drawn on a textured ground.
    The same key gives the same scenes (on one kind of device: another rounds differently), and the
    first `n` of a larger count are the same. A digit that finds no place within `max_overlap` is
    left out.

    Args:
        key: for the whole set; the splits of one key differ.
        count: number of scenes.
        split: which handwritten digits are used: 70, 10 and 20 % of each class; no digit is in two.
        size: height and width of a scene, in pixels.
        min_digits: smallest number of digits to place.
        max_digits: largest number of digits to place.
        min_size: smallest height of a digit, in pixels.
        max_size: largest height of a digit, in pixels.
        max_overlap: largest share of the smaller of two boxes that the other may cover.
        masks: adds the instance id of each pixel: `i + 1` where `boxes[i]` is on top.

    Returns:
        Records in memory. A box spans the digit's pixels of opacity above 0.35, also where a later
        digit lies on top.

    Raises:
        ValueError: if the sizes or the numbers of digits are not in order.
        ImportError: without scikit-learn.

    Source:
        Digits: Alpaydin & Kaynak (1998), UCI "Optical Recognition of Handwritten Digits".
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}.")
    if not 0 < min_size <= max_size <= size:
        raise ValueError(
            "0 < min_size <= max_size <= size must hold, "
            f"got min_size={min_size}, max_size={max_size}, size={size}."
        )
    if not 0 < min_digits <= max_digits <= 255:
        raise ValueError(
            "0 < min_digits <= max_digits <= 255 must hold, "
            f"got min_digits={min_digits}, max_digits={max_digits}."
        )
    glyphs = _glyphs(split)
    key = jax.random.fold_in(key, ("train", "validation", "test").index(split))
    limits = jnp.array([min_size, max_size, max_overlap], jnp.float32)
    records = []
    for start in range(0, count, CHUNK):
        index = jnp.arange(start, start + CHUNK)
        scenes = _draw(key, index, glyphs.ink, glyphs.extent, limits, size, min_digits, max_digits)
        ids = [f"{split}-{i:05d}" for i in range(start, min(start + CHUNK, count))]
        records += _records(ids, scenes, glyphs.labels, masks)
    return Dataset(tuple(records), tuple("0123456789"))


@lru_cache(maxsize=3)
def _glyphs(split: Split) -> Glyphs:
    images, labels = handwritten(split)
    images = np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    return Glyphs(jnp.asarray(images), jnp.asarray(_extent(images > INK)), labels)


def _extent(ink: Bool[np.ndarray, "k h w"]) -> Float32[np.ndarray, "k 4"]:
    """First and one past the last row and column of ink, as xyxy."""
    columns, rows = np.max(ink, axis=1), np.max(ink, axis=2)
    h, w = ink.shape[1:]
    first = [columns.argmax(axis=1), rows.argmax(axis=1)]
    last = [w - columns[:, ::-1].argmax(axis=1), h - rows[:, ::-1].argmax(axis=1)]
    return np.stack(first + last, axis=1).astype(np.float32)


def _records(
    ids: Sequence[str], scenes: Scenes, labels: np.ndarray, masks: bool
) -> Iterator[Record]:
    image, boxes, chosen, valid, mask = jax.device_get(scenes)
    for i, name in enumerate(ids):
        keep = valid[i]
        yield Record(
            id=name,
            image=image[i],
            boxes=boxes[i][keep],
            labels=labels[chosen[i][keep]],
            crowd=np.zeros(keep.sum(), bool),
            mask=mask[i] if masks else None,
        )


@partial(jax.jit, static_argnames=("size", "min_digits", "max_digits"))
def _draw(
    key: Key,
    index: Int[Array, " b"],
    ink: Float[Array, "k 12 12"],
    extent: Float[Array, "k 4"],
    limits: Float[Array, "3"],
    size: int,
    min_digits: int,
    max_digits: int,
) -> Scenes:
    """Draws one chunk of scenes, each from its own key."""
    shapes = {
        "chosen": (max_digits,),
        "wanted": (),
        "places": (max_digits, 4, CANDIDATES),
        "tints": (max_digits, 6, 3),
        "softness": (max_digits,),
        "colors": (2, 3),
        "strength": (2,),
        "broad": (4, 4),
        "coarse": (24, 24),
        "fine": (size, size),
    }

    def scene(i: Int[Array, ""]) -> Scenes:
        u = _uniform(jax.random.fold_in(key, i), shapes)
        chosen = (u["chosen"] * len(ink)).astype(jnp.int32)
        wanted = min_digits + (u["wanted"] * (max_digits + 1 - min_digits)).astype(jnp.int32)
        places, fits = _find_places(u["places"], extent[chosen], limits, size)
        valid = fits & (jnp.arange(max_digits) < wanted)
        image, boxes, mask = _blend(u, _ground(u), ink[chosen], extent[chosen], places, valid)
        return Scenes(jnp.round(image * 255).astype(jnp.uint8), boxes, chosen, valid, mask)

    return jax.vmap(scene)(index)


def _uniform(key: Key, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Numbers in [0, 1) of several shapes from one draw: each more compiles for a second."""
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = jnp.split(jax.random.uniform(key, (int(ends[-1]),)), ends[:-1])
    return {name: part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}


def _find_places(
    u: Float[Array, "m 4 t"], extent: Float[Array, "m 4"], limits: Float[Array, "3"], size: int
) -> tuple[Float[Array, "m 4"], Bool[Array, " m"]]:
    """Gives each digit the first of several random places where it covers little of the others."""
    min_size, max_size, max_overlap = limits

    def step(boxes, inputs):
        i, u, extent = inputs
        # the later candidates are smaller: a crowded scene still has room for them
        height = min_size * (max_size / min_size) ** (u[0] * jnp.linspace(1, 0.2, CANDIDATES))
        aspect = (extent[2] - extent[0]) / (extent[3] - extent[1]) * jnp.exp2(0.6 * u[1] - 0.3)
        width = jnp.minimum(height * aspect, size)
        x0, y0 = u[2] * (size - width), u[3] * (size - height)
        tried = jnp.stack([x0, y0, x0 + width, y0 + height], axis=-1)
        fits = jnp.all(_covered(tried[:, None], boxes[None]) <= max_overlap, axis=-1)
        box = tried[jnp.argmax(fits)]
        return boxes.at[i].set(jnp.where(jnp.any(fits), box, boxes[i])), (box, jnp.any(fits))

    empty = jnp.zeros((len(u), 4))  # zero area: covers nothing
    _, (boxes, fits) = jax.lax.scan(step, empty, (jnp.arange(len(u)), u, extent))
    return boxes, fits


def _covered(a: Float[Array, "*#b 4"], b: Float[Array, "*#b 4"]) -> Float[Array, "*b"]:
    """Share of the smaller box that the other covers."""
    corner = jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2])
    areas = jnp.minimum(*(jnp.prod(c[..., 2:] - c[..., :2], axis=-1) for c in (a, b)))
    return jnp.prod(jnp.maximum(corner, 0), axis=-1) / jnp.maximum(areas, 1e-6)


def _ground(u: dict[str, Array]) -> Float[Array, "s s 3"]:
    """Two colors mixed by a smooth random field, with a coarse and a fine grain on top."""
    size = u["fine"].shape
    mixed = jnp.clip(jax.image.resize(u["broad"], size, "cubic"), 0, 1)[..., None]
    grain = 0.2 * u["strength"][0] * (jax.image.resize(u["coarse"], size, "cubic") - 0.5)
    grain += 0.15 * u["strength"][1] * (u["fine"] - 0.5)
    first, second = u["colors"][:, None, None]
    return first + (second - first) * mixed + grain[..., None]


def _blend(
    u: dict[str, Array],
    ground: Float[Array, "s s 3"],
    ink: Float[Array, "m 12 12"],
    extent: Float[Array, "m 4"],
    places: Float[Array, "m 4"],
    valid: Bool[Array, " m"],
) -> tuple[Float[Array, "s s 3"], Float[Array, "m 4"], UInt8[Array, "s s"]]:
    """Lays the digits over the ground, one after the other."""
    m, size = len(ink), ground.shape[0]
    # of the offered colors, the one that differs most from both of the ground
    contrast = jnp.linalg.norm(u["tints"][:, :, None] - u["colors"][None, None], axis=-1)
    best = jnp.argmax(jnp.min(contrast, axis=-1), axis=1)
    tints = jnp.take_along_axis(u["tints"], best[:, None, None], axis=1)[:, 0]
    softness = 0.25 + 0.45 * u["softness"]
    scale = (places[:, 2:] - places[:, :2]) / (extent[:, 2:] - extent[:, :2])
    shift = places[:, :2] - extent[:, :2] * scale

    def step(carry, inputs):
        image, mask = carry
        i, ink, scale, shift, tint, softness, valid = inputs
        coverage = jax.image.scale_and_translate(
            ink, (size, size), (0, 1), scale[::-1], shift[::-1], "cubic", antialias=False
        )
        alpha = jnp.clip(0.5 + (coverage - 0.45) / softness, 0, 1) * valid
        above = alpha > INK
        image += alpha[..., None] * (tint[None, None] - image)
        return (image, jnp.where(above, (i + 1).astype(jnp.uint8), mask)), _bounds(above)

    inputs = (jnp.arange(m), ink, scale, shift, tints, softness, valid)
    start = (ground, jnp.zeros((size, size), jnp.uint8))
    (image, mask), boxes = jax.lax.scan(step, start, inputs)
    # ids follow the boxes that are kept
    rank = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(valid)]).astype(jnp.uint8)
    return jnp.clip(image, 0, 1), boxes, rank[mask.astype(jnp.int32)]


def _bounds(above: Bool[Array, "h w"]) -> Float[Array, "4"]:
    """Box of the pixels that are set."""
    rows, columns = jnp.any(above, axis=1), jnp.any(above, axis=0)
    h, w = above.shape
    return jnp.array(
        [
            jnp.argmax(columns),
            jnp.argmax(rows),
            w - jnp.argmax(columns[::-1]),
            h - jnp.argmax(rows[::-1]),
        ],
        jnp.float32,
    )
