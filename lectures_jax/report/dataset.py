"""What a data set holds and what is wrong with it, as sections of a page."""

from collections.abc import Mapping, Sequence

from lectures_jax.report.page import Section, Table


def dataset(
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[object]]]],
    *,
    faults: Sequence[str] = (),
    warnings: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> list[Section]:
    """Returns sections about a data set: its tables, what speaks against it, what was left out.

    Args:
        tables: header and rows by title, as `data.inspection.inspect_splits` gives them.
        faults: why a training would be in vain, one sentence each.
        warnings: what is likely to spoil it, one sentence each.
        problems: records that were left out or mended, one line each.
    """
    sentences = [*(("fault", text) for text in faults), *(("warning", text) for text in warnings)]
    sections = [
        Section(
            "Data",
            f"{len(faults)} faults and {len(warnings)} warnings.",
            table=Table(("kind", "what"), sentences) if sentences else None,
        )
    ]
    for title, (header, rows) in tables.items():
        sections.append(Section(title, table=Table(header, rows), folded=title == "Classes"))
    if problems:
        sections.append(
            Section(
                "Left out or mended",
                f"{len(problems)} records were not as they should be.",
                table=Table(("record",), [(line,) for line in problems]),
                folded=len(problems) > 20,
            )
        )
    return sections
