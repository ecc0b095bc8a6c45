"""The spread of a score over the seeds, for several trainings side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lectures_jax.report.theme import INK, color, plot


def scores_by_seed(
    scores: Mapping[str, Float[np.ndarray, " n"]], path: Path, *, label: str
) -> None:
    """Draws one line of dots per name, a dot per seed, with mean and standard deviation.

    A dotted line marks the mean of the first name, which the others are compared with. One seed
    has no deviation.

    Args:
        scores: values of the seeds by name, drawn from top to bottom.
        path: file to write: `.svg`, `.png` or `.pdf`.
        label: of the horizontal axis.

    Raises:
        ValueError: if there are no scores.
    """
    if not scores:
        raise ValueError("scores must have at least one name, got none.")
    values = [np.asarray(v) for v in scores.values()]
    height = -np.arange(len(values))
    with plot(path, height=1.0 + 0.25 * len(values)) as (ax,):
        ax.axvline(float(np.mean(values[0])), color=INK, lw=0.8, ls=":")
        for y, of_seeds in zip(height, values, strict=True):
            deviation = np.std(of_seeds, ddof=1) if len(of_seeds) > 1 else 0.0
            ax.errorbar(np.mean(of_seeds), y, xerr=deviation, fmt="|", color=INK, ms=10, capsize=3)
            ax.plot(of_seeds, np.full(len(of_seeds), y), "o", ms=3.5, color=color(0))
        ax.set_yticks(height, list(scores))
        ax.set(xlabel=label, ylim=(height[-1] - 0.5, 0.5))
