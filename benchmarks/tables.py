"""Writes docs/benchmarks.md from `results/*.json`, and prints the README's sentences on speed.

python -m benchmarks.tables
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.load import LIMIT
from benchmarks.sections import TABLES, Column, Table

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ABSENT = "–"

HEAD = f"""# Benchmarks

`make bench` measures these again and writes `benchmarks/results/`; `python -m benchmarks.tables`
writes this page from there. The programs of a row take turns in one process, in random order; a
time is the median of the calls after a first one, which compiles. All libraries keep their memory
between calls (`runtime.keep_memory`), as `ljx run` does. A row during which other processes kept
more than {LIMIT} cores busy is marked as loaded and quoted nowhere. `{ABSENT}` stands for what was
not measured.
"""


def is_measured(table: Table) -> bool:
    """Whether there are results of a table."""
    return (RESULTS / f"{table.file}.json").exists()


def load_results(file: str) -> dict[str, Any]:
    """The machine and the rows of one file of results."""
    return json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))


def duration(seconds: float) -> str:
    """A time in milliseconds below a tenth of a second, in seconds above."""
    number, unit = (1e3 * seconds, "ms") if seconds < 0.1 else (seconds, "s")
    return f"{number:.2f} {unit}" if number < 10 else f"{number:.1f} {unit}"


def cell(row: dict[str, Any], column: Column) -> str:
    """The text of one cell."""
    entries = {**row.get("seconds", {}), **row}
    values: list[Any] = [entries.get(name) for name in column.names.split("|")]
    if column.kind == "others":
        return load_cell(row)
    if column.kind.startswith("quartiles"):
        if "quartiles" not in row:
            return ABSENT
        show = "{:.0f}".format if "rates" in column.kind else duration
        return " to ".join(show(q) for q in row["quartiles"][column.names])
    if None in values:
        return ABSENT
    match column.kind:
        case "time":
            return duration(values[0])
        case "number":
            return f"{values[0]:.2f}"
        case "rate":
            return f"{values[0]:.0f}"
        case "ratio":
            return f"{values[0] / values[1]:.2f}"
        case _:
            return str(values[0])


def load_cell(row: dict[str, Any]) -> str:
    """The cores that others kept busy, and the mark of a loaded row."""
    if "load" not in row:
        return ABSENT
    others = row["load"]["others"]
    text = ABSENT if others is None else f"{others:.2f}"
    return f"{text}, loaded" if row["loaded"] else text


def render(table: Table) -> str:
    """One section of the page: what it is, the rows, the columns' meanings; or how to get rows."""
    if not is_measured(table):
        how = f"Not measured yet: `python -m benchmarks.{table.file}` does it."
        return "\n".join([f"## {table.title}\n", f"{table.text}\n", how, ""])
    titles = [column.title for column in table.columns]
    rows = [[cell(row, c) for c in table.columns] for row in load_results(table.file)["rows"]]
    lines = [f"| {' | '.join(line)} |" for line in [titles, ["---"] * len(titles), *rows]]
    meanings = [f"- **{c.title}**: {c.meaning}" for c in table.columns]
    return "\n".join([f"## {table.title}\n", f"{table.text}\n", *lines, "", *meanings, ""])


def machines() -> str:
    """The machines that the results come from, with their tables."""
    titles: dict[str, list[str]] = {}
    for table in filter(is_measured, TABLES):
        m = load_results(table.file)["machine"]
        machine = f"{m['processor']}, {m['cores']} cores, {m['system']}"
        machine += f", Python {m['python']}, JAX {m['versions']['jax']}"
        titles.setdefault(machine, []).append(table.title)
    if len(titles) == 1:
        return f"All were measured on: {next(iter(titles))}.\n"
    return "\n".join(f"- {', '.join(names)}: {m}." for m, names in titles.items()) + "\n"


def page() -> str:
    """The text of docs/benchmarks.md."""
    return "\n".join([HEAD, machines(), *map(render, TABLES)])


def headlines() -> list[str]:
    """The sentences on speed that the README quotes, without those of loaded rows."""
    coco, step = (load_results(file)["rows"][0] for file in ("coco_map", "yolo_step"))
    scene = {"boxes": "random", "number": 1000, "classes": 1, "images": 1}
    nms = next(row for row in load_results("nms")["rows"] if scene.items() <= row.items())
    times = nms["seconds"]
    sentences = [
        f"COCO's average precision of 500 images takes {duration(coco['lectures_jax'])}, with "
        f"pycocotools {duration(coco['pycocotools'])}; the results are bit-equal.",
        f"Suppression among 1,000 random boxes takes {duration(times['ours'])}, with torchvision's "
        f"compiled operator {duration(times['torchvision'])}.",
        f"A training step of the small YOLOv3 takes {duration(step['lectures_jax'])}, with PyTorch "
        f"{duration(min(step['torch'], step['torch channels_last']))}.",
    ]
    rows = zip((coco, nms, step), sentences, strict=True)
    return [sentence for row, sentence in rows if not row.get("loaded", False)]


def main() -> None:
    """Writes the page and prints the sentences."""
    PAGE.write_text(page(), encoding="utf-8")
    print("\n".join(headlines()))


if __name__ == "__main__":
    main()
