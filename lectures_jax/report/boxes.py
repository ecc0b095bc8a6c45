"""Boxes drawn on an image."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num, UInt8
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from lectures_jax.report.images import to_rgb
from lectures_jax.report.theme import color, font_files, font_for

Rectangle = tuple[int, int, int, int]
"""First and last column and row, `(left, top, right, bottom)`, as Pillow draws them."""


class BoxGroup(NamedTuple):
    """Boxes that are drawn alike.

    Attributes:
        boxes: xyxy, in pixels of the image.
        color: of their lines, such as "#2b9348".
        width: of their lines, in pixels.
        opacity: of their lines, in [0, 1].
        dashed: whether the lines are dashed.
        labels: a text for each box, or none.
    """

    boxes: Num[np.ndarray, "n 4"]
    color: str
    width: int = 2
    opacity: float = 1.0
    dashed: bool = False
    labels: Sequence[str] = ()


def draw_boxes(
    image: Num[np.ndarray, "h w *c"],
    boxes: Num[np.ndarray, "n 4"],
    labels: Integer[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"] | None = None,
    *,
    classes: Sequence[str],
    valid: Bool[np.ndarray, " n"] | None = None,
    truth: bool = False,
    scale: int = 1,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns the image with its boxes, each with its class and score.

    Args:
        image: gray or RGB, float in [0, 1] or uint8.
        boxes: xyxy in pixels of `image`; boxes with NaN or infinity are left out.
        labels: index into `classes` of each box.
        scores: in [0, 1], written after the class; boxes of higher scores are drawn later.
        classes: names, in the order of the labels; a box whose name is empty gets no label.
        valid: False for padding; by default all boxes are drawn.
        truth: draws white dashes, for true boxes; otherwise each class has its color.
        scale: factor by which the image is enlarged first, to make room for the labels; an image of
            400 pixels has enough.

    Raises:
        ValueError: if a label is not an index into `classes`, or `image` is not an image.
    """
    valid = np.ones(len(boxes), bool) if valid is None else valid
    shown = valid & np.isfinite(boxes).all(axis=1)
    if (bad := labels[shown][(labels[shown] < 0) | (labels[shown] >= len(classes))]).size:
        raise ValueError(f"labels must be in [0, {len(classes)}), got {bad[0]}.")
    canvas = Image.fromarray(to_rgb(image))
    canvas = canvas.resize((canvas.width * scale, canvas.height * scale))
    line = max(2, round(min(canvas.size) / 250))
    draw = ImageDraw.Draw(canvas)
    chips = []
    rank = np.zeros(len(boxes)) if scores is None else scores
    for i in sorted(np.flatnonzero(shown), key=lambda i: rank[i]):
        rectangle = _pixels(boxes[i] * scale, canvas.size, margin=3 * line)
        fill = "#ffffff" if truth else color(int(labels[i]))
        _outline(draw, rectangle, fill=fill, line=line, dashed=truth)
        score = "" if scores is None else f" {scores[i]:.2f}".replace("0.", ".")
        name = classes[int(labels[i])]
        name = name if font_for(name) else f"#{labels[i]}"  # no font here has its script
        chips += [(rectangle, f"{name}{score}", fill)] if name else []
    _write_labels(draw, chips[::-1], canvas.size)
    return np.array(canvas)


def draw_box_groups(
    image: Num[np.ndarray, "h w *c"], groups: Sequence[BoxGroup], *, scale: int = 1
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns the image, made pale, with groups of boxes that differ in color and strength.

    Args:
        image: gray or RGB, float in [0, 1] or uint8.
        groups: drawn one over the other, the last on top.
        scale: factor by which the image is enlarged first.

    Raises:
        ValueError: if `image` is not an image.
    """
    canvas = Image.fromarray(to_rgb(image))
    canvas = canvas.resize((canvas.width * scale, canvas.height * scale))
    pale = ImageEnhance.Color(canvas).enhance(0.6)
    canvas = Image.blend(pale, Image.new("RGB", canvas.size, "white"), 0.5).convert("RGBA")
    chips = []
    for group in groups:
        for i, box in enumerate(group.boxes):
            rectangle = _pixels(box * scale, canvas.size, margin=3 * group.width)
            layer = Image.new("RGBA", canvas.size)
            draw = ImageDraw.Draw(layer)
            if group.dashed:
                _outline(draw, rectangle, fill=group.color, line=group.width, dashed=True)
            else:
                draw.rectangle(rectangle, outline=group.color, width=group.width)
            shades = [round(group.opacity * alpha) for alpha in range(256)]
            layer.putalpha(layer.getchannel("A").point(shades))
            canvas.alpha_composite(layer)
            if group.labels:
                chips.append((rectangle, group.labels[i], group.color))
    canvas = canvas.convert("RGB")
    _write_labels(ImageDraw.Draw(canvas), chips[::-1], canvas.size)
    return np.array(canvas)


def _pixels(box: Num[np.ndarray, "4"], size: tuple[int, int], *, margin: int) -> Rectangle:
    """The pixels on the border of a box; an edge outside of the image remains outside."""
    corners = np.rint(np.clip(box, -margin, np.array(size * 2) + margin)).astype(int)
    left, right = sorted(corners[[0, 2]].tolist())
    top, bottom = sorted(corners[[1, 3]].tolist())
    return left, top, max(left, right - 1), max(top, bottom - 1)


def _outline(
    draw: ImageDraw.ImageDraw, rectangle: Rectangle, *, fill: str, line: int, dashed: bool
) -> None:
    left, top, right, bottom = rectangle
    if not dashed:
        # A dark rim shows it also on ground of its own color.
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black", width=line + 2)
        draw.rectangle(rectangle, outline=fill, width=line)
        return
    # White dashes on black ones show on any ground.
    draw.rectangle(rectangle, outline="black", width=line)
    dash = 4 * line
    for x in range(left, right + 1, 2 * dash):
        end = min(x + dash - 1, right)
        draw.rectangle((x, top, end, top + line - 1), fill=fill)
        draw.rectangle((x, bottom - line + 1, end, bottom), fill=fill)
    for y in range(top, bottom + 1, 2 * dash):
        end = min(y + dash - 1, bottom)
        draw.rectangle((left, y, left + line - 1, end), fill=fill)
        draw.rectangle((right - line + 1, y, right, end), fill=fill)


def _write_labels(
    draw: ImageDraw.ImageDraw, chips: list[tuple[Rectangle, str, str]], size: tuple[int, int]
) -> None:
    """Writes each text at a corner of its box, the first texts first, where most space is free."""
    points = min(20, max(10, min(size) // 32))
    taken: list[Rectangle] = []
    for (left, top, right, bottom), text, fill in chips:
        font = _font(font_for(text) or font_files()[0], points)
        text_left, text_top, text_right, text_bottom = draw.textbbox((0, 0), text, font=font)
        w, h = int(text_right - text_left) + 5, int(text_bottom - text_top) + 4
        places = [
            (min(max(x, 0), max(size[0] - w, 0)), min(max(y, 0), max(size[1] - h, 0)))
            for x, y in (
                (left, top - h),
                (left, bottom + 1),
                (right - w + 1, top - h),
                (right - w + 1, bottom + 1),
                (left, top),
            )
        ]
        x, y = min(places, key=lambda xy: sum(_overlap((*xy, xy[0] + w, xy[1] + h), taken)))
        taken.append((x, y, x + w, y + h))
        draw.rectangle((x, y, x + w - 1, y + h - 1), fill=fill, outline="black")
        draw.text((x + 2 - text_left, y + 2 - text_top), text, fill="black", font=font)


def _overlap(a: Rectangle, others: list[Rectangle]) -> list[int]:
    return [
        max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        for b in others
    ]


@cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)
