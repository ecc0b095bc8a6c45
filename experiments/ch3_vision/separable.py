"""Separable convolutions against plain ones. CPU, 2 min; parameters at equal accuracy 0.57.

A plain network is compared with separable ones of equal width, of about equal parameters, and of
equal accuracy, by validation images: test accuracy, parameters, operations and the time of a
training step. `--data idx --root DIR` does the same with a set in MNIST's format.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from matplotlib.patches import Rectangle

from lectures_jax import data, objectives, ops, report, runtime, train
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.nn.separable import SeparableConv
from lectures_jax.ops.counting import Count
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot
from lectures_jax.typing import Batch, Key

EXPECTED = {
    "equal_width_parameters": (None, 0.2),
    "equal_width_operations": (None, 0.2),
    "equal_width_gap": (-0.03, None),
    "equal_parameters_gap": (-0.01, None),
    "equal_accuracy_parameters": (None, 0.8),
    "equal_accuracy_gap": (-0.015, None),
}
TINY = {"width": 4, "separable": (4,), "steps": 2, "seeds": 1, "images": 64}
KERNEL = 3  # rows and columns of a filter
VALIDATION = 0.1  # of the training images of files
TOLERANCE = 0.015  # of validation accuracy that counts as equal


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["digits", "idx"] = "digits"
    """the built-in digits, or four files in MNIST's format"""
    root: Path | None = None
    """folder of {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"""
    images: int | None = None
    """to train on, at most; None for all"""
    width: int = 16
    """channels of the plain network"""
    separable: tuple[int, ...] = (8, 16, 24, 32)
    """channels of the separable ones, beside those of about the plain network's parameters"""
    steps: int = 400
    """of each training"""
    batch_size: int = 64
    """images per step"""
    learning_rate: float = 1e-2
    """highest of Adam's one-cycle schedule"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters and order"""


class Network(nnx.Module):
    """A plain convolution, then a convolution on the full map and one on the halved."""

    def __init__(self, separable: bool, width: int, *, inputs: int, classes: int, rngs: nnx.Rngs):
        size = (KERNEL, KERNEL)
        self.first = Conv(inputs, width, size, use_bias=False, rngs=rngs)
        self.second, self.third = (
            SeparableConv(width, width, KERNEL, use_bias=False, rngs=rngs)
            if separable
            else Conv(width, width, size, use_bias=False, rngs=rngs)
            for _ in range(2)
        )
        self.norms = nnx.List(BatchNorm(width, momentum=0.9, rngs=rngs) for _ in range(3))
        self.classify = Linear(width, classes, rngs=rngs)

    def __call__(self, images: jax.Array, *, key: Key | None = None) -> jax.Array:
        """Scores of the classes."""
        x = images
        for layer, norm in zip((self.first, self.second, self.third), self.norms, strict=True):
            x = ops.max_pool(x, size=2) if layer is self.third else x
            x = jax.nn.relu(norm(layer(x)))
        return self.classify(x.mean(axis=(1, 2)))


class Trained(NamedTuple):
    """What the trainings of one network left."""

    width: int
    validation: np.ndarray  # accuracy [seed]
    test: np.ndarray  # accuracy [seed]
    cost: Count  # of the two convolutions that differ
    milliseconds: np.ndarray  # of a training step, medians [seed]


class Task(NamedTuple):
    """Images to train on, to choose by and to test with."""

    train: Batch
    validation: Batch
    test: Batch
    classes: int


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all, and writes the report."""
    task = read(config)
    side = task.test["image"].shape[1]
    plain = train_networks(config, task, False, config.width)
    equal = separable_width(config.width, side)
    widths = sorted({config.width, equal, *config.separable})
    separable = {width: train_networks(config, task, True, width) for width in widths}
    chosen = {
        "equal width": separable[config.width],
        "equal parameters": separable[equal],
        "equal accuracy": as_accurate(plain, list(separable.values())),
    }
    numbers = {}
    for name, x in chosen.items():
        prefix = name.replace(" ", "_")
        numbers[f"{prefix}_gap"] = float(x.test.mean() - plain.test.mean())
        numbers[f"{prefix}_parameters"] = x.cost.parameters / plain.cost.parameters
        numbers[f"{prefix}_operations"] = x.cost.flops / plain.cost.flops
        numbers[f"{prefix}_time"] = float(x.milliseconds.mean() / plain.milliseconds.mean())
    write_report(config, out, plain, list(separable.values()), chosen)
    return numbers


def as_accurate(plain: Trained, separable: list[Trained]) -> Trained:
    """The narrowest that is as accurate as the plain one but for `TOLERANCE`, or the widest."""
    separable = sorted(separable, key=lambda x: x.width)
    least = plain.validation.mean() - TOLERANCE
    return next((x for x in separable if x.validation.mean() >= least), separable[-1])


def read(config: Config) -> Task:
    """The images of a set, of which some to train on are kept for the choice."""
    splits = data.read_classified(config.data, config.root)
    if config.data == "digits":
        validation, rows = data.digits(split="validation"), slice(config.images)
        training = splits.train
    else:
        kept = round(VALIDATION * len(splits.train["labels"]))
        validation = {name: x[:kept] for name, x in splits.train.items()}
        training, rows = {name: x[kept:] for name, x in splits.train.items()}, slice(config.images)
    training = {name: x[rows] for name, x in training.items()}
    return Task(training, validation, splits.test, len(splits.classes))


def count(separable: bool, width: int, side: int) -> Count:
    """Parameters and operations of the two convolutions that differ, for one image."""
    counter = ops.count_separable if separable else ops.count_conv
    both = [counter(width, width, kernel=KERNEL, size=n, bias=False) for n in (side, side // 2)]
    return Count(sum(x.parameters for x in both), sum(x.flops for x in both))


def separable_width(width: int, side: int) -> int:
    """The width at which separable convolutions come nearest to the parameters of plain ones."""
    target = count(False, width, side).parameters
    widths = range(1, KERNEL**2 * width)
    return min(widths, key=lambda n: abs(count(True, n, side).parameters - target))


def train_networks(config: Config, task: Task, separable: bool, width: int) -> Trained:
    """Trains a network of each seed by one compiled step."""
    optimizer = optax.adam(optax.cosine_onecycle_schedule(config.steps, config.learning_rate))
    sizes = {"inputs": task.test["image"].shape[-1], "classes": task.classes}
    models = [
        Network(separable, width, **sizes, rngs=nnx.Rngs(config.seed + i))
        for i in range(config.seeds)
    ]
    structure, _ = train.init(jax.random.key(0), models[0], optimizer)
    step = train.make_step(structure, objectives.classification, optimizer)
    scores, times = [], []
    for seed, model in enumerate(models, config.seed):
        _, state = train.init(jax.random.key(seed), model, optimizer)
        batches = data.batches(task.train, batch_size=config.batch_size, seed=seed)
        spent = []
        for _ in range(config.steps):
            batch = next(batches)
            begin = time.perf_counter()
            state, _ = step(state, batch)
            jax.block_until_ready(state.params)
            spent.append(1000 * (time.perf_counter() - begin))
        times.append(np.median(spent))
        model = train.rebuild(structure, state)
        scores.append([accuracy(model, x) for x in (task.validation, task.test)])
    validation, test = np.array(scores).T
    cost = count(separable, width, task.test["image"].shape[1])
    return Trained(width, validation, test, cost, np.array(times))


def accuracy(model: Network, examples: Batch) -> float:
    """The share of images whose class has the highest score."""
    logits = train.predict(model, examples["image"])
    return float(np.mean(np.argmax(logits, axis=-1) == examples["labels"]))


Stage = tuple[list[str], int, str]  # colors of the channels, cells of the window, name


def draw_convolution(path: Path, stages: list[Stage], steps: list[str]) -> None:
    """Channels one behind the other, stage by stage, and what leads from each to the next."""
    style = {"arrowstyle": "-|>", "color": INK, "lw": 1.0}
    with plot(path, height=1.5) as (ax,):
        for x, (shades, window, name) in zip(range(0, 21, 7), stages, strict=False):
            for depth in reversed(range(len(shades))):
                shift, frame = 0.45 * depth, {"ec": shades[depth], "lw": 1.0}
                ax.add_patch(Rectangle((x + shift, shift), 2, 2, fc="none", **frame))
                corner, side = (x + 0.4 + shift, 0.4 + shift), 0.4 * window
                ax.add_patch(Rectangle(corner, side, side, fc=shades[depth], alpha=0.6, **frame))
            ax.text(x + 1.2, -0.3, name, ha="center", va="top", size=7)
        for x, text in zip(range(0, 14, 7), steps, strict=False):
            ax.annotate("", (x + 6.6, 1.0), (x + 3.3, 1.0), arrowprops=style)
            ax.text(x + 5, 1.2, text, ha="center", va="bottom", size=6.5)
        ax.set(xlim=(-0.3, 17), ylim=(-1.1, 3.2), aspect="equal")
        ax.axis("off")


def figures_section(figures: Path) -> Section:
    """Figures 3.1 and 3.2."""
    channels: Stage = ([color(n) for n in range(3)], 3, "c channels")
    alone: Stage = (channels[0], 1, "c channels")
    mixed: Stage = ([color(3)], 1, "an output channel")
    both, own = "k × k × c weights\nfor each output", "k × k weights\nfor each channel"
    draw_convolution(figures / "plain.svg", [channels, mixed], [both])
    steps = [own, "1 × 1 × c weights\nfor each output"]
    draw_convolution(figures / "separable.svg", [channels, alone, mixed], steps)
    return Section(
        "Both convolutions",
        "A plain convolution looks at a window of all channels at once. A separable one filters "
        "each channel by itself, and then mixes the channels cell by cell.",
        figures=[
            Figure(figures / "plain.svg", "Plain: over all channels at once."),
            Figure(figures / "separable.svg", "Separable: depth-wise, then 1×1."),
        ],
    )


def draw_accuracies(groups: dict[str, list[Trained]], path: Path) -> None:
    """Test accuracy over the parameters, a dot for each seed."""
    with plot(path, height=2.8) as (ax,):
        for number, (name, rows) in enumerate(groups.items()):
            parameters = [x.cost.parameters for x in rows]
            tested = np.array([x.test for x in rows])
            ax.plot(parameters, tested.mean(axis=1), "-o", color=color(number), ms=5, label=name)
            ax.plot(parameters, tested, "o", color=color(number), ms=2.5, alpha=0.6)
        ax.set(xlabel="parameters of the two layers", ylabel="test accuracy")
        ax.legend(loc="lower right")


def write_report(
    config: Config, out: Path, plain: Trained, separable: list[Trained], chosen: dict[str, Trained]
) -> None:
    """Writes `report.html`."""
    figures, spread, rows = out / "figures", report.mean_and_deviation, []
    figures.mkdir(parents=True, exist_ok=True)
    draw_accuracies({"plain": [plain], "separable": separable}, figures / "accuracy.svg")
    for x in (plain, *separable):
        which = [name for name, choice in chosen.items() if choice is x]
        name = "plain" if x is plain else ", ".join(["separable", *which])
        scores = [spread(v, digits=3) for v in (x.validation, x.test)]
        times = spread(x.milliseconds, digits=1)
        rows.append((name, x.width, x.cost.parameters, x.cost.flops, times, *scores))
    header = ("network", "channels", "parameters", "operations", "ms per step", "validation")
    report.page(
        out / "report.html",
        title="Separable convolutions",
        summary="What separating space and channels keeps of the accuracy, and what it saves.",
        numbers={
            f"test accuracy over plain, {name}": float(x.test.mean() - plain.test.mean())
            for name, x in chosen.items()
        },
        sections=[
            figures_section(figures),
            Section(
                "Accuracy and cost",
                "Three convolutions, of which the second and the third are plain or separable; "
                "parameters and operations (for one image) are those of the two. Equal accuracy "
                f"is that of the narrowest that loses at most {TOLERANCE} of the validation "
                "accuracy. Time does not follow the operations on a CPU: a depth-wise filter does "
                "little with each number that it reads.",
                figures=[Figure(figures / "accuracy.svg", "Test accuracy by parameters.")],
                table=Table((*header, "test"), rows),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
