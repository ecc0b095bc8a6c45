"""What the page of any generative model shows: samples, their scores, likelihoods, codes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from lectures_jax.report.images import sheet
from lectures_jax.report.latent import latent_plane, latent_units
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, MUTED, color, plot

SAMPLE_SCORES: Mapping[str, str] = {
    "frechet": "classifier-Fréchet",
    "kernel": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "neighbor_ratio": "nearest-neighbor ratio",
    "least_class": "least class share",
}
"""What the scores of samples are called where people read them."""


def sample_scores(columns: Mapping[str, Mapping[str, float]]) -> Section:
    """Returns a table of scores, a row for each of `SAMPLE_SCORES`.

    Args:
        columns: scores by the name of what was scored: models, then baselines.
    """
    rows = [
        [text, *(scores[name] for scores in columns.values())]
        for name, text in SAMPLE_SCORES.items()
    ]
    return Section(
        "Scores",
        "Distances are 0 for equal distributions and grow with too few images; precision, "
        f"recall, density and coverage are 1 for perfect samples. {copies_remark(columns)} "
        "The network behind these numbers was trained on images that no generator saw.",
        table=Table(["score", *columns], rows),
    )


COPIES = "copies with noise"
"""Name of the training images themselves, with a little noise, where they are scored as samples."""


def copies_remark(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Returns what tells copies of the training images from samples, with their own scores.

    Args:
        columns: scores by the name of what was scored; those of `COPIES`, if they are there, are
            quoted.
    """
    text = "A nearest-neighbor ratio far below 1 gives copies away, however good their other scores"
    if COPIES not in columns:
        return f"{text}."
    ratio, distance = (columns[COPIES][name] for name in ("neighbor_ratio", "frechet"))
    return (
        f"{text}: the training images with a little noise have a ratio of {ratio:.2g} and a "
        f"distance of {distance:.2g}."
    )


def samples(
    drawn: Float[np.ndarray, "n h w c"],
    real: Float[np.ndarray, "m h w c"],
    *,
    columns: int = 10,
    text: str,
) -> Section:
    """Returns samples beside real images.

    Args:
        drawn: samples, in [0, 1].
        real: images of the training set, in [0, 1].
        columns: images in a row.
        text: how the samples were chosen.
    """
    return Section(
        "Samples",
        text,
        figures=[
            Figure(sheet(drawn, columns=columns), "Generated."),
            Figure(sheet(real, columns=columns), "Real, from the training set."),
        ],
    )


def class_shares(
    shares: Float[np.ndarray, " k"],
    labels: Integer[np.ndarray, " n"],
    path: Path,
    *,
    classes: Sequence[str],
) -> Section:
    """Returns how often each class is drawn: a missing one is a missing mode.

    Args:
        shares: of each class among the samples, as a classifier predicts them.
        labels: of the training images.
        path: file to write: `.svg`, `.png` or `.pdf`.
        classes: names, in the order of the labels.
    """
    real = np.bincount(labels, minlength=len(classes))
    positions = np.arange(len(shares))
    with plot(path, height=2.6) as (ax,):
        ax.bar(positions - 0.2, 100 * shares, 0.38, color=color(0), label="generated")
        ax.bar(positions + 0.2, 100 * real / real.sum(), 0.38, color=MUTED, label="real")
        oblique = max(map(len, classes)) > 2
        ax.set_xticks(
            positions,
            classes,
            rotation=45 if oblique else 0,
            ha="right" if oblique else "center",
        )
        ax.set_ylabel("share, %")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return Section(
        "Classes",
        "What the evaluator predicts for the samples.",
        figures=[Figure(path, "Share of each class.")],
    )


def likelihood_bounds(
    bounds: Mapping[str, Sequence[Mapping[str, float]]],
    path: Path,
    *,
    samples: Sequence[int],
    exact: Mapping[str, float],
    text: str,
) -> Section:
    """Returns bounds of the log-likelihood over the number of samples, with exact ones as lines.

    Args:
        bounds: by the estimate's name, for each number of samples `log_likelihood` in nats and
            `effective_samples`.
        path: file to write: `.svg`, `.png` or `.pdf`.
        samples: numbers of samples, in the order of the bounds.
        exact: log-likelihoods in nats, by the model's name.
        text: what is measured on which data.
    """
    with plot(path, height=3.0) as (ax,):
        for i, (name, measured) in enumerate(bounds.items()):
            values = [one["log_likelihood"] for one in measured]
            ax.plot(samples, values, marker="o", ms=3, color=color(i), label=name)
        for name, value in exact.items():
            ax.axhline(value, color=INK, lw=1, ls="--", label=f"{name} (exact)")
        ax.set_xscale("log", base=2)
        best = [measured[-1]["log_likelihood"] for measured in bounds.values()]
        top, lowest = max(best), min(*best, *exact.values())
        reach = max(1.0, top - lowest)
        ax.set_ylim(lowest - 0.5 * reach, top + 0.1 * reach)
        ax.set(xlabel="samples per image", ylabel="log p(x) in nats")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    rows = [
        (name, count, one["log_likelihood"], one["effective_samples"])
        for name, measured in bounds.items()
        for count, one in zip(samples, measured, strict=True)
    ]
    rows += [(name, None, value, None) for name, value in exact.items()]
    return Section(
        "Likelihood",
        text,
        figures=[Figure(path, "Bounds over the number of samples.")],
        table=Table(("estimate", "samples", "log p(x) in nats", "effective samples"), rows),
    )


def latent_space(
    mean: Float[np.ndarray, "n z"],
    divergence: Float[np.ndarray, " z"],
    labels: Integer[np.ndarray, " n"],
    folder: Path,
    *,
    classes: Sequence[str],
) -> Section:
    """Returns codes on the plane of the two most informative units, and each unit's divergence.

    Args:
        mean: of the posterior of each image.
        divergence: of each unit from the prior, mean over the images, in nats.
        labels: class of each image.
        folder: where the two figures go.
        classes: names, in the order of the labels.
    """
    first, second = np.argsort(-divergence)[:2]
    names = (f"unit {first}", f"unit {second}")
    points = mean[:, [first, second]]
    latent_plane(points, labels, folder / "plane.svg", classes=classes, names=names)
    latent_units(divergence, folder / "units.svg")
    return Section(
        "Latent space",
        "Test images by the means of their posteriors.",
        figures=[
            Figure(folder / "plane.svg", "The two units that tell most about the image."),
            Figure(folder / "units.svg", "Mean divergence of each unit; a gray one is collapsed."),
        ],
    )
