"""Curves, speed and configuration of a training run, as sections of a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lectures_jax.report.curves import MetricRows, curves, trained_name
from lectures_jax.report.page import Figure, Section, Table

OPTIMIZATION = {"learning_rate": "Learning rate", "grad_norm": "norm of the gradient"}


def training(
    history: MetricRows,
    folder: Path,
    *,
    losses: Sequence[Sequence[str]],
    scores: Sequence[Sequence[str]],
) -> Section:
    """Returns the curves of a run: losses on the training data, scores on other data.

    A score such as `test_accuracy` is drawn on the axes of the `accuracy` that training measures,
    and so is, whether it is named or not, an `evaluation_loss` on those of a `loss`.
    Learning rate and norm of the gradient have a figure of their own, where the history has them.

    Args:
        history: rows with "step".
        folder: the figures are written to it.
        losses: names of what training measures, a list for each panel that they share.
        scores: names of scores, a list for each panel that they share.
    """
    names = {name for row in history for name in row}
    scores = [[name for name in panel if name not in OPTIMIZATION] for panel in scores]
    beside = {name: trained_name(name) for panel in scores for name in panel}
    on_losses = {name for panel in losses for name in panel}
    beside |= {n: trained_name(n) for n in sorted(names) if trained_name(n) in on_losses}
    panels = [
        [*panel, *(name for name, trained in beside.items() if trained in panel)]
        for panel in losses
    ]
    own = [[n for n in panel if beside[n] not in on_losses] for panel in scores]
    groups = {
        "loss": (panels, "By step: {}."),
        "score": (own, "On data that is not trained on: {}."),
        "optimization": ([[name] for name in OPTIMIZATION if name in names], "{}."),
    }
    figures = []
    for file, (panels, caption) in groups.items():
        shown = [panel for panel in panels if panel]
        if shown:
            curves(history, folder / f"{file}.svg", panels=shown)
            listed = [OPTIMIZATION.get(name, name) for panel in shown for name in panel]
            figures.append(Figure(folder / f"{file}.svg", caption.format(_listed(listed))))
    text = "What training measures is the mean over its batches since the point before"
    if beside:
        measured = "is" if len(beside) == 1 else "are"
        text += f"; {_listed(list(beside))} {measured} measured on data that is not trained on"
    return Section("Training", f"{text}.", figures=figures)


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def timing(history: MetricRows, *, batch_size: int) -> Section:
    """Returns the speed of a run, and the share of its time spent waiting for data.

    Args:
        history: rows with "step", "steps_per_second" and "data_wait".
        batch_size: examples per step.
    """
    speed = np.array([row.get("steps_per_second", np.nan) for row in history], float)
    wait = np.array([row.get("data_wait", np.nan) for row in history], float)
    rows = [
        ("steps per second, median", float(np.nanmedian(speed))),
        ("examples per second, median", float(np.nanmedian(speed)) * batch_size),
        ("minutes of training", seconds_of(history) / 60),
        ("share of the time spent waiting for data, mean", float(np.nanmean(wait))),
    ]
    return Section("Timing", table=Table(("what", "value"), rows))


def seconds_of(history: MetricRows) -> float:
    """Returns how long the steps of a training took by the clock, over all times it was resumed.

    Args:
        history: rows with "step" and "steps_per_second"; one without a speed counts as nothing.
    """
    steps = np.diff(np.array([0, *(row["step"] for row in history)], float))
    speed = np.array([row.get("steps_per_second", np.nan) for row in history], float)
    return float(np.nansum(steps / speed))


def configuration(fields: Mapping[str, object]) -> Section:
    """Returns a run's configuration, folded.

    Args:
        fields: values by name; those of a nested mapping get rows of their own.
    """
    rows = _rows(fields)
    return Section("Configuration", folded=True, table=Table(("field", "value"), rows))


def _rows(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    rows = []
    for name, value in fields.items():
        rows += _rows(value) if isinstance(value, Mapping) else [(name, str(value))]
    return rows
