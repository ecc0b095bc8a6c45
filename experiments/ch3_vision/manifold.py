"""How far from the data an attack leads, and a dream. CPU, 2 min; ROC-AUC of attacks 0.997.

Test images are moved by the same length in four ways: at random, by an attack on a classifier, by a
dream that enhances what the classifier sees, and towards a real image of another class. How far the
results are from the data is measured by the error of an autoencoder and by the nearest training
image. Then pairs of images are joined by straight lines and by lines between their codes.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, metrics, report, runtime, train
from lectures_jax.models.autoencoder import Autoencoder
from lectures_jax.recipes import autoencoder, classifier, moves
from lectures_jax.recipes.autoencoder import reconstruction_error
from lectures_jax.recipes.generator import Kind
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch

EXPECTED = {"attack_area": (0.95, None), "dream_over_attack": (None, 1.0)}
THREADED_CONVOLUTIONS = True  # the maps are small, so the convolutions are XLA's own
TINY = {
    "coder_steps": 2,
    "classifier_steps": 2,
    "classifier_channels": 2,
    "lengths": (1.0,),
    "images": 16,
    "seeds": 1,
}
SHOWN = 10  # images in a figure
TIMES = 9  # images of a path, with both ends


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    lengths: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    """Euclidean lengths by which images are moved, the pixels being in [0, 1]"""
    images: int = 500
    """test images that are moved, and pairs of them that are joined, at most"""
    coder_steps: int | None = None
    """of the autoencoder's training; None: 1200 for digits, 4000 for files"""
    classifier_steps: int | None = None
    """of the classifier's training; None: 600 for digits, 3000 for files"""
    classifier_channels: int = 16
    """of its first convolution"""
    seeds: int = 3
    """repetitions of everything, with other networks"""
    seed: int = 0
    """of the first parameters, order, noise and pairs"""


class Networks(NamedTuple):
    """A classifier and an autoencoder of the same images."""

    classifier: Any
    coder: Any


def run(config: Config, out: Path) -> dict[str, float]:
    """Moves images, joins pairs, and writes the report."""
    splits = data.read_classified(config.data, config.root)
    test = {name: values[: config.images] for name, values in splits.test.items()}
    networks, changed, measured, paths = [], [], [], []
    for seed in range(config.seed, config.seed + config.seeds):
        networks.append(train_networks(config, splits, out / str(seed), seed))
        changed.append(move_all(config, networks[-1], splits, test, seed))
        measured.append(measure(networks[-1], changed[-1], splits, test))
        paths.append(join(networks[-1], splits, test, seed))
    measured, paths = (
        {name: np.stack([result[name] for result in results]) for name in results[0]}
        for results in (measured, paths)
    )
    numbers = {
        f"{way.replace(' ', '_')}_{name}": float(values[:, number, -1].mean())
        for number, way in enumerate(moves.WAYS)
        for name, values in measured.items()
    }
    for name, values in paths.items():
        numbers[name.replace(" ", "_")] = float(values[:, TIMES // 2].mean())
    attack, dream = (moves.WAYS.index(way) for way in ("attack", "dream"))
    numbers["attack_area_shortest"] = float(measured["area"][:, attack, 0].mean())
    distance = measured["neighbor"].mean(axis=(0, 2))
    numbers["dream_over_attack"] = float(distance[dream] / distance[attack])
    write_report(config, out, networks[0], changed[0], test, measured, paths, numbers)
    return numbers


def train_networks(config: Config, splits: data.Splits, out: Path, seed: int) -> Networks:
    """Both networks of one seed."""
    folders = [out / name for name in ("classifier", "autoencoder")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    sizes = {"steps": config.classifier_steps, "channels": config.classifier_channels}
    settings = classifier.with_defaults(classifier.Settings(**sizes), config.data)
    coder = autoencoder.with_defaults(autoencoder.Settings(steps=config.coder_steps), config.data)
    return Networks(
        classifier.train(settings, splits, folders[0], seed=seed).model,
        autoencoder.train(coder, splits.train["image"], folders[1], seed=seed).model,
    )


def move_all(
    config: Config, networks: Networks, splits: data.Splits, test: Batch, seed: int
) -> np.ndarray:
    """The test images after each way and length, [ways, lengths, n, h, w, c]."""
    sets = jax.random.key(seed), networks.classifier, test, splits.train
    results = [moves.move(*sets, length=length) for length in config.lengths]
    return np.stack([[images[way] for images in results] for way in moves.WAYS])


def measure(
    networks: Networks, changed: np.ndarray, splits: data.Splits, test: Batch
) -> dict[str, np.ndarray]:
    """For each way and length: accuracy, error and neighbor over the clean ones', and the area."""
    images, labels = test["image"], test["labels"]
    clean = reconstruction_error(networks.coder, images)
    distance = np.mean(moves.pixel_distance(images, splits.train["image"]).min(axis=1))
    positive = jnp.arange(2 * len(images)) >= len(images)
    results = {
        name: np.zeros(changed.shape[:2]) for name in ("accuracy", "error", "neighbor", "area")
    }
    for cell in np.ndindex(changed.shape[:2]):
        error = reconstruction_error(networks.coder, changed[cell])
        batch = {"image": changed[cell], "labels": labels}
        results["accuracy"][cell] = classifier.accuracy(networks.classifier, batch)
        results["error"][cell] = error.mean() / clean.mean()
        nearest = moves.pixel_distance(changed[cell], splits.train["image"]).min(axis=1)
        results["neighbor"][cell] = nearest.mean() / distance
        both = jnp.concatenate([clean, error])
        results["area"][cell] = metrics.roc_auc(both, positive)
    return results


def join(networks: Networks, splits: data.Splits, test: Batch, seed: int) -> dict[str, np.ndarray]:
    """Along straight lines and lines between codes: accuracy, confidence and nearest image.

    Accuracy is of pairs of one class; confidence, the largest probability, and the distance of the
    nearest training image are of pairs of two.
    """
    rng = np.random.default_rng(seed)
    first = rng.permutation(len(test["labels"]))
    alike = test["labels"][first][:, None] == test["labels"]
    same, other = (
        np.array([rng.choice(np.flatnonzero(row)) for row in rows]) for rows in (alike, ~alike)
    )
    results = {}
    for way in ("straight", "latent"):
        for name, second in (("same", same), ("other", other)):
            path = lines(networks.coder, test["image"][first], test["image"][second], way)
            flat = path.reshape(-1, *path.shape[2:])
            chances = classifier.probabilities(networks.classifier, flat)
            chances = chances.reshape(TIMES, len(first), -1)
            if name == "same":
                right = np.argmax(chances, axis=-1) == test["labels"][first]
                results[f"{way} accuracy"] = right.mean(axis=1)
            else:
                nearest = moves.pixel_distance(flat, splits.train["image"]).min(axis=1)
                results[f"{way} confidence"] = chances.max(axis=-1).mean(axis=1)
                results[f"{way} neighbor"] = nearest.reshape(TIMES, -1).mean(axis=1)
    return results


def lines(coder: Any, a: np.ndarray, b: np.ndarray, way: str) -> np.ndarray:
    """Images from a to b, [TIMES, n, h, w, c]."""
    shares = np.linspace(0, 1, TIMES, dtype=np.float32)
    if way == "straight":
        return np.stack([(1 - t) * a + t * b for t in shares])
    z, w = (train.predict(coder, x, function=Autoencoder.encode) for x in (a, b))
    return np.stack(
        [train.predict(coder, (1 - t) * z + t * w, function=Autoencoder.decode) for t in shares]
    )


def write_report(
    config: Config,
    out: Path,
    networks: Networks,
    changed: np.ndarray,
    test: Batch,
    measured: dict[str, np.ndarray],
    paths: dict[str, np.ndarray],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title="The manifold of the data",
        summary="How far from the data images get by the same length, and what lies between two.",
        numbers={
            f"area of attacks of length {config.lengths[-1]:g}": numbers["attack_area"],
            "autoencoder's error after an attack, over clean": numbers["attack_error"],
            "nearest image after a dream over after an attack": numbers["dream_over_attack"],
        },
        sections=[
            moved_section(config, changed, test, measured, figures / "moved.svg"),
            paths_section(networks, test, paths, figures / "paths.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def moved_section(
    config: Config, changed: np.ndarray, test: Batch, measured: dict[str, np.ndarray], path: Path
) -> Section:
    """Images, curves and numbers of the four ways."""
    titles = {
        "error": "autoencoder's error, over clean",
        "neighbor": "nearest training image, over clean",
        "accuracy": "accuracy of the classifier",
    }
    with plot(path, rows=3, height=6.0) as axes:
        for ax, (name, title) in zip(axes, titles.items(), strict=True):
            draw_lines(
                ax,
                config.lengths,
                dict(zip(moves.WAYS, measured[name].swapaxes(0, 1), strict=True)),
            )
            ax.set_title(title, fontsize=8.5)
        axes[0].legend(loc="upper left", ncols=2)
        axes[-1].set_xlabel("length of the change")
    spread = partial(report.mean_and_deviation, digits=3)
    rows = [
        (way, *(spread(measured["area"][:, number, n]) for n in range(len(config.lengths))))
        for number, way in enumerate(moves.WAYS)
    ]
    shown = np.concatenate([test["image"][:SHOWN], *(images[-1][:SHOWN] for images in changed)])
    length = config.lengths[-1]
    return Section(
        "Moved by the same length",
        "An attack leaves the data about as fast as noise of that length, and the autoencoder's "
        "error gives both away. A dream, which adds to what is there, stays a little nearer to "
        "real images and, by the table, is noticed a little less; the way to another image stays "
        "with them. 'Area' is that under the ROC curve of the error among clean test images.",
        figures=[
            Figure(
                report.sheet(shown, columns=SHOWN, width=40),
                f"From top to bottom: clean; and moved by {length:g}: {', '.join(moves.WAYS)}.",
            ),
            Figure(path, "Means over the seeds; bands from the lowest to the highest."),
        ],
        table=Table(("area, by length", *(f"{n:g}" for n in config.lengths)), rows),
    )


def draw_lines(ax: Any, x: Any, curves: dict[str, np.ndarray]) -> None:
    """A line for each name, with a band of all seeds."""
    for number, (name, values) in enumerate(curves.items()):
        band = values.min(axis=0), values.max(axis=0)
        ax.fill_between(x, *band, color=color(number), alpha=0.2, lw=0)
        ax.plot(x, values.mean(axis=0), "o-", ms=3, color=color(number), label=name)


def paths_section(
    networks: Networks, test: Batch, paths: dict[str, np.ndarray], path: Path
) -> Section:
    """Two pairs joined both ways, and the curves."""
    titles = {
        "accuracy": "accuracy between images of one class",
        "confidence": "largest probability between images of two classes",
        "neighbor": "distance to the nearest training image between two classes",
    }
    with plot(path, rows=3, height=6.0) as axes:
        for ax, (name, title) in zip(axes, titles.items(), strict=True):
            ways = {way: paths[f"{way} {name}"] for way in ("straight", "latent")}
            draw_lines(ax, np.linspace(0, 1, TIMES), ways)
            ax.set_title(title, fontsize=8.5)
        axes[0].legend(loc="lower left", ncols=2)
        axes[-1].set_xlabel("share of the way")
    ends = test["image"][:3], test["image"][3:6]
    shown = [lines(networks.coder, *ends, way).swapaxes(0, 1) for way in ("straight", "latent")]
    rows = np.stack(shown, axis=1).reshape(-1, *test["image"].shape[1:])
    return Section(
        "Between two images",
        "On a straight line in pixels the middle is two images on top of each other; the decoder "
        "draws the middle of two codes as one, which is nearer to a real image.",
        figures=[
            Figure(
                report.sheet(rows, columns=TIMES, width=40),
                "Three pairs, each by a straight line of pixels and below it by one of codes.",
            ),
            Figure(path, "Means over the pairs and seeds; bands have all seeds."),
        ],
    )
