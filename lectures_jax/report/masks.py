"""Masks over their images, and the scores of a segmenter, as sections of a page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer, Num, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont

from lectures_jax.report.images import enlarge, grid, to_rgb
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import PALETTE, color, font_files, font_for, plot

IGNORE = 255
"""Id of a pixel that does not count; it is drawn white."""
ROW, CHIP = 22, 14  # pixels of a legend's row and of its square


def mask_colors(count: int) -> UInt8[np.ndarray, "{count} 3"]:
    """Returns a color for each class of a mask: black for the background, then one each.

    They are those of every plot; from the eleventh on they are darker, and then lighter.

    Args:
        count: of classes, the background included.
    """
    colors = np.zeros((count, 3), np.uint8)
    for i in range(1, count):
        rgb = np.array(ImageColor.getrgb(color(i - 1)), float)
        turn = (i - 1) // len(PALETTE)
        target, share = (0 if turn % 2 else 255), 1 - 0.65 ** ((turn + 1) // 2)
        colors[i] = np.rint(rgb + (target - rgb) * share)
    return colors


def draw_mask(
    image: Num[np.ndarray, "h w *c"],
    mask: Integer[np.ndarray, "h w"],
    *,
    num_classes: int,
    opacity: float = 0.7,
    scale: int = 1,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns an image, gray, with the classes of its pixels over it in color.

    Args:
        image: gray or RGB, float in [0, 1] or uint8.
        mask: class ids; 0 is background and not drawn, 255 does not count and is white.
        num_classes: number of classes, the background included.
        opacity: of the regions, in [0, 1].
        scale: factor by which the image is enlarged.
    """
    colors = np.concatenate([mask_colors(num_classes), [[255, 255, 255]]])
    index = np.where(mask == IGNORE, num_classes, np.minimum(mask, num_classes))
    return _blend(image, index.astype(np.int64), colors, opacity=opacity, scale=scale)


def draw_instances(
    image: Num[np.ndarray, "h w *c"],
    instances: Integer[np.ndarray, "h w"],
    *,
    opacity: float = 0.45,
    scale: int = 1,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns an image, gray, with its objects over it in color, each with a rim.

    Args:
        image: gray or RGB, float in [0, 1] or uint8.
        instances: id of the object at each pixel, 0 for none.
        opacity: of the objects, in [0, 1].
        scale: factor by which the image is enlarged.
    """
    last = int(instances.max(initial=0))
    colors = mask_colors(len(PALETTE) + 1)[1:]
    of_id = np.concatenate([np.zeros((1, 3), np.uint8), colors[np.arange(last) % len(colors)]])
    return _blend(image, instances.astype(np.int64), of_id, opacity=opacity, scale=scale)


def mask_legend(classes: Sequence[str]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns the names of the classes beside their colors, as an image.

    Args:
        classes: names, the background first.
    """
    colors = mask_colors(len(classes))
    names = [name if font_for(name) else f"#{i}" for i, name in enumerate(classes)]
    files = [font_for(name) or font_files()[0] for name in names]
    fonts = [ImageFont.truetype(file, 12) for file in files]
    width = max(int(font.getlength(name)) for name, font in zip(names, fonts, strict=True))
    canvas = Image.new("RGB", (width + 3 * CHIP, ROW * len(names) + 4), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (name, font) in enumerate(zip(names, fonts, strict=True)):
        top = ROW * i + 4
        box = (6, top, 6 + CHIP, top + CHIP)
        draw.rectangle(box, fill=tuple(colors[i].tolist()), outline="black")
        draw.text((12 + CHIP, top), name, fill="black", font=font)
    return np.array(canvas)


def segmentations(
    title: str,
    text: str,
    images: Sequence[Num[np.ndarray, "_ _ *_"]],
    truths: Sequence[Integer[np.ndarray, "_ _"]],
    predicted: Sequence[Integer[np.ndarray, "_ _"]],
    *,
    captions: Sequence[str],
    num_classes: int | None = None,
) -> Section:
    """Returns a figure per image: the image, its true mask over it, and the predicted one.

    Args:
        title: of the section.
        text: its first sentences.
        images: gray or RGB.
        truths: class or instance ids.
        predicted: ids of the same kind.
        captions: a sentence for each image.
        num_classes: number of classes; None for instance ids.
    """
    figures = []
    for image, true, result, caption in zip(images, truths, predicted, captions, strict=True):
        scale = max(1, round(240 / max(image.shape[:2])))
        cells = [enlarge(to_rgb(image), factor=scale)]
        for mask in (true, result):
            if num_classes is None:
                cells.append(draw_instances(image, mask, scale=scale))
            else:
                cells.append(draw_mask(image, mask, num_classes=num_classes, scale=scale))
        figures.append(Figure(grid(cells, columns=3), caption))
    order = "From left to right: the image, the truth, the prediction."
    return Section(title, f"{text} {order}" if text else order, figures=figures)


def pixel_classes(
    counts: Integer[np.ndarray, "c c"], path: Path, *, classes: Sequence[str]
) -> Section:
    """Draws which classes are taken for which, and lists the scores of each.

    Args:
        counts: number of pixels by true class (row) and predicted class (column).
        path: where the figure goes, `.svg`.
        classes: names, in the order of the ids.
    """
    right, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    share = counts / np.maximum(true[:, None], 1)
    number = len(classes)
    with plot(path, height=1.6 + 0.36 * number) as (ax,):
        for row, column in np.argwhere(share >= 0.0005):
            shade = color(2) if row == column else color(1)
            cell = {"color": shade, "alpha": 0.1 + 0.75 * share[row, column], "linewidth": 0}
            ax.fill_between([column - 0.5, column + 0.5], row - 0.5, row + 0.5, **cell)
            text = f"{100 * share[row, column]:.1f}"
            ax.text(column, row, text, ha="center", va="center", fontsize=7)
        ax.set(xlim=(-0.5, number - 0.5), ylim=(number - 0.5, -0.5), ylabel="true class")
        ax.set_yticks(range(number), classes)
        ax.set_xticks(range(number), classes, rotation=45, ha="right")
        ax.set_xlabel("predicted class")
        ax.grid(visible=False)
    rows = [
        (
            name,
            _share(right[i], true[i] + predicted[i] - right[i]),
            _share(2 * right[i], true[i] + predicted[i]),
            _share(right[i], predicted[i]),
            _share(right[i], true[i]),
            _share(true[i], true.sum()),
        )
        for i, name in enumerate(classes)
    ]
    header = ("class", "IoU", "Dice", "precision", "recall", "share of the pixels")
    return Section(
        "Classes",
        "The pixels of all test images, at full resolution. A row shows what the pixels of a class "
        "are taken for.",
        figures=[Figure(path, "Percent of the pixels of the true class.")],
        table=Table(header, rows),
    )


def _share(part: int | np.integer, whole: int | np.integer) -> float | None:
    return float(part / whole) if whole else None


def _blend(
    image: np.ndarray, index: np.ndarray, colors: np.ndarray, *, opacity: float, scale: int
) -> np.ndarray:
    gray = to_rgb(np.asarray(Image.fromarray(to_rgb(image)).convert("L")))
    pixels = enlarge(gray, factor=scale).astype(np.float32)
    index = index.repeat(scale, axis=0).repeat(scale, axis=1)
    shown = (index > 0)[..., None]
    above = colors[index].astype(np.float32)
    mixed = np.where(shown, pixels + (above - pixels) * opacity, pixels)
    rim = _rim(index)[..., None] & shown
    return np.rint(np.where(rim, above, mixed)).astype(np.uint8)


def _rim(index: Integer[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels that have a neighbor of another id."""
    rim = np.zeros(index.shape, bool)
    down, right = index[1:] != index[:-1], index[:, 1:] != index[:, :-1]
    rim[1:] |= down
    rim[:-1] |= down
    rim[:, 1:] |= right
    rim[:, :-1] |= right
    return rim
