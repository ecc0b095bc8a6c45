"""The sections of Darknet's configuration files, and the values of their keys.

A file is read as Darknet reads it: blanks do not count, `#` begins a comment, a line that begins
with `;` is one, and a key that is missing has a default.
"""

import math
import re
from pathlib import Path
from typing import Any, get_args

from lectures_jax.data.problems import BadInputError
from lectures_jax.models.darknet_layers import Activation

MAX_SECTIONS = 1000
MOST = 2**16  # of any whole number

TRAINING = {
    *("stopbackward", "learning_rate", "onlyforward", "dont_update", "burnin_update"),
    *("train_only_bn", "assisted_excitation", "dropblock", "dropblock_size_rel"),
    *("dropblock_size_abs", "noloss", "jitter", "resize", "random", "max", "map", "track_history"),
    *("ignore_thresh", "truth_thresh", "thresh", "iou_thresh", "iou_loss", "iou_thresh_kind"),
    *("iou_normalizer", "cls_normalizer", "obj_normalizer", "delta_normalizer", "max_delta"),
    *("uc_normalizer", "objectness_smooth", "label_smooth_eps", "scale_iou_thresh"),
    *("focal_loss", "counters_per_class", "show_details", "bias_match"),
    *("rescore", "object_scale", "noobject_scale", "class_scale", "coord_scale", "mask_scale"),
    *("absolute", "num"),
}
"""Keys of layers that count in training alone, or that the caller decides, as suppression."""
OFF = {
    *("binary", "xnor", "antialiasing", "flipped", "dot", "maxpool_depth", "spatial"),
    *("weights_type", "weights_normalization", "dontload", "dontloadscales", "reverse"),
}
"""Keys of what is not implemented: 0 or none."""
ALIASES = {
    **{"network": "net", "conv": "convolutional", "max": "maxpool", "avg": "avgpool"},
    **{"soft": "softmax"},
}
"""Other names of sections."""


class Section:
    """One section of a file; remembers which of its keys were read."""

    def __init__(self, path: Path, kind: str, line: int):
        self.path, self.kind, self.line = path, kind, line
        self.values: dict[str, tuple[str, int]] = {}
        self.known = TRAINING | OFF

    def error(self, key: str, expected: str, got: object) -> BadInputError:
        """Returns the error of a key, or of the whole section where the key is empty."""
        line = self.values.get(key, ("", self.line))[1]
        place = f"line {line}: [{self.kind}] {key}".rstrip()
        return BadInputError(self.path, place, expected, got)

    def text(self, key: str, default: str | None = None) -> str:
        """Returns the value as it is written; without a default the key must be there."""
        self.known = self.known | {key}
        if key not in self.values and default is None:
            raise self.error(key, "a value", "none")
        return self.values[key][0] if key in self.values else str(default)

    def whole(
        self, key: str, default: int | None = None, *, least: int = 1, most: int = MOST
    ) -> int:
        """Returns a whole number in a range."""
        text = self.text(key, None if default is None else str(default))
        if not re.fullmatch(r"[-+]?[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise self.error(key, f"a whole number from {least} to {most:,}", text)
        return int(text)

    def flag(self, key: str) -> bool:
        """Returns whether a key is 1 and not 0."""
        return self.whole(key, 0, least=0, most=1) == 1

    def real(self, key: str, default: float, *, least: float, most: float) -> float:
        """Returns a number in a range."""
        value, *more = self.reals(key, str(default))
        if more or not least <= value <= most:
            raise self.error(key, f"a number from {least} to {most}", self.text(key))
        return value

    def reals(self, key: str, default: str | None = None) -> list[float]:
        """Returns finite numbers that commas separate."""
        text = self.text(key, default)
        try:
            values = [float(part) for part in text.strip(",").split(",")]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)) or len(values) > MOST:
            raise self.error(key, "finite numbers with commas between them", text)
        return values

    def wholes(self, key: str, default: str | None = None) -> list[int]:
        """Returns whole numbers that commas separate."""
        values = self.reals(key, default)
        if any(value != int(value) for value in values):
            raise self.error(key, "whole numbers with commas between them", self.text(key))
        return [int(value) for value in values]

    def sources(self, key: str, index: int) -> tuple[int, ...]:
        """Returns numbers of earlier layers; negative ones count back from this one."""
        sources = tuple(n if n >= 0 else index + n for n in self.wholes(key))
        if not all(0 <= n < index for n in sources):
            raise self.error(key, f"layers before this one, which is {index}", self.text(key))
        return sources

    def activation(self, default: str) -> Activation:
        """Returns the name of an activation."""
        name: Any = self.text("activation", default)
        if name not in (known := get_args(Activation)):
            raise self.error("activation", f"one of {', '.join(known)}", name)
        return name

    def check_keys(self) -> None:
        """Refuses keys that nobody has read, and what is not implemented."""
        for key, (value, _) in self.values.items():
            if key not in self.known:
                raise self.error(key, "a key that this kind of layer has", f"{key}={value}")
            if key in OFF and value not in ("0", "none"):
                raise self.error(key, "0, since nothing else is implemented", value)


def sections_of(path: Path, text: str, kinds: tuple[str, ...]) -> list[Section]:
    """Returns the sections of a file, [net] first.

    Args:
        path: of the file, for messages.
        text: of the file.
        kinds: of sections that follow [net].

    Raises:
        BadInputError: with the line that is none, or a section that is unknown.
    """
    sections: list[Section] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"\s", "", raw.partition("#")[0])
        if not line or line.startswith(";"):
            continue
        place = f"line {number}"
        if line.startswith("["):
            kind = ALIASES.get(line.strip("[]"), line.strip("[]"))
            if not line.endswith("]") or kind not in {"net", *kinds}:
                raise BadInputError(path, place, f"[net] or one of {', '.join(kinds)}", line)
            if (kind == "net") != (not sections):
                raise BadInputError(path, place, "[net] first, and once", line)
            sections.append(Section(path, kind, number))
            continue
        key, equals, value = line.partition("=")
        if not sections or not (key and equals and value):
            raise BadInputError(path, place, "[section] or key=value", raw.strip())
        if sections[-1].values.setdefault(key, (value, number))[0] != value:
            raise BadInputError(path, place, f"{key} once in a section", line)
    if not 2 <= len(sections) <= MAX_SECTIONS:
        got = f"{len(sections)} sections"
        raise BadInputError(path, "file", f"[net] and 1 to {MAX_SECTIONS - 1} layers", got)
    return sections
