"""A classifier as a convolution over a larger image. CPU, 2 min; gap 2e-6, hit rate 0.83.

Section 3.11: a classifier of windows of 32×32 pixels is slid over a scene that is many times as
large, by its own layers: the first dense layer becomes a convolution with the size of its feature
map (here a mean over windows of that size), and the others 1×1 convolutions. All windows share the
maps where they overlap, and the result is the same number at every position. A classifier that pads
its maps with zeros is converted too, and measured: its windows miss the zeros of their borders.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, report, runtime, train
from lectures_jax.data.digits import Split
from lectures_jax.data.records import Dataset, Record
from lectures_jax.models.cnn import Cnn
from lectures_jax.models.convolutionalization import FullyConvolutional, convolutionalize
from lectures_jax.recipes.optimizers import adam
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import plot
from lectures_jax.typing import Batch

TINY = {"scenes": 4, "side": 64, "steps": 2, "batch_size": 4, "channels": ((2,), (2, 2), (2,))}
EXPECTED = {"gap": (None, 1e-4), "hit_rate": (0.75, None), "gap_with_padding": (0.1, None)}
CLASSES = ("background", *"0123456789")
WINDOW = 32  # rows and columns that the classifier sees
DIGITS = (18.0, 26.0)  # heights of the digits, in pixels


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    scenes: int = 1500
    """small scenes that windows are cut from to train on"""
    side: int = 256
    """rows and columns of the scene that is searched, in pixels"""
    steps: int = 500
    """training steps of each classifier"""
    batch_size: int = 64
    """windows per step"""
    learning_rate: float = 3e-3
    """of Adam; it falls along a cosine to zero"""
    channels: tuple[tuple[int, ...], ...] = ((16,), (32, 32), (64,))
    """of the convolutions of each stage"""
    seed: int = 0
    """of scenes, parameters and order"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains two classifiers, slides them over a scene in two ways, and writes the report."""
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    key, *keys = jax.random.split(jax.random.key(config.seed), 4)
    examples = windows(scenes(key, "train", config.scenes, 96), seed=config.seed)
    scene = scenes(key, "test", 1, config.side)[0]
    networks, results = {}, {}
    for padding, key in zip(("VALID", "SAME"), keys, strict=False):
        model = trained(key, examples, config, padding, out / padding.lower())
        networks[padding] = convolutionalize(model, image_size=(WINDOW, WINDOW))
        results[padding] = compare(model, networks[padding], pixels(scene))
    numbers = {
        "gap": results["VALID"]["gap"],
        "gap_with_padding": results["SAME"]["gap"],
        "agreement_with_padding": results["SAME"]["agreement"],
        "hit_rate": hit_rate(networks["VALID"], scenes(keys[2], "test", 24, config.side)),
    }
    sections = [
        heat_maps(scene, networks["VALID"], figures / "heat.png"),
        two_ways(results),
        shapes(networks["VALID"]),
        report.configuration(asdict(config)),
    ]
    faster = results["VALID"]["slid"] / results["VALID"]["convolution"]
    write_report(out, sections, numbers, faster)
    return numbers


def scenes(key: jax.Array, split: Split, count: int, side: int) -> Dataset:
    """Scenes with digits of about one size."""
    most = max(side**2 // 2500, 1)
    return data.digit_scenes(
        *(key,),
        count=count,
        split=split,
        size=side,
        min_digits=max(most // 2, 1),
        max_digits=min(most, 16),
        min_size=DIGITS[0],
        max_size=DIGITS[1],
        max_overlap=0.0,
    )


def windows(dataset: Dataset, *, seed: int) -> Batch:
    """Windows with a digit near their middle, and as many with none there."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for record in dataset:
        image = np.asarray(record.image)
        last = image.shape[0] - WINDOW
        middles = centers(record)
        corners = middles - WINDOW / 2 + rng.uniform(-4, 4, middles.shape)
        others = rng.uniform(0, last, (4 * len(middles), 2))
        distance = np.abs(others[:, None] + WINDOW / 2 - middles).max(axis=2).min(axis=1)
        others = others[distance > 12][: len(middles)]
        of_digits = (corners >= 0).all(axis=1) & (corners <= last).all(axis=1)
        kept = np.rint(np.concatenate([corners[of_digits], others])).astype(int)
        images += [image[y : y + WINDOW, x : x + WINDOW] for x, y in kept]
        labels += [*(record.labels[of_digits] + 1), *[0] * len(others)]
    return {
        "image": np.divide(np.stack(images), 255, dtype=np.float32),
        "labels": np.asarray(labels, np.int32),
    }


def centers(record: Record) -> np.ndarray:
    """The middle of each digit, x and y."""
    return (record.boxes[:, :2] + record.boxes[:, 2:]) / 2


def trained(key: jax.Array, examples: Batch, config: Config, padding: str, out: Path) -> Cnn:
    """A classifier of windows, in evaluation mode."""
    key_init, key_train = jax.random.split(key)
    model = Cnn(len(CLASSES), channels=config.channels, padding=padding, rngs=nnx.Rngs(key_init))
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    model, _ = train.fit(
        key_train,
        model,
        objectives.classification,
        adam(schedule),
        data.batches(examples, batch_size=config.batch_size, seed=config.seed),
        steps=config.steps,
        out=out,
        augment=jitter,
        log_every=max(config.steps // 10, 1),
    )
    return model


def jitter(key: jax.Array, batch: Batch) -> Batch:
    """Windows of other brightness and contrast."""
    key_factor, key_shift = jax.random.split(key)
    shape = (len(batch["image"]), 1, 1, 1)
    factor = jax.random.uniform(key_factor, shape, minval=0.8, maxval=1.25)
    shift = jax.random.uniform(key_shift, shape, minval=-0.1, maxval=0.1)
    return {**batch, "image": jnp.clip(factor * (batch["image"] - 0.5) + 0.5 + shift, 0, 1)}


def pixels(record: Record) -> jax.Array:
    """A scene in [0, 1], as a batch of one."""
    return jnp.asarray(record.image, jnp.float32)[None] / 255


@jax.jit
def call(model: nnx.Module, images: jax.Array) -> jax.Array:
    """The logits."""
    return model(images)  # pyright: ignore[reportCallIssue]


def compare(model: Cnn, network: FullyConvolutional, image: jax.Array) -> Mapping[str, float]:
    """The classifier slid over the image window by window, and by one convolution of it."""
    logits = np.asarray(call(network, image)[0])
    stride = network.stride
    corners = [
        (stride * p, stride * q) for p in range(logits.shape[0]) for q in range(logits.shape[1])
    ]
    parts = np.stack([np.asarray(image)[0, y : y + WINDOW, x : x + WINDOW] for y, x in corners])

    def slide() -> np.ndarray:
        return np.concatenate([call(model, part) for part in np.split(parts, batches)])

    batches = max(n for n in range(1, 65) if len(parts) % n == 0)
    slid = slide().reshape(logits.shape)
    return {
        "positions": len(parts),
        "gap": float(np.abs(slid - logits).max()),
        "agreement": float(np.mean(slid.argmax(axis=-1) == logits.argmax(axis=-1))),
        "slid": seconds(slide),
        "convolution": seconds(lambda: jax.block_until_ready(call(network, image))),
    }


def seconds(function: Callable[[], object]) -> float:
    """The least time of three calls; the programs are compiled."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def hit_rate(network: FullyConvolutional, dataset: Dataset) -> float:
    """The share of the digits whose class is the likeliest of all at the position nearest to them.

    The background does not compete: it is not asked whether, but which digit there is.
    """
    hits = []
    for record in dataset:
        digits = np.asarray(call(network, pixels(record))[0, ..., 1:]).argmax(axis=-1)
        cells = np.rint((centers(record) - WINDOW / 2) / network.stride).astype(int)
        inside = ((cells >= 0) & (cells < digits.shape[0])).all(axis=1)
        x, y = cells[inside].T
        hits += list(digits[y, x] == record.labels[inside])
    return float(np.mean(hits))


def heat_maps(scene: Record, network: FullyConvolutional, path: Path) -> Section:
    """The scene, where a digit is likely at all, and how likely each one is."""
    logits = call(network, pixels(scene))[0]
    likely = np.asarray(jax.nn.softmax(logits))
    image = np.asarray(scene.image)
    first = (WINDOW - network.stride) / 2  # a cell is drawn around the middle of its window
    last = first + network.stride * len(likely)
    with plot(path, rows=3, columns=4, height=3.9) as axes:
        axes[0].imshow(image)
        axes[0].set_title("scene", fontsize=7)
        maps = [1 - likely[..., 0], *np.moveaxis(likely[..., 1:], -1, 0)]
        names = ["any digit", *CLASSES[1:]]
        for ax, values, name in zip(axes[1:], maps, names, strict=True):
            ax.imshow(image.mean(axis=-1), cmap="gray", alpha=0.35)
            extent = (first, last, last, first)
            ax.imshow(values, cmap="magma", vmin=0, vmax=1, alpha=0.75, extent=extent)
            ax.set_title(name, fontsize=7)
        for ax in axes:
            ax.set(xlim=(0, len(image)), ylim=(len(image), 0))
            ax.set_axis_off()
    text = (
        "At each position, how likely the window around it shows a digit at all, and how likely it "
        "shows each of them. The network was trained on windows alone."
    )
    return Section("Heat maps", text, figures=[Figure(path, "Bright: likely.")])


def two_ways(results: Mapping[str, Mapping[str, float]]) -> Section:
    """Both ways to slide both classifiers."""
    names = {"VALID": "no padding", "SAME": "zeros around each map"}
    rows = [
        (names[p], *(r[k] for k in ("positions", "gap", "agreement", "slid", "convolution")))
        for p, r in results.items()
    ]
    header = ("classifier", "positions", "largest gap", "same class", "s, by windows", "s, at once")
    return Section(
        "Window by window, and at once",
        "The logits of the two ways differ by rounding where nothing is padded. With padding they "
        "are those of two networks: a window of the scene has pixels around it where the "
        "classifier was trained with zeros.",
        table=Table(header, rows),
    )


def shapes(network: FullyConvolutional) -> Section:
    """What became of the dense layer."""
    over = "×".join(map(str, network.mean_over or ()))
    kernels = "; ".join("×".join(map(str, conv.kernel.shape)) for conv in network.convs)
    return Section(
        "The converted layers",
        f"The dense layer became a convolution of shape {kernels}, and the mean over the map the "
        f"mean over windows of {over} cells. Positions are {network.stride} pixels apart.",
    )


def write_report(
    out: Path, sections: list[Section], numbers: Mapping[str, float], faster: float
) -> None:
    """Writes `report.html`."""
    report.page(
        out / "report.html",
        title="Convolutionalization",
        summary="A classifier of windows becomes a network that classifies all windows at once.",
        numbers={
            "largest gap to the classifier window by window": numbers["gap"],
            "times faster than window by window": faster,
            "share of the digits that are classified rightly": numbers["hit_rate"],
        },
        sections=sections,
        footer=runtime.environment(),
    )
