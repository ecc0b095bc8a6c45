"""Curves, speed and configuration of a training run, as sections of a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lectures_jax.report.curves import MetricRows, curves
from lectures_jax.report.page import Figure, Section, Table


def training(
    history: MetricRows,
    folder: Path,
    *,
    losses: Sequence[Sequence[str]],
    scores: Sequence[Sequence[str]],
) -> Section:
    """Returns the curves of a run: losses on the training data, scores on other data.

    Args:
        history: rows with "step".
        folder: the two figures are written to it.
        losses: names of losses, a list for each panel that they share.
        scores: names of scores, a list for each panel that they share.
    """
    curves(history, folder / "loss.svg", panels=losses)
    curves(history, folder / "score.svg", panels=scores)
    return Section(
        "Training",
        "Losses are means over the training batches since the point before; scores are measured on "
        "data that is not trained on.",
        figures=[
            Figure(folder / "loss.svg", "Losses."),
            Figure(folder / "score.svg", "Scores."),
        ],
    )


def timing(history: MetricRows, *, batch_size: int) -> Section:
    """Returns the speed of a run, and the share of its time spent waiting for data.

    Args:
        history: rows with "step", "steps_per_second" and "data_wait".
        batch_size: examples per step.
    """
    steps = np.diff(np.array([0, *(row["step"] for row in history)], float))
    speed = np.array([row.get("steps_per_second", np.nan) for row in history], float)
    wait = np.array([row.get("data_wait", np.nan) for row in history], float)
    rows = [
        ("steps per second, median", float(np.nanmedian(speed))),
        ("examples per second, median", float(np.nanmedian(speed)) * batch_size),
        ("minutes of training", float(np.nansum(steps / speed)) / 60),
        ("share of the time spent waiting for data, mean", float(np.nanmean(wait))),
    ]
    return Section("Timing", table=Table(("what", "value"), rows))


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
