"""What an autoencoder cannot rebuild is no data. CPU, 3 min; ROC-AUC of unseen digits 0.97.

The score is the error of the reconstruction, the area under the ROC curve what it is worth: for the
images of a class that was left out of the training, and for fives that are turned among upright
ones, the course's figure. `manifold.py` detects adversarial images by the same score. The size of
the code was chosen on the digits' validation split.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from lectures_jax import data, metrics, report, runtime, train
from lectures_jax.recipes import autoencoder
from lectures_jax.recipes.autoencoder import reconstruction_error
from lectures_jax.recipes.generator import Kind
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

EXPECTED = {"left_out": (0.95, None), "turned": (0.9, None)}
TINY = {
    "training": autoencoder.Settings(hidden=4, latent=2, steps=2),
    "seeds": 1,
    "classes": 2,
    "images": 40,
}
TURNED = 5  # the digit of the course's figure


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    training: autoencoder.Settings = field(default_factory=autoencoder.Settings)
    """of each autoencoder"""
    classes: int = 10
    """that are left out in turns, the first ones"""
    images: int = 10_000
    """test images, and training images that neighbors are looked for among, at most"""
    seeds: int = 3
    """repetitions of each training"""
    seed: int = 0
    """of the first parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Measures both kinds of anomalies, and writes the report."""
    splits = data.read_classified(config.data, config.root)
    test = {name: values[: config.images] for name, values in splits.test.items()}
    left_out = leave_classes_out(config, splits, test, out)
    models = [fit(config, splits.train["image"], out / "all", seed) for seed in seeds(config)]
    angles = (*range(0, 181, 15), 90, 270)
    turned = np.array([turned_areas(model, test, angles) for model in models])
    numbers = {
        "left_out": float(left_out["autoencoder"].mean()),
        "left_out_worst_class": float(left_out["autoencoder"].mean(axis=0).min()),
        "left_out_pca": float(left_out["PCA"].mean()),
        "left_out_neighbor": float(left_out["nearest neighbor"].mean()),
        "turned": float(turned[:, -2:].mean()),
        "upside_down": float(turned[:, angles.index(180)].mean()),
    }
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title="Anomalies by the error of a reconstruction",
        summary="The area under the ROC curve: 1 where every anomaly has a larger error than every "
        "test image, 0.5 where the error tells nothing.",
        numbers={
            "classes left out, mean": numbers["left_out"],
            f"class {TURNED} turned by a quarter": numbers["turned"],
        },
        sections=[
            left_out_section(config, splits, left_out, figures / "left_out.svg"),
            turned_section(config, models[0], test, angles, turned, figures / "turned.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def seeds(config: Config) -> range:
    """Of the repetitions."""
    return range(config.seed, config.seed + config.seeds)


def fit(config: Config, images: np.ndarray, out: Path, seed: int) -> Any:
    """An autoencoder of these images."""
    folder = out / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    settings = autoencoder.with_defaults(config.training, config.data)
    return autoencoder.train(settings, images, folder, seed=seed).model


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Under the ROC curve."""
    return float(metrics.roc_auc(jnp.asarray(scores, jnp.float32), jnp.asarray(positive)))


def leave_classes_out(
    config: Config, splits: data.Splits, test: dict[str, np.ndarray], out: Path
) -> dict[str, np.ndarray]:
    """The area for each class as the anomaly, [seeds, classes], by the name of the score."""
    areas = {name: [] for name in ("autoencoder", "PCA", "nearest neighbor")}
    for label in range(config.classes):
        images = splits.train["image"][splits.train["labels"] != label]
        positive = test["labels"] == label
        models = [fit(config, images, out / f"without_{label}", seed) for seed in seeds(config)]
        errors = [reconstruction_error(model, test["image"]) for model in models]
        areas["autoencoder"].append([area(error, positive) for error in errors])
        rows, new = (x.reshape(len(x), -1) for x in (images, test["image"]))
        size = autoencoder.with_defaults(config.training, config.data).latent or 0
        pca = PCA(size, random_state=0).fit(rows)
        rebuilt = pca.inverse_transform(pca.transform(new))
        areas["PCA"].append([area(np.sum((new - rebuilt) ** 2, axis=1), positive)])
        nearest = cdist(new, rows[: config.images]).min(axis=1)
        areas["nearest neighbor"].append([area(nearest, positive)])
    return {name: np.array(values).T for name, values in areas.items()}


def turned_areas(model: Any, test: dict[str, np.ndarray], angles: tuple[int, ...]) -> list[float]:
    """How well turned fives are distinguished from upright ones, by the angle in degrees."""
    upright = test["image"][test["labels"] == TURNED]
    normal = reconstruction_error(model, upright)
    areas = []
    for angle in angles:
        errors = reconstruction_error(model, rotate(upright, angle))
        positive = np.arange(2 * len(upright)) >= len(upright)
        areas.append(area(np.concatenate([normal, errors]), positive))
    return areas


def rotate(images: np.ndarray, angle: int) -> np.ndarray:
    """Images turned to the left; a quarter moves pixels, other angles mix neighbors."""
    if angle % 90 == 0:
        return np.rot90(images, angle // 90, axes=(1, 2)).copy()
    return np.clip(ndimage.rotate(images, angle, axes=(2, 1), reshape=False, order=1), 0, 1)


def left_out_section(
    config: Config, splits: data.Splits, areas: dict[str, np.ndarray], path: Path
) -> Section:
    """The area for each class that was left out."""
    positions = np.arange(config.classes)
    names = splits.classes[: config.classes]
    with plot(path, height=3.0) as (ax,):
        for number, (name, values) in enumerate(areas.items()):
            ax.plot(positions, values.mean(axis=0), "o", ms=4, color=color(number), label=name)
            spread = (values.min(axis=0), values.max(axis=0))
            ax.vlines(positions, *spread, color=color(number), lw=1.5)
        ax.axhline(0.5, color=INK, lw=0.6, ls=":")
        oblique = max(map(len, names)) > 2
        ax.set_xticks(
            positions, names, rotation=30 if oblique else 0, ha="right" if oblique else "center"
        )
        ax.set(xlabel="class left out", ylabel="area under the curve")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    spread = report.mean_and_deviation
    rows = [(n, spread(v.mean(axis=1), digits=3), float(v.min())) for n, v in areas.items()]
    return Section(
        "A class left out",
        "One class is missing in the training images, and is the anomaly among the test images of "
        f"all classes; {config.seeds} seeds. Principal components have a code of the same size. "
        "The distance to the nearest training image needs no training, but all images.",
        figures=[Figure(path, "Means over the seeds, with lines from the lowest to the highest.")],
        table=Table(("score", "mean over the classes", "worst"), rows),
    )


def turned_section(
    config: Config,
    model: Any,
    test: dict[str, np.ndarray],
    angles: tuple[int, ...],
    areas: np.ndarray,
    path: Path,
) -> Section:
    """Fives at several angles, what the autoencoder makes of them, and the area by angle."""
    steps = angles[:-2]
    with plot(path, height=2.6) as (ax,):
        ax.fill_between(steps, areas.min(axis=0)[:-2], areas.max(axis=0)[:-2], alpha=0.3, lw=0)
        ax.plot(steps, areas.mean(axis=0)[:-2], "o-", ms=3)
        ax.axhline(0.5, color=INK, lw=0.6, ls=":")
        ax.set_xticks(range(0, 181, 30))
        ax.set(xlabel="angle in degrees", ylabel="area under the curve")
    five = test["image"][test["labels"] == TURNED][:1]
    images = np.concatenate([rotate(five, angle) for angle in steps])
    rebuilt = train.predict(model, images)
    error = reconstruction_error(model, images)
    listed = ", ".join(f"{value:.2f}" for value in error[[0, len(steps) // 2, -1]])
    return Section(
        f"Turned images of class {TURNED}",
        f"An autoencoder of all upright images, and the test images of class {TURNED}, each "
        "upright and turned. Half a turn of a 5 is harder to tell than a quarter: it looks much "
        "like itself upside down.",
        figures=[
            Figure(
                report.sheet(np.concatenate([images, rebuilt]), columns=len(steps), width=40),
                f"Turned by 0 to 180 degrees, and rebuilt. Errors at 0, 90 and 180: {listed}.",
            ),
            Figure(
                path,
                "Upright against turned; the band has all seeds. Angles besides quarters also mix "
                "neighboring pixels, which alone adds to the error.",
            ),
        ],
    )
