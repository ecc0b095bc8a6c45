"""Curves of numbers: a training's history, and precision over recall."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num
from matplotlib.axes import Axes

from lectures_jax.report.theme import INK, MUTED, color, plot

MetricRows = Sequence[Mapping[str, float | int | None]]
"""Metrics by name, a row for each step that has some, with "step"; None (JSON's null) is NaN."""

EVALUATED = ("test_", "validation_", "held_out_", "evaluation_")
"""Prefixes of what is measured on other data, after which the name of training's metric follows."""

LETTERS = 62  # that a line of a legend has room for, with five for each handle


def trained_name(name: str) -> str | None:
    """Returns the metric of training that an evaluation's name refers to, such as `loss`, or None.

    Args:
        name: of a metric, such as `evaluation_loss`; `held_out` alone refers to the loss.
    """
    prefix = next((prefix for prefix in EVALUATED if name.startswith(prefix)), None)
    if prefix is None:
        return "loss" if f"{name}_" in EVALUATED else None
    return name.removeprefix(prefix)


def panels_of(names: Iterable[str]) -> list[list[str]]:
    """Returns a panel for each metric of training, followed by those of evaluations of it.

    Args:
        names: of metrics, in the order of the panels.
    """
    names = list(names)
    evaluated = {name: trained for name in names if (trained := trained_name(name)) in names}
    return [
        [name, *(other for other, trained in evaluated.items() if trained == name)]
        for name in names
        if name not in evaluated
    ]


def curves(
    history: MetricRows,
    path: Path,
    *,
    panels: Sequence[Sequence[str]] | None = None,
    log: bool = False,
) -> None:
    """Draws the metrics of a training over its steps, with the last value of each in the legend.

    A row may lack a name, as the rows between two evaluations do. NaN, None and infinity are gaps.

    Args:
        history: rows with "step", as `train.fit` returns them.
        path: file to write: `.svg`, `.png` or `.pdf`.
        panels: groups of names that share a panel, from top to bottom; by default each metric of
            training has one, which it shares with those of evaluations.
        log: makes the y axes logarithmic.

    Raises:
        ValueError: if the history is empty, a row has no "step", or a name is in no row.
    """
    if not history:
        raise ValueError("history must have at least one row, got none.")
    if missing := [i for i, row in enumerate(history) if "step" not in row]:
        raise ValueError(f'history must have "step" in each row, row {missing[0]} has none.')
    names = dict.fromkeys(name for row in history for name in row if name != "step")
    panels = panels_of(names) if panels is None else panels
    if unknown := [name for panel in panels for name in panel if name not in names]:
        raise ValueError(f"panels must name some of {list(names)}, got {unknown[0]!r}.")
    if not panels:
        raise ValueError('history must have a name besides "step", got none.')
    with plot(path, rows=len(panels), height=0.6 + 1.7 * len(panels)) as axes:
        for ax, panel in zip(axes, panels, strict=True):
            for name in panel:
                _line(ax, history, name, label=name)
            labels = ax.get_legend_handles_labels()[1]
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_columns(labels))
            ax.set_yscale("log" if log else "linear")
            ax.margins(x=0.01)
        axes[-1].set_xlabel("step")


def curves_by_run(
    runs: Mapping[str, MetricRows], name: str, path: Path, *, beside: Sequence[str] = ()
) -> None:
    """Draws one metric of several trainings over their steps, with the last values in the legend.

    Args:
        runs: rows with "step", by the run's name; a run without the metric has no line.
        name: of the metric.
        path: file to write: `.svg`, `.png` or `.pdf`.
        beside: other metrics, drawn as dashed lines in the color of the run.
    """
    with plot(path, height=1.6 + 0.17 * len(runs) * (1 + len(beside))) as (ax,):
        for number, (run, history) in enumerate(runs.items()):
            for metric in (name, *beside):
                if any(metric in row for row in history):
                    label = run if metric == name else f"{run}, {metric}"
                    style = {"color": color(number), "ls": "-" if metric == name else "--"}
                    _line(ax, history, metric, label=label, style=style)
        ax.set(xlabel="step", ylabel=_plain(name))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
        ax.margins(x=0.01)


def _line(
    ax: Axes,
    history: MetricRows,
    name: str,
    *,
    label: str,
    style: Mapping[str, Any] | None = None,
) -> None:
    rows = [(row["step"], row[name]) for row in history if name in row]
    steps, values = np.array(rows, float).reshape(-1, 2).T
    finite = np.isfinite(values)
    values = np.where(finite, values, np.nan)
    last = f"{values[finite][-1]:.4g}" if finite.any() else "no finite value"
    # A point between two gaps is on no line.
    padded = np.pad(finite, 1)
    marked = np.full(len(rows), len(rows) <= 40) | ~(padded[:-2] | padded[2:])
    label = f"{_plain(label)}  {last}"
    marker = "o" if marked.any() else ""
    options = {"marker": marker, "markevery": marked, "markersize": 2.5, "label": label}
    ax.plot(steps, values, **options, **(style or {}))


def precision_recall_curves(curves: Mapping[str, Num[np.ndarray, " r"]], path: Path) -> None:
    """Draws precision over recall for each class, and their mean.

    The average precision in the legend is the mean of a curve. Of more than ten classes the legend
    names the five with the lowest.

    Args:
        curves: precision at evenly spaced recalls from 0 to 1, by class; for a `CocoResult` at an
            IoU of 0.5, `precision[0, :, c, 0, 2]`. A class without objects is -1 or NaN
            throughout and is left out.
        path: file to write: `.svg`, `.png` or `.pdf`.

    Raises:
        ValueError: if no class has a curve, or the curves differ in length.
    """
    known = {
        name: (color(i), values)
        for i, (name, values) in enumerate(curves.items())
        if len(values) and np.all(np.asarray(values) >= 0)
    }
    if not known:
        raise ValueError("curves must have a class with precisions in [0, 1], got none.")
    if len(lengths := {len(values) for _, values in known.values()}) > 1:
        raise ValueError(f"curves must have one length, got {sorted(lengths)}.")
    average = {name: float(np.mean(values)) for name, (_, values) in known.items()}
    few = len(known) <= 10
    named = known if few else sorted(average, key=lambda name: average[name])[:5]
    recall = np.linspace(0, 1, lengths.pop())
    with plot(path, height=3.2) as (ax,):
        for name, (shade, values) in known.items():
            label = f"{_plain(name)}  {average[name]:.3f}" if name in named else None
            width = 1.5 if few else 0.8
            ax.plot(recall, values, color=shade if label else MUTED, lw=width, label=label)
        mean = np.mean([values for _, values in known.values()], axis=0)
        if len(known) > 1:
            ax.plot(recall, mean, color=INK, lw=2, ls="--", label=f"mean  {mean.mean():.3f}")
        ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
        beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "alignment": "left"}
        ax.legend(title="average\nprecision", fontsize=8, title_fontsize=8, **beside)


def _columns(labels: Sequence[str]) -> int:
    """How many columns of a legend fit beside each other: of four labels two, else up to three."""
    for columns in (2,) if len(labels) == 4 else (3, 2):
        rows = math.ceil(len(labels) / columns)
        parts = [labels[start : start + rows] for start in range(0, len(labels), rows)]
        if sum(max(map(len, part)) + 5 for part in parts) <= LETTERS:
            return columns
    return 1


def _plain(name: str) -> str:
    """A label that Matplotlib takes neither for a formula nor, by its underscore, for hidden."""
    name = name if len(name) <= 24 else f"{name[:23]}…"
    return name.replace("$", r"\$").lstrip("_")
