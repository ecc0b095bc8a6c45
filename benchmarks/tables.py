"""Writes docs/benchmarks.md from `results/*.json`, and prints the README's sentences on speed.

python -m benchmarks.tables
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.load import LIMIT

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ABSENT = "–"

HEAD = f"""# Benchmarks

`make bench` measures these again and writes `benchmarks/results/`; `python -m benchmarks.tables`
writes this page from there. The programs of a row take turns in one process, in random order; a
time is the median of the calls after a first one, which compiles. All libraries keep their memory
between calls (`runtime.keep_memory`), as `ljx run` does. A row during which other processes kept
more than {LIMIT} cores busy is marked as loaded and quoted nowhere. `{ABSENT}` stands for what was
not measured.
"""


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        title: its header.
        kind: how a cell is made: `text`, `time`, `number`, `rate`, `ratio` of two times,
            `quartiles of times`, `quartiles of rates`, or `others`.
        names: of the entries of a row that it is made from.
        meaning: the sentence that explains it.
    """

    title: str
    kind: str
    names: str
    meaning: str


class Table(NamedTuple):
    """A section of the page: the rows of one file of results, and what they are."""

    file: str
    title: str
    text: str
    columns: list[Column]


def conditions(name: str, what: str = "times") -> list[Column]:
    """The columns that say how far a row can be trusted; the first is of the named function."""
    meaning = f"First and third quartile of lectures_jax's own {what}."
    return [
        Column("quartiles", f"quartiles of {what}", name, meaning),
        Column("others", "others", "", "Cores that other processes kept busy during the row."),
    ]


CASE = Column("case", "text", "case", "What is computed.")
OURS = Column("lectures_jax", "time", "lectures_jax", "Median time of this library.")
OVER_PEER = Column("ratio", "number", "ratio", "Time of lectures_jax over the fastest peer's.")
TORCH = [
    Column("PyTorch", "time", "torch", "Median time of PyTorch in its default layout."),
    Column("channels_last", "time", "torch channels_last", "PyTorch with this memory layout."),
]
TABLES = [
    Table(
        "coco_map",
        "COCO's average precision",
        "From the arrays (lectures_jax) or the finished `COCO` objects (the peers) to the twelve "
        "numbers; every precision and recall equals pycocotools'.",
        [
            CASE,
            OURS,
            Column("pycocotools", "time", "pycocotools", "Median time of pycocotools."),
            Column("faster-coco-eval", "time", "faster-coco-eval", "Median of faster-coco-eval."),
            Column("ratio", "number", "ratio", "Time of lectures_jax over pycocotools'."),
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "nms",
        "Non-maximum suppression",
        "Suppression in one image, or in a batch by one `vmap`; the peers take one image after the "
        "other. A peer that would need more than 2 s is left out.",
        [
            Column("boxes", "text", "boxes", "`clustered` around objects, or `random` anywhere."),
            Column("number", "text", "number", "Boxes of each image."),
            Column(
                "classes", "text", "classes", "Boxes of two classes suppress none of the other."
            ),
            Column("images", "text", "images", "Images of one call."),
            Column("lectures_jax", "time", "ours", "Median time of `ops.nms`, all boxes kept."),
            Column("300 best", "time", "ours, best 300", "The same with `max_outputs=300`."),
            Column("torchvision", "time", "torchvision", "Its compiled operator."),
            Column("OpenCV", "time", "opencv", "Its compiled function."),
            Column(
                "ratio", "ratio", "ours|torchvision", "All boxes kept, over torchvision's time."
            ),
            *conditions("ours"),
        ],
    ),
    Table(
        "yolo_step",
        "A training step of the small YOLOv3",
        "Forward, loss, backward and AdamW. lectures_jax also encodes the targets and averages the "
        "parameters.",
        [CASE, OURS, *TORCH, OVER_PEER, *conditions("lectures_jax")],
    ),
    Table(
        "classifier_step",
        "A training step of two classifiers",
        "Forward, cross-entropy, backward and AdamW: the plain CNN on 28×28 gray images and "
        "ResNet-18 on 32×32 color images.",
        [CASE, OURS, *TORCH, OVER_PEER, *conditions("lectures_jax")],
    ),
    Table(
        "mlp_epoch",
        "An epoch of a multilayer perceptron",
        "784-256-128-10 units, 60,000 examples, batches of 128; lectures_jax runs the epoch as one "
        "compiled `scan`, PyTorch as a loop.",
        [CASE, OURS, TORCH[0], OVER_PEER, *conditions("lectures_jax")],
    ),
    Table(
        "import_time",
        "Import",
        "A fresh process that imports one module.",
        [
            Column("lectures_jax.ops", "time", "lectures_jax.ops", "Median time of this import."),
            Column("jax", "time", "jax", "Median time of `import jax`."),
            Column("ratio", "number", "ratio", "The first over the second."),
            *conditions("lectures_jax.ops"),
        ],
    ),
    Table(
        "diffusion",
        "Diffusion",
        "Samplers of the digits' U-Net, and its training step. The Python loop calls the compiled "
        "network; diffusers' schedulers call the same network.",
        [
            CASE,
            OURS,
            Column("loop", "time", "python loop", "A Python loop, arithmetic not compiled."),
            Column("compiled", "time", "python loop, compiled steps", "The loop, all compiled."),
            Column("diffusers", "time", "diffusers", "Median time with diffusers' scheduler."),
            *TORCH,
            OVER_PEER,
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "flow",
        "Training steps of a flow on two moons",
        "Eight couplings with conditioners of 50 units, batch 256, Adam; one compiled step per "
        "call in both libraries.",
        [
            CASE,
            Column("lectures_jax", "rate", "lectures_jax", "Steps per second of this library."),
            Column(
                "FlowJAX", "rate", "flowjax", "Steps per second with Adam as its training has it."
            ),
            Column("one vector", "rate", "flowjax, one vector", "FlowJAX, Adam on one vector."),
            Column("ratio", "number", "ratio", "Rate of lectures_jax over FlowJAX's."),
            Column("to one vector", "number", "ratio, one vector", "Over FlowJAX's on one vector."),
            *conditions("lectures_jax", "rates"),
        ],
    ),
    Table(
        "style_step",
        "A step of style transfer",
        "The pixels of an image of 256×256 by Adam, with a content loss in one layer of VGG-19 and "
        "style losses in five; random weights, the same on all sides.",
        [
            CASE,
            OURS,
            Column("in a loop", "time", "lectures_jax loop", "One of 20 steps of one program."),
            *TORCH,
            OVER_PEER,
            Column("loop / alone", "number", "loop over step", "Ours in the loop over alone."),
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "dream_step",
        "Deep dreams",
        "One of 20 steps on an image of 384×384 with SqueezeNet 1.1; and whole dreams of five "
        "octaves of 20 steps in a fresh process, imports and compilation counted.",
        [
            CASE,
            OURS,
            Column("cached", "time", "cached", "The same with a filled compilation cache."),
            *TORCH,
            OVER_PEER,
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "stylize",
        "An image repainted by a network",
        "The image transformation network on 720×720 pixels, with the parameters of one in both.",
        [
            CASE,
            OURS,
            Column("onnxruntime", "time", "onnxruntime", "Median time of onnxruntime."),
            OVER_PEER,
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "convolution",
        "Convolutions and pooling",
        "Times of lectures_jax over those of XLA's own operations, as JAX calls them; batch 8, for "
        "bilinear upsampling 1.",
        [
            CASE,
            Column("forward", "ratio", "ours forward|xla forward", "The value."),
            Column("dX", "ratio", "ours dX|xla dX", "The gradient by the images."),
            Column("dW", "ratio", "ours dW|xla dW", "The gradient by the kernel."),
            Column("step", "ratio", "ours step|xla step", "Value, gradients and update."),
            Column("in a loop", "ratio", "ours loop|xla loop", "A step inside of a `scan`."),
            Column("loop / alone", "ratio", "ours loop|ours step", "Ours in a `scan` over alone."),
            *conditions("ours step"),
        ],
    ),
]


def is_measured(table: Table) -> bool:
    """Whether there are results of a table."""
    return (RESULTS / f"{table.file}.json").exists()


def load_results(file: str) -> dict[str, Any]:
    """The machine and the rows of one file of results."""
    return json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))


def duration(seconds: float) -> str:
    """A time in milliseconds below a tenth of a second, in seconds above."""
    number, unit = (1e3 * seconds, "ms") if seconds < 0.1 else (seconds, "s")
    return f"{number:.2f} {unit}" if number < 10 else f"{number:.1f} {unit}"


def cell(row: dict[str, Any], column: Column) -> str:
    """The text of one cell."""
    entries = {**row.get("seconds", {}), **row}
    values: list[Any] = [entries.get(name) for name in column.names.split("|")]
    if column.kind == "others":
        return load_cell(row)
    if column.kind.startswith("quartiles"):
        if "quartiles" not in row:
            return ABSENT
        show = "{:.0f}".format if "rates" in column.kind else duration
        return " to ".join(show(q) for q in row["quartiles"][column.names])
    if None in values:
        return ABSENT
    match column.kind:
        case "time":
            return duration(values[0])
        case "number":
            return f"{values[0]:.2f}"
        case "rate":
            return f"{values[0]:.0f}"
        case "ratio":
            return f"{values[0] / values[1]:.2f}"
        case _:
            return str(values[0])


def load_cell(row: dict[str, Any]) -> str:
    """The cores that others kept busy, and the mark of a loaded row."""
    if "load" not in row:
        return ABSENT
    others = row["load"]["others"]
    text = ABSENT if others is None else f"{others:.2f}"
    return f"{text}, loaded" if row["loaded"] else text


def render(table: Table) -> str:
    """One section of the page: what it is, the rows, the columns' meanings; or how to get rows."""
    if not is_measured(table):
        how = f"Not measured yet: `python -m benchmarks.{table.file}` does it."
        return "\n".join([f"## {table.title}\n", f"{table.text}\n", how, ""])
    titles = [column.title for column in table.columns]
    rows = [[cell(row, c) for c in table.columns] for row in load_results(table.file)["rows"]]
    lines = [f"| {' | '.join(line)} |" for line in [titles, ["---"] * len(titles), *rows]]
    meanings = [f"- **{c.title}**: {c.meaning}" for c in table.columns]
    return "\n".join([f"## {table.title}\n", f"{table.text}\n", *lines, "", *meanings, ""])


def machines() -> str:
    """The machines that the results come from, with their tables."""
    titles: dict[str, list[str]] = {}
    for table in filter(is_measured, TABLES):
        m = load_results(table.file)["machine"]
        machine = f"{m['processor']}, {m['cores']} cores, {m['system']}"
        machine += f", Python {m['python']}, JAX {m['versions']['jax']}"
        titles.setdefault(machine, []).append(table.title)
    if len(titles) == 1:
        return f"All were measured on: {next(iter(titles))}.\n"
    return "\n".join(f"- {', '.join(names)}: {m}." for m, names in titles.items()) + "\n"


def page() -> str:
    """The text of docs/benchmarks.md."""
    return "\n".join([HEAD, machines(), *map(render, TABLES)])


def headlines() -> list[str]:
    """The sentences on speed that the README quotes, without those of loaded rows."""
    coco, step = (load_results(file)["rows"][0] for file in ("coco_map", "yolo_step"))
    scene = {"boxes": "random", "number": 1000, "classes": 1, "images": 1}
    nms = next(row for row in load_results("nms")["rows"] if scene.items() <= row.items())
    times = nms["seconds"]
    sentences = [
        f"COCO's average precision of 500 images takes {duration(coco['lectures_jax'])}, with "
        f"pycocotools {duration(coco['pycocotools'])}; the results are bit-equal.",
        f"Suppression among 1,000 random boxes takes {duration(times['ours'])}, with torchvision's "
        f"compiled operator {duration(times['torchvision'])}.",
        f"A training step of the small YOLOv3 takes {duration(step['lectures_jax'])}, with PyTorch "
        f"{duration(min(step['torch'], step['torch channels_last']))}.",
    ]
    rows = zip((coco, nms, step), sentences, strict=True)
    return [sentence for row, sentence in rows if not row.get("loaded", False)]


def main() -> None:
    """Writes the page and prints the sentences."""
    PAGE.write_text(page(), encoding="utf-8")
    print("\n".join(headlines()))


if __name__ == "__main__":
    main()
