"""The spread of a score over the seeds, for several trainings side by side."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lectures_jax.report.theme import INK, color, plot


def mean_and_deviation(values: Sequence[float] | np.ndarray, *, digits: int) -> str:
    """Returns mean and standard deviation of the seeds as text; one seed has no deviation.

    Args:
        values: of the seeds.
        digits: decimals of both.
    """
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def best_by_seeds(scores: Mapping[str, Sequence[float] | np.ndarray], *, than: str) -> str:
    """Returns a sentence about what is better, as far as the spread of the seeds allows one.

    A difference of two means counts from two of its standard errors on, `√(s₁²/n₁ + s₂²/n₂)`.

    Args:
        scores: higher is better, values of the seeds by name.
        than: the name that the others are compared with.

    Source:
        Welch (1947), eq. 1.
    """
    values = {name: np.asarray(v, float) for name, v in scores.items()}
    if any(len(v) < 2 for v in values.values()):
        return "One seed has no spread, so that every difference may be chance."
    base = values.pop(than)
    better = [name for name, v in values.items() if _difference(v, base) > 2]
    worse = [name for name, v in values.items() if _difference(v, base) < -2]
    if not better and not worse:
        return f"Nothing differs from '{than}' by more than the spread of the seeds explains."
    parts = [
        f"{which} than '{than}': {', '.join(names)}"
        for which, names in (("better", better), ("worse", worse))
        if names
    ]
    rest = "The others do not differ so far." if len(values) > len(better) + len(worse) else ""
    return f"Beyond the spread of the seeds, {'; '.join(parts)}. {rest}".strip()


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """The difference of two means in its standard errors."""
    error = float(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b)) ** 0.5
    difference = float(np.mean(a) - np.mean(b))
    if not error:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / error


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
