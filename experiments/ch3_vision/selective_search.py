"""Regions merged by similarity propose the boxes of objects. CPU, 1 min; recall of 200 boxes 0.99.

Selective search on scenes of digits, or on one's own annotated images (`--data voc --root DIR`):
which share of the objects has a proposal with an IoU of at least ½ among the first n, beside as
many random boxes and as many boxes of a grid of anchors; and the features of such a box, by pooling
and by aligning. Nothing is trained.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, ops, report, runtime
from lectures_jax.data.records import Record
from lectures_jax.recipes import detection_data
from lectures_jax.report.boxes import BoxGroup
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

TINY = {"images": 2, "strategies": "single"}
EXPECTED = {
    "recall_at_200": (0.97, None),
    "average_best_overlap": (0.88, None),
    "aligned_change": (None, 0.15),
    "pooled_change": (0.25, None),
}
COUNTS = (10, 50, 200, 1000)
SHOWN = 2  # images of a figure
RATIOS, STRIDE = (0.5, 1.0, 2.0), 0.25  # of anchors: height over width, and steps over the size
CELL = 8  # pixels of a cell of the map from which the features of regions are taken


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["digits", "voc", "coco", "yolo"] = "digits"
    """kind of the data: built-in scenes of digits, or annotated images"""
    root: Path | None = None
    """folder of the annotated images"""
    images: int = 40
    """images of the test split; fewer if there are no more"""
    strategies: Literal["single", "fast", "quality"] = "fast"
    """single, fast or quality: 1, 12 or 100 hierarchies for each image"""
    min_size: int = 30
    """pixels that a region of a segmentation has at least"""
    overlap: float = 0.5
    """IoU from which a box holds an object"""
    seed: int = 0
    """of the scenes, the order of the proposals, and the random boxes"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Proposes boxes, counts the objects that they hold, and writes the report."""
    key_scenes, key_boxes = jax.random.split(jax.random.key(config.seed))
    if config.data == "digits":
        scenes = detection_data.draw_scenes(key_scenes, count=1, test_count=config.images)
    else:
        scenes = detection_data.read_files(config.data, config.root)
    records = [record for record in scenes.test if len(record.boxes)][: config.images]
    methods: dict[str, list[np.ndarray]] = {"selective search": [], "anchors": [], "random": []}
    for number, record in enumerate(records):
        keys = jax.random.split(jax.random.fold_in(key_boxes, number), 3)
        size = np.asarray(record.image).shape[:2]
        methods["selective search"].append(proposals(config, keys[0], record))
        count = max(len(methods["selective search"][-1]), *COUNTS)
        methods["anchors"].append(anchors(keys[1], *size))
        methods["random"].append(random_boxes(keys[2], count, *size))
    overlaps = {name: best_overlaps(records, boxes) for name, boxes in methods.items()}
    changes = feature_changes(records)
    numbers = summary(config, methods, overlaps)
    numbers |= {
        f"{name.replace(', ', '_')}_change": float(x[CELL // 2]) for name, x in changes.items()
    }
    report.page(
        out / "report.html",
        title="Selective search on " + (config.root.name if config.root else "digit scenes"),
        summary=f"{len(records)} images with {sum(len(r.boxes) for r in records)} objects; "
        f"{numbers['proposals']:.0f} proposals for each image.",
        numbers=numbers,
        sections=[
            recall_section(config, overlaps, out / "recall.svg"),
            hierarchy_section(config, records[:SHOWN]),
            proposal_section(records[:SHOWN], methods["selective search"]),
            features_section(changes, out / "features.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def proposals(config: Config, key: jax.Array, record: Record) -> np.ndarray:
    """The boxes of one image, the most promising first."""
    return data.selective_search(
        key, np.asarray(record.image), strategies=config.strategies, min_size=config.min_size
    )


def anchors(key: jax.Array, height: int, width: int) -> np.ndarray:
    """Boxes of three ratios and sizes from an eighth of the image, each on a grid, in any order."""
    boxes, size = [], min(height, width) / 8
    while size <= max(height, width):
        for ratio in RATIOS:
            w, h = size / ratio**0.5, size * ratio**0.5
            xs, ys = (np.arange(0, side, STRIDE * size) for side in (width, height))
            x, y = (centers.ravel() for centers in np.meshgrid(xs, ys))
            boxes.append(np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1))
        size *= 2**0.5
    order = jax.random.permutation(key, sum(map(len, boxes)))
    stacked = jnp.asarray(np.concatenate(boxes), jnp.float32)
    return np.asarray(ops.clip_boxes(stacked, height=height, width=width)[order])


def random_boxes(key: jax.Array, count: int, height: int, width: int) -> np.ndarray:
    """Boxes between two uniform points of the image."""
    points = jax.random.uniform(key, (count, 2, 2)) * jnp.array([width, height])[None, None]
    corners = jnp.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    return np.asarray(corners)


def best_overlaps(records: Sequence[Record], boxes: Sequence[np.ndarray]) -> np.ndarray:
    """For each object and n, the largest IoU with one of the first n boxes of its image."""
    most, rows = max(map(len, boxes)), []
    for record, mine in zip(records, boxes, strict=True):
        truth = jnp.asarray(record.boxes, jnp.float32)
        overlap = np.asarray(ops.pairwise_iou(truth, jnp.asarray(mine, jnp.float32)))
        best = np.maximum.accumulate(overlap, axis=1)
        rows.append(np.pad(best, ((0, 0), (0, most - len(mine))), mode="edge"))
    return np.concatenate(rows)


def first(overlap: np.ndarray, count: int) -> np.ndarray:
    """The largest IoU of each object among the first so many boxes, or all."""
    return overlap[:, min(count, overlap.shape[1]) - 1]


def summary(
    config: Config, methods: dict[str, list[np.ndarray]], overlaps: dict[str, np.ndarray]
) -> dict[str, float]:
    """Numbers of selective search, and the recall of the others."""
    mine = overlaps["selective search"]
    numbers = {
        f"recall_at_{count}": float(np.mean(first(mine, count) >= config.overlap))
        for count in COUNTS
    }
    for name in ("anchors", "random"):
        recall = np.mean(first(overlaps[name], 200) >= config.overlap)
        numbers[f"{name}_recall_at_200"] = float(recall)
    numbers["average_best_overlap"] = float(np.mean(mine[:, -1]))
    numbers["proposals"] = float(np.mean([len(boxes) for boxes in methods["selective search"]]))
    return numbers


def recall_section(config: Config, overlaps: dict[str, np.ndarray], path: Path) -> Section:
    """The curve of recall over the number of boxes, and a table."""
    with plot(path, height=2.8) as (ax,):
        for number, (name, overlap) in enumerate(overlaps.items()):
            counts = np.unique(np.geomspace(1, overlap.shape[1], 200).astype(int))
            recall = [np.mean(first(overlap, count) >= config.overlap) for count in counts]
            ax.plot(counts, recall, color=color(number), label=name)
        ax.set(xscale="log", xlabel="boxes of an image", ylabel="recall", ylim=(0, 1))
        ax.legend(loc="upper left")
    rows = [
        [name, *(float(np.mean(first(o, n) >= config.overlap)) for n in COUNTS), np.mean(o[:, -1])]
        for name, o in overlaps.items()
    ]
    header = ["boxes", *(f"recall of {n}" for n in COUNTS), "best overlap of all"]
    text = (
        f"An object counts as held by a box if their IoU is at least {config.overlap}. Random "
        "boxes lie between two points of the image; the grid has anchors of three ratios."
    )
    caption = "Recall over the number of boxes, the most promising first."
    return Section("Recall", text, [Figure(path, caption)], Table(header, rows))


def hierarchy_section(config: Config, records: Sequence[Record]) -> Section:
    """The segmentation of some images, and what is left of its regions after more and more."""
    figures = []
    for record in records:
        image = np.asarray(record.image)
        labels = data.graph_segmentation(image, scale=200, min_size=config.min_size)
        count = int(labels.max()) + 1
        most = -(-count // 64) * 64  # one program for several images
        regions = ops.merge_regions(
            jnp.asarray(labels), jnp.asarray(image, jnp.float32) / 255, max_regions=most
        )
        parent, scale = np.asarray(regions.parent[0]), -(-320 // image.shape[1])
        left = [n for n in (count, count // 2, count // 4, count // 8) if n > 1]
        for number in left:
            cut = regions_left(labels, parent, number)
            caption = f"{number} regions" + (", the segmentation." if number == count else ".")
            figures.append(Figure(report.draw_instances(image, cut + 1, scale=scale), caption))
    return Section(
        "The hierarchy",
        "The regions of a graph segmentation, and those that are left as the most similar merge.",
        figures,
    )


def regions_left(labels: np.ndarray, parent: np.ndarray, number: int) -> np.ndarray:
    """The label map when so many regions are left: each label's last region by then."""
    count = int(labels.max()) + 1
    # A merged region comes after all of the label map, and those made later do not exist yet.
    last = (len(parent) + 1) // 2 + count - number
    region = np.arange(count)
    for _ in range(count):
        up = parent[region]
        region = np.where((up >= 0) & (up < last), up, region)
    # Named after the first of its labels, a region keeps its color.
    _, first_label, index = np.unique(region, return_index=True, return_inverse=True)
    return first_label[index][labels].astype(np.int32)


def proposal_section(records: Sequence[Record], proposed: Sequence[np.ndarray]) -> Section:
    """The true boxes of some images, and the proposal that fits each best."""
    figures = []
    for record, boxes in zip(records, proposed[: len(records)], strict=True):
        image, truth = np.asarray(record.image), np.asarray(record.boxes, np.float32)
        overlap = np.asarray(ops.pairwise_iou(jnp.asarray(truth), jnp.asarray(boxes)))
        best = overlap.argmax(axis=1)
        labels = [f"{value:.2f}".lstrip("0") for value in overlap.max(axis=1)]
        groups = [
            BoxGroup(boxes[:50], color(0), 1, opacity=0.5),
            BoxGroup(truth, "#ffffff", 2, dashed=True),
            BoxGroup(boxes[best], color(2), 2, labels=labels),
        ]
        drawn = report.draw_box_groups(image, groups, scale=-(-480 // image.shape[1]))
        figures.append(Figure(drawn, f"The best of {len(boxes)} proposals for each object."))
    text = (
        "True boxes are dashed; green is the proposal that fits each best, with its IoU; blue are "
        "the first 50 proposals."
    )
    return Section("Proposals", text, figures)


def feature_changes(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """How much the features of the objects' boxes change when image and boxes move together.

    The map has the mean color of each cell. Objects within a cell of its edge are not compared.

    Returns:
        By the way to take features: for 0, 1, … CELL pixels of movement, the mean of the squared
        differences over the variance of the features.
    """
    align = partial(ops.roi_align, sampling_ratio=4)
    ways = {
        "aligned": align,
        "rounded, aligned": lambda cells, boxes, **options: align(
            cells, CELL * jnp.floor(boxes / CELL + 0.5), **options
        ),
        "pooled": ops.roi_pool,
    }
    changes: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    most = max(len(record.boxes) for record in records)
    for record in records:
        image = np.asarray(record.image, np.float32) / 255  # of which slices need no program
        sides = np.array(image.shape[:2]) // CELL * CELL - CELL
        boxes = np.asarray(record.boxes, np.float32)
        stays = np.all((boxes >= CELL) & (boxes <= np.tile(sides[::-1], 2) - CELL), axis=1)
        if not stays.any():
            continue
        count = int(stays.sum())
        boxes = jnp.asarray(np.resize(boxes[stays], (most, 4)))  # one program for all images
        shifts = range(CELL + 1)
        seen = (image[n : n + sides[0], n : n + sides[1]] for n in shifts)
        cells = [ops.mean_pool(jnp.asarray(part), size=CELL) for part in seen]
        for name, way in ways.items():
            taken = [way(cells[n], boxes - n, output_size=4, scale=1 / CELL) for n in shifts]
            maps = np.stack(taken)[:, :count]
            changes[name].append(((maps - maps[0]) ** 2).mean(axis=(1, 2, 3, 4)) / maps[0].var())
    return {
        name: np.mean(values or [np.full(CELL + 1, np.nan)], axis=0)
        for name, values in changes.items()
    }


def features_section(changes: dict[str, np.ndarray], path: Path) -> Section:
    """The ways to take the features of a region, over the movement."""
    with plot(path, height=2.4) as (ax,):
        for number, (name, values) in enumerate(changes.items()):
            ax.plot(values, "o-", color=color(number), label=name)
        ax.set(xlabel="pixels that image and boxes move", ylabel="change of the features", ylim=0)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    text = (
        f"A map has the mean color of each {CELL}×{CELL} pixels. Image and boxes move together, so "
        "the objects' features should stay the same. Aligning takes means of samples between the "
        "cells. Rounded to cells before that, a box jumps, and so do its features; pooling rounds, "
        "too, and takes the largest value of a bin. After a whole cell all have what they had."
    )
    caption = "Squared difference from the features before, over their variance."
    return Section("Features of a region", text, [Figure(path, caption)])
