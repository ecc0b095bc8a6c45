"""What the settings of each kind of model may be, checked before a network is made of them.

The limits are far above any network here. A file of a stranger that is within them builds its
shapes in seconds and takes the memory of its own arrays; one that is not is refused at once.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a value may be.

    Attributes:
        expected: in words.
        holds: whether a value is so.
        default: whether the setting may be missing.
    """

    expected: str
    holds: Callable[[Any], bool]
    default: bool = False


def check_settings(kind: str, settings: Mapping[str, Any]) -> None:
    """Refuses settings of which one is missing, of a wrong type, or beyond its limit.

    Those that the schema does not name are a training's own, and not looked at.

    Args:
        kind: one of `SCHEMA`.
        settings: as JSON holds them; tuples count as lists.

    Raises:
        ValueError: with the kind, the setting, what was expected, and what came.
    """
    rules = dict(SCHEMA[kind])
    variants: Any = rules.pop("network", None)
    if variants is not None:
        _check_fields(kind, {"network": _choice(*variants)}, settings)
        rules |= variants[settings["network"]]
    _check_fields(kind, rules, settings)


def _check_fields(kind: str, rules: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    for name, rule in rules.items():
        if name not in settings:
            if isinstance(rule, Rule) and rule.default:
                continue
            got = ", ".join(map(str, settings))[:200] or "nothing"
            raise ValueError(f"settings of a {kind} must hold {name!r}, got {got}.")
        if isinstance(rule, Rule):
            _check(f"{name} of a {kind}", rule, settings[name])
        else:
            _check_size(f"{name} of a {kind}", rule, settings[name])


def _check_size(owner: str, rules: Mapping[str, Rule], value: Any) -> None:
    """The fields of a size, all of which have defaults."""
    if not isinstance(value, Mapping) or set(value) - set(rules):
        got = ", ".join(map(str, value)) if isinstance(value, Mapping) else _shown(value)
        raise ValueError(f"{owner} must have the fields {', '.join(rules)}, got {got[:200]}.")
    for name, field in value.items():
        _check(f"{name} in the {owner}", rules[name], field)


def _check(what: str, rule: Rule, value: Any) -> None:
    if not rule.holds(value):
        raise ValueError(f"{what} must be {rule.expected}, got {_shown(value)}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _whole(least: int, most: int, *, multiple: int = 1) -> Rule:
    def holds(value: Any) -> bool:
        return type(value) is int and least <= value <= most and value % multiple == 0

    what = f"a multiple of {multiple}" if multiple > 1 else "a whole number"
    return Rule(f"{what} from {least} to {most:,}", holds)


def _real(least: float, most: float) -> Rule:
    def holds(value: Any) -> bool:
        return type(value) in (int, float) and least <= value <= most

    return Rule(f"a number from {least} to {most:,}", holds)


def _some(rule: Rule, least: int, most: int, *, total: int | None = None) -> Rule:
    """A list of values of one rule, maybe with a limit of their sum."""

    def holds(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and least <= len(value) <= most
            and all(map(rule.holds, value))
            and (total is None or sum(value) <= total)
        )

    count = f"{least}" if least == most else f"{least} to {most:,}"
    together = "" if total is None else f" ({total} together at most)"
    return Rule(f"a list of {count}, each {rule.expected}{together}", holds)


def _choice(*values: Any) -> Rule:
    *names, last = (v if isinstance(v, str) else str(v).lower() for v in values)
    return Rule(
        f"{', '.join(names)} or {last}",
        lambda x: any(type(x) is type(v) and x == v for v in values),
    )


def _and(rule: Rule, expected: str, holds: Callable[[Any], bool]) -> Rule:
    return Rule(f"{rule.expected}, {expected}", lambda x: rule.holds(x) and holds(x))


def _optional(rule: Rule) -> Rule:
    return rule._replace(default=True)


def _is_name(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= 200
        and all(unicodedata.category(c) not in ("Cc", "Cs") for c in value)
    )


NAME = Rule("a text of at most 200 characters, none of which controls", _is_name)
CFG = Rule("text with [net]", lambda x: isinstance(x, str) and "[net" in x and len(x) <= 2**20)
WIDTH = _whole(1, 2**16)
FLAG = _choice(True, False)
DROPOUT = _optional(
    Rule("a number in [0, 1)", lambda x: type(x) in (int, float) and 0 <= x < 1),
)
CLASSES, MAYBE_CLASSES = _some(NAME, 1, 10_000), _some(NAME, 0, 10_000)
SIDE = _whole(1, 4096)
IMAGE_SIZE = _some(SIDE, 2, 2)
IMAGE_SHAPE = _and(
    _some(SIDE, 3, 3), "2^20 values together at most", lambda shape: math.prod(shape) <= 2**20
)
VECTOR = Rule("", lambda x: _some(_whole(1, 2**20), 1, 1).holds(x))
SHAPE = Rule(
    f"{IMAGE_SHAPE.expected}, or a list of 1", lambda x: VECTOR.holds(x) or IMAGE_SHAPE.holds(x)
)
STAGES = _some(WIDTH, 1, 8)
PADDING = _choice("VALID", "SAME")
INPUTS = _whole(1, 64)
MEANS, DEVIATIONS = _some(_real(-1e6, 1e6), 1, 64), _some(_real(1e-6, 1e6), 1, 64)
NORMALIZE = Rule(
    f"mean, {MEANS.expected}, and std, {DEVIATIONS.expected}",
    lambda x: (
        isinstance(x, Mapping)
        and set(x) == {"mean", "std"}
        and MEANS.holds(x["mean"])
        and DEVIATIONS.holds(x["std"])
    ),
    default=True,
)

YOLO = {
    "stem": WIDTH,
    "stem_stride": _whole(1, 8),
    "channels": _some(WIDTH, 3, 8),
    "blocks": _some(_whole(0, 64), 3, 8, total=64),
    "necks": _some(WIDTH, 3, 3),
    "depth": _whole(0, 8),
}
RESNET = {
    "blocks": _some(_whole(1, 128), 1, 8, total=128),
    "channels": STAGES,
    "bottleneck": FLAG,
    "large": FLAG,
    "concatenate": FLAG,
    "padded": FLAG,
}
SQUEEZENET = {
    "stem": WIDTH,
    "kernel": _whole(1, 15),
    "fires": _some(_whole(1, 64), 1, 6, total=64),
    "squeeze": _whole(1, 256),
    "expand": _whole(1, 16),
}
VGG = {
    "convolutions": _some(_whole(1, 64), 1, 8, total=64),
    "channels": STAGES,
    "batch_norm": FLAG,
    "hidden": WIDTH,
    "padding": PADDING,
}
XCEPTION = {
    "stem": _some(WIDTH, 2, 2),
    "stem_stride": _whole(1, 8),
    "entry": STAGES,
    "middle": _whole(0, 32),
    "exit": _some(WIDTH, 2, 2),
    "top": _some(WIDTH, 2, 2),
}
CNN_STAGES = _and(
    _some(_some(WIDTH, 1, 128), 1, 8), "128 together at most", lambda x: sum(map(len, x)) <= 128
)
AUTOENCODER = {
    "shape": SHAPE,
    "latent": WIDTH,
    "hidden": WIDTH,
    "dense": FLAG,
    "squash": _optional(_choice("sigmoid", "identity")),
}
FLOW = {
    "shape": IMAGE_SHAPE,
    "levels": _whole(2, 2**16),
    "classes": MAYBE_CLASSES,
    "dropout": DROPOUT,
}
MULTISCALE = {
    "hidden": WIDTH,
    "dense": _whole(0, 32),
    "scales": _optional(_whole(1, 4)),
    "steps": _optional(_whole(1, 16)),
}

TRANSFORM_NET = {
    "channels": _some(WIDTH, 3, 3),
    "blocks": _whole(0, 64),
    "kernel": _and(_whole(1, 31), "odd", lambda kernel: kernel % 2 == 1),
}
RESIZE = _optional(_choice("letterbox", "darknet_letterbox", "darknet_stretch"))
DARKNET = {"cfg": CFG, "epsilon": _optional(_real(1e-14, 1e-2)), "resize": RESIZE}
FCN = {
    "size": VGG,
    "stride": _choice(32, 16, 8),
    "join": _choice("sum", "concat"),
    "dropout": DROPOUT,
    "normalize": NORMALIZE,
}
UNET = {
    "channels": STAGES,
    "padding": PADDING,
    "batch_norm": FLAG,
    "dropout": DROPOUT,
    "normalize": NORMALIZE,
}

SCHEMA: dict[str, Mapping[str, Any]] = {
    "detector": {
        "classes": CLASSES,
        "image_size": _some(_whole(32, 4096, multiple=32), 2, 2),
        "anchors": _some(_some(_some(_real(1e-3, 1e5), 2, 2), 1, 32), 3, 3),
        "size": YOLO,
    },
    "classifier": {
        "classes": CLASSES,
        "image_size": IMAGE_SIZE,
        "inputs": INPUTS,
        "network": {
            "cnn": {"channels": CNN_STAGES, "padding": _optional(PADDING), "dropout": DROPOUT},
            "resnet": {"size": RESNET, "normalize": NORMALIZE},
            "squeezenet": {"size": SQUEEZENET, "dropout": DROPOUT, "normalize": NORMALIZE},
            "vgg": {"size": VGG, "dropout": DROPOUT, "normalize": NORMALIZE},
            "xception": {"size": XCEPTION},
        },
    },
    "autoencoder": AUTOENCODER,
    "vae": AUTOENCODER | {"variance": _real(1e-12, 1e6), "learned_variance": FLAG},
    "gan": {
        "upsampling": _choice("subpixel", "resize", "transposed"),
        "shape": IMAGE_SHAPE,
        "latent": WIDTH,
        "channels": STAGES,
        "spectral": FLAG,
    },
    "flow": FLOW
    | {"network": {"histogram": {"hidden": _some(WIDTH, 1, 8)}, "multiscale": MULTISCALE}},
    "diffusion": {
        "shape": IMAGE_SHAPE,
        "classes": MAYBE_CLASSES,
        "channels": _some(WIDTH, 1, 6),
        "patch": _whole(1, 64),
        "prediction": _optional(_choice("noise", "velocity")),
        "blocks": _optional(_whole(1, 4)),
        "condition": _optional(_whole(2, 2**16, multiple=2)),
        "groups": _optional(WIDTH),
        "dropout": DROPOUT,
        **dict.fromkeys(("schedule_steps", "sampling_steps"), _optional(_whole(1, 100_000))),
    },
    "stylizer": {"size": TRANSFORM_NET},
    "darknet": DARKNET | {"classes": CLASSES, "image_size": IMAGE_SIZE},
    "segmenter": {
        "classes": CLASSES,
        "image_size": IMAGE_SIZE,
        "inputs": INPUTS,
        "network": {"unet": UNET, "fcn": FCN},
    },
}
"""The rules of each kind: of a setting, of the fields of a size, or of each `network`."""
