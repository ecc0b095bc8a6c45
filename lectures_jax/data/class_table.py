"""The classes of a set of masks, and the color or the number that each has in a mask's file."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from lectures_jax.data.files import class_names, lines_of
from lectures_jax.data.images import decode_8_bits, decode_mask
from lectures_jax.data.problems import BadInputError

IGNORE = 255
"""Id of a pixel that does not count."""
VOID = (224, 224, 192)
"""Color of such a pixel in the masks of Pascal VOC."""
NAMES = ("classes.txt", "class_names.txt", "labelmap.txt", "label_colors.txt")
"""Files beside images and masks that are taken for the table."""
FORMS = (
    r"(?P<r>\d+)[\s,]+(?P<g>\d+)[\s,]+(?P<b>\d+)[\s,]+(?P<name>\S.*)",
    r"(?P<name>.*[^\s,:])[\s,:]+(?P<r>\d+)[\s,]+(?P<g>\d+)[\s,]+(?P<b>\d+)(:.*)?",
)
"""A line with a color: before the name as CamVid writes it, or behind it as CVAT does."""


class ClassTable(NamedTuple):
    """The classes of a set.

    Attributes:
        names: in the order of the ids, the background included.
        colors: of each class in a mask; None where masks hold the ids.
    """

    names: tuple[str, ...]
    colors: UInt8[np.ndarray, "c 3"] | None = None


def read_class_table(file: Path) -> ClassTable:
    """Reads one class per line: `name`, or with its color `name R G B`, `R G B name`, `name:R,G,B`.

    The number of the line, from 0, is the id. Lines that begin with `#` are comments.

    Args:
        file: the text file.

    Raises:
        BadInputError: if only some lines have a color, one is out of range, two are equal, or the
            names are not names (see `class_names`).
    """
    lines = [line for line in lines_of(file) if not line.startswith("#")]
    matches = [next(filter(None, (re.fullmatch(f, line) for f in FORMS)), None) for line in lines]
    if not any(matches):
        return ClassTable(_at_most_255(class_names(lines, file), file))
    colors: dict[tuple[int, ...], str] = {}
    for line, match in zip(lines, matches, strict=True):
        color = tuple(int(match[c]) for c in "rgb") if match else (256,)
        if match is None or max(color) > 255:
            raise BadInputError(file, "class", "a name and a color, such as cell 0 128 255", line)
        if color in colors:
            raise BadInputError(file, "color", "another one for each class", line)
        colors[color] = match["name"]
    names = _at_most_255(class_names(colors.values(), file), file)
    return ClassTable(names, np.array(list(colors), np.uint8))


def _at_most_255(names: tuple[str, ...], file: Path) -> tuple[str, ...]:
    if len(names) > IGNORE:
        raise BadInputError(file, "classes", f"at most {IGNORE}", str(len(names)))
    return names


def decode_ids(file: Path, table: ClassTable | None) -> Int32[np.ndarray, "h w"]:
    """Returns the number of each pixel of a mask.

    Args:
        file: of the mask. Without colors in the table it has one channel, three equal ones, or a
            palette, of which the indices count.
        table: whose colors, if it has any, are brought to ids; VOC's color of what does not count
            is then 255, unless a class has it.

    Raises:
        BadInputError: if the file does not decode, has several channels of 16 bits, has colors
            where the table has none, or has one that is not in the table.
    """
    if table is not None and table.colors is not None:
        return _ids_of_colors(decode_8_bits(file), table.colors, file)
    try:
        return decode_mask(file)
    except BadInputError as error:
        if ": mode: " not in str(error):
            raise
    pixels = decode_8_bits(file)
    if (pixels != pixels[..., :1]).any():
        expected = f"ids, or a table of colors ({NAMES[0]} with lines such as cell 0 128 255)"
        raise BadInputError(file, "mask", expected, "colors")
    return pixels[..., 0].astype(np.int32)


def check_ids(ids: Int32[np.ndarray, "h w"], table: ClassTable, file: Path) -> None:
    """Refuses a mask with an id that no class has.

    Args:
        ids: of each pixel.
        table: the classes.
        file: of the mask, for the message.

    Raises:
        BadInputError: naming the id and the classes.
    """
    unknown = ids[(ids != IGNORE) & ((ids < 0) | (ids >= len(table.names)))]
    if unknown.size:
        last = len(table.names) - 1
        expected = f"0 to {last} ({table.names[0]} to {table.names[-1]}), or {IGNORE}"
        raise BadInputError(file, "class id", expected, int(unknown[0]))


def _ids_of_colors(pixels: np.ndarray, colors: np.ndarray, file: Path) -> np.ndarray:
    known = {tuple(color): i for i, color in reversed(list(enumerate(colors.tolist())))}
    known.setdefault(VOID, IGNORE)
    codes, inverse = np.unique(_code(pixels), return_inverse=True)
    ids = []
    for code in codes.tolist():
        color = (code >> 16, code >> 8 & 255, code & 255)
        if color not in known:
            raise BadInputError(file, "color", f"one of the table's {len(colors)}", color)
        ids.append(known[color])
    return np.array(ids, np.int32)[inverse].reshape(pixels.shape[:2])


def _code(pixels: np.ndarray) -> np.ndarray:
    r, g, b = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return r << 16 | g << 8 | b
