"""Drawings of a latent space: codes on a plane, and the information in each unit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from lectures_jax.report.theme import INK, MUTED, color, plot


def latent_plane(
    points: Float[np.ndarray, "n 2"],
    labels: Integer[np.ndarray, " n"],
    path: Path,
    *,
    classes: Sequence[str],
    names: tuple[str, str] = ("first unit", "second unit"),
) -> None:
    """Draws codes as points in the colors of their classes.

    Args:
        points: two coordinates of each code.
        labels: class of each code.
        path: file to write: `.svg`, `.png` or `.pdf`.
        classes: names, in the order of the labels.
        names: of the axes.

    Raises:
        ValueError: if there is no point.
    """
    if not len(points):
        raise ValueError("points must hold at least one, got none.")
    with plot(path, height=4.2) as (ax,):
        for number, name in enumerate(classes):
            chosen = points[labels == number]
            ax.scatter(*chosen.T, s=7, color=color(number), alpha=0.7, lw=0, label=name)
        ax.set(xlabel=names[0], ylabel=names[1])
        ax.set_aspect("equal", adjustable="datalim")
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=5, handletextpad=0, markerscale=1.6
        )


def latent_units(
    divergence: Float[np.ndarray, " d"], path: Path, *, threshold: float = 0.01
) -> None:
    """Draws each unit's divergence from the prior as a bar, the largest first.

    Args:
        divergence: of each unit, the mean over the images, in nats.
        path: file to write: `.svg`, `.png` or `.pdf`.
        threshold: in nats; bars below it are gray, since the unit has collapsed to the prior.

    Raises:
        ValueError: if there is no unit.
    """
    if not len(divergence):
        raise ValueError("divergence must have at least one unit, got none.")
    order = np.argsort(-divergence)
    shades = [color(0) if divergence[unit] > threshold else MUTED for unit in order]
    with plot(path, height=2.8) as (ax,):
        ax.bar(np.arange(len(order)), divergence[order], color=shades)
        ax.axhline(threshold, color=INK, lw=0.6, ls=":")
        if len(order) <= 32:
            ax.set_xticks(np.arange(len(order)), [str(unit) for unit in order], fontsize=7)
        ax.set(xlabel="unit", ylabel="divergence in nats")
        ax.grid(visible=False, axis="x")
