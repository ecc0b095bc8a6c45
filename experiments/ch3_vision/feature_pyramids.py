"""Four ways to see objects of all sizes. CPU, 6 min; AP50 of small digits with FPN 0.79.

The course's figure of feature pyramids (Lin et al. 2017, fig. 1): the image in several sizes, one
map, the maps of the backbone as they are, and these with the coarser ones added to them. Each is
trained alike on scenes of digits, which are one class here, and costs the same FLOPs; the table
has average precision by the size of the digits.
"""

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import metrics, report, runtime
from lectures_jax.models.pyramid import SIZES, Form, Pyramid, PyramidSize
from lectures_jax.models.yolo import SMALL, YoloSize
from lectures_jax.nn.capture import Call, capture_calls
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.recipes import detection_data, detector, detector_network
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import check_count

SIDE = 96  # rows and columns of a scene
DIGITS = (8.0, 80.0)  # least and largest height of a digit, in pixels
SIDES = (12, 36)  # of squares as large as the largest small and the largest medium digit
ANCHORS = [[(1, 1)] * 3] * 3  # of any shapes, where only the number counts
GROUPS = ("all", "small", "medium", "large")
SETTINGS = detector.with_defaults(detector.Settings(steps=1000, image_size=(SIDE, SIDE)), "digits")
TINY = {
    "scenes": 2,
    "evaluated": 2,
    "forms": ("single map", "FPN"),
    "training": replace(
        SETTINGS, steps=2, batch_size=2, size=YoloSize(4, 2, (4,) * 4, (0,) * 4, (4,) * 3, 0)
    ),
}
EXPECTED = {"single_map_small": (None, 0.35), "FPN_small": (0.73, None)}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    forms: tuple[Form, ...] = ("image pyramid", "single map", "hierarchy", "FPN")
    """that are compared"""
    scenes: int = 2000
    """to train on"""
    evaluated: int = 200
    """scenes to measure on"""
    seeds: int = 1
    """trainings of each form; the spread of a score needs three"""
    seed: int = 0
    """the first of them: of parameters, order and augmentation"""
    training: detector.Settings = SETTINGS
    """of each network; a size that is not the default replaces those of equal FLOPs"""


MEANINGS: dict[Form, str] = {
    "image pyramid": "the image at half, full and twice its size",
    "single map": "the last map of the backbone, with all nine anchors",
    "hierarchy": "three maps of the backbone",
    "FPN": "these maps, and the coarser ones added to the finer ones",
}


class Measured(NamedTuple):
    """The networks of a form.

    Attributes:
        model: of the first seed.
        scores: AP50 of all, small, medium and large digits, [seeds, 4].
        precision: AP50-95 of all, small, medium and large digits, [seeds, 4].
        steps_per_second: of the trainings, the median of all rows.
    """

    model: Pyramid
    scores: Float[np.ndarray, "n 4"]
    precision: Float[np.ndarray, "n 4"]
    steps_per_second: float


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all forms, and writes the report."""
    counts = {name: getattr(config, name) for name in ("scenes", "evaluated", "seeds")}
    check_count(forms=len(config.forms), **counts)
    splits = scenes(config)
    # One set of anchors for all, so that the seeds of a form share one compiled program.
    anchors = detector_network.fit_anchors(jax.random.key(config.seed), splits.train)
    measured: dict[Form, Measured] = {
        form: measure(config, form, anchors, splits, out) for form in config.forms
    }
    numbers = {
        f"{form.replace(' ', '_')}_{group}": value
        for form, result in measured.items()
        for group, value in zip(GROUPS, result.scores.mean(axis=0).tolist(), strict=True)
    }
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title="Feature pyramids",
        summary="Four forms of a detector of equal FLOPs, trained alike on scenes of digits from "
        f"{DIGITS[0]:.0f} to {DIGITS[1]:.0f} pixels; seeds: {config.seeds}.",
        numbers={
            f"AP50 of small digits, {form}": numbers[f"{form.replace(' ', '_')}_small"]
            for form in config.forms
        },
        sections=[
            by_size_section(measured, figures / "by_size.svg"),
            cost_section(config, measured),
            examples_section(measured, splits),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def scenes(config: Config) -> detection_data.Splits:
    """Scenes whose digits differ more in size than usual."""
    return detection_data.draw_scenes(
        jax.random.key(config.seed),
        count=config.scenes,
        test_count=config.evaluated,
        size=SIDE,
        max_digits=5,
        min_size=DIGITS[0],
        max_size=DIGITS[1],
        one_class=True,
    )


def measure(
    config: Config, form: Form, anchors: Any, splits: detection_data.Splits, out: Path
) -> Measured:
    """Trains a form with each seed."""
    models, rows, scores = [], [], []
    for seed in range(config.seed, config.seed + config.seeds):
        key_init, key_train = jax.random.split(jax.random.key(seed))
        model = Pyramid(
            form, 1, anchors=anchors, size=size_of(config, form), rngs=nnx.Rngs(key_init)
        )
        folder = out / form.replace(" ", "_") / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        trained = detector.train_network(
            key_train, model, config.training, splits, folder, seed=seed, evaluations=1
        )
        models.append(trained.model)
        rows += trained.history
        scores.append(by_size(detector.detect(trained.model, splits)))
    speed = float(np.median([row["steps_per_second"] for row in rows]))
    ap50, precision = np.swapaxes(scores, 0, 1)
    return Measured(models[0], ap50, precision, speed)


def size_of(config: Config, form: Form) -> PyramidSize:
    """The widths and depths of a form's network."""
    chosen = config.training.size
    if chosen == SMALL:
        return SIZES[form]
    stages = len(SIZES[form].channels)
    return PyramidSize(
        chosen.stem, chosen.channels[:stages], chosen.blocks[:stages], chosen.necks[0]
    )


def by_size(detected: detector.Detected) -> Float[np.ndarray, "2 4"]:
    """AP50 and AP from 50 to 95 of all, small, medium and large digits; 0 where there are none."""
    small, medium = (float(side**2) for side in SIDES)
    result = metrics.coco_map(
        *detected[:-1], num_classes=1, crowd=detected.crowd, size_limits=(small, medium)
    )
    precision = np.asarray(result.precision)[..., -1]  # IoU, recall, class, area
    rows = []
    for some in (precision[:1], precision):
        means = (group[group > -1] for group in np.moveaxis(some, -1, 0))
        rows.append([group.mean() if group.size else 0.0 for group in means])
    return np.array(rows)


def flops(form: Form, size: PyramidSize) -> int:
    """Of the convolutions for one scene, a multiply-add counting as two; nothing is computed."""
    counts: list[int] = []

    def report_call(call: Call) -> None:
        kernel = getattr(call.module, "kernel", None)
        if kernel is not None:
            counts.append(2 * kernel.size * math.prod(call.output.shape[1:3]))

    def outputs(images: Array) -> Any:
        model = Pyramid(form, 1, anchors=ANCHORS, size=size, rngs=nnx.Rngs(0))
        return capture_calls(model, report_call)(images)

    jax.eval_shape(outputs, jnp.zeros((1, SIDE, SIDE, 3)))
    return sum(counts)


def by_size_section(measured: dict[Form, Measured], path: Path) -> Section:
    """Average precision by the size of the digits, as a figure and a table."""
    with plot(path, height=3.0) as (ax,):
        for number, (form, result) in enumerate(measured.items()):
            x = np.arange(len(GROUPS)) + 0.16 * (number - (len(measured) - 1) / 2)
            ax.plot(x, result.scores.mean(axis=0), "_", ms=12, mew=2, color=color(number))
            ax.plot(x, result.scores[0], "o", ms=3, color=color(number), label=form)
            for scores in result.scores[1:]:
                ax.plot(x, scores, "o", ms=3, color=color(number))
        ax.set_xticks(range(len(GROUPS)), GROUPS)
        ax.grid(visible=False, axis="x")
        ax.set(xlabel="digits", ylabel="AP50", ylim=(0, 1))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    spread = partial(report.mean_and_deviation, digits=3)
    rows = [
        (f"{form}: {MEANINGS[form]}", *map(spread, result.scores.T), spread(result.precision[:, 0]))
        for form, result in measured.items()
    ]
    compared = {form: result.scores[:, 1] for form, result in measured.items()}
    last = next(reversed(compared))
    compared = compared if len(compared) > 1 else {}
    return Section(
        "By size",
        f"Small digits have an area of up to {SIDES[0]}² pixels, medium ones up to {SIDES[1]}²: "
        f"COCO's limits for images {32 / SIDES[0]:.1f} times as large. "
        + (f"Small digits: {report.best_by_seeds(compared, than=last)}" if compared else ""),
        figures=[Figure(path, "A dot for each seed, and a line at their mean.")],
        table=Table(("form", *(f"AP50, {group}" for group in GROUPS), "AP50-95, all"), rows),
    )


def cost_section(config: Config, measured: dict[Form, Measured]) -> Section:
    """What a form costs."""
    rows = [
        (
            form,
            count_parameters(result.model),
            flops(form, size_of(config, form)) / 1e6,
            result.steps_per_second,
        )
        for form, result in measured.items()
    ]
    full = PyramidSize()
    wide = replace(full, channels=full.channels[:3], blocks=full.blocks[:3])
    most, usual = flops("image pyramid", wide) / 1e6, flops("FPN", full) / 1e6
    return Section(
        "Cost",
        "In the default sizes the image pyramid has a narrower backbone, up to a stride of 16, "
        "since it runs once for each size of the image: with the widths of the others it would "
        f"cost {most:.0f} million FLOPs, {most / usual:.1f} times as many as FPN. The single map "
        "has more blocks, for it has one head. Hierarchy and FPN have the same parameters, and "
        "differ in two additions.",
        table=Table(("form", "parameters", "10⁶ FLOPs", "training steps per second"), rows),
    )


def examples_section(measured: dict[Form, Measured], splits: detection_data.Splits) -> Section:
    """The first test scenes, and what each form detects in them."""
    images = np.stack([np.asarray(record.image) for record in splits.test[:4]])
    figures = []
    for form, result in measured.items():
        options = {"score_threshold": 0.3, "iou_threshold": 0.45, "class_agnostic": True}
        detections = result.model.predict(jnp.asarray(images, jnp.float32) / 255, **options)
        boxes, scores, labels, valid = map(np.asarray, detections)
        drawn = [
            report.draw_boxes(
                image,
                boxes[i],
                labels[i],
                scores[i],
                valid=valid[i],
                classes=splits.test.classes,
                scale=3,
            )
            for i, image in enumerate(images)
        ]
        figures.append(Figure(report.grid(drawn, columns=2), f"{form}: {MEANINGS[form]}."))
    return Section("Examples", "Test scenes, by the networks of the first seed.", figures=figures)
