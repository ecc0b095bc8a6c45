"""Several runs side by side: their curves, results, and the settings in which they differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lectures_jax.report.curves import MetricRows, curves_by_run, panels_of
from lectures_jax.report.page import Figure, Section, Table

MEASURED_BY_THE_LOOP = ("step", "steps_per_second", "data_wait")


def compared_curves(runs: Mapping[str, MetricRows], folder: Path) -> Section:
    """Draws each metric of training in one figure, with evaluations of it as dashed lines.

    Args:
        runs: rows with "step", by the run's name.
        folder: where the figures go.
    """
    names = dict.fromkeys(name for rows in runs.values() for row in rows for name in row)
    shown = [name for name in names if name not in MEASURED_BY_THE_LOOP]
    figures = []
    for number, (name, *beside) in enumerate(panels_of(shown)):
        path = folder / f"metric{number}.svg"
        curves_by_run(runs, name, path, beside=beside)
        dashed = f" (dashed: {', '.join(beside)})" if beside else ""
        figures.append(Figure(path, f"{name}{dashed}, by step; the legend has the last values."))
    return Section("Curves", figures=figures)


def compared_results(results: Mapping[str, Mapping[str, object]]) -> Section:
    """Lists the results of the runs, a column for each.

    Args:
        results: numbers by name, by the run's name.
    """
    return Section("Results", table=_table("result", results, _all_names(results)))


def compared_settings(settings: Mapping[str, Mapping[str, object]]) -> Section:
    """Lists the settings in which the runs differ, a column for each run.

    Args:
        settings: values by name, by the run's name.
    """
    names = [name for name in _all_names(settings) if len(_texts(settings, name)) > 1]
    text = "These differ." if names else "All runs have the same settings."
    return Section("Settings", text, table=_table("setting", settings, names) if names else None)


def _all_names(columns: Mapping[str, Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for values in columns.values() for name in values))


def _texts(columns: Mapping[str, Mapping[str, object]], name: str) -> set[str]:
    return {str(values.get(name, "–")) for values in columns.values()}


def _table(what: str, columns: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> Table:
    rows = [[name, *(values.get(name) for values in columns.values())] for name in names]
    return Table((what, *columns), rows)
