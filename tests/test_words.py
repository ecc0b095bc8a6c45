"""The field's terms, American spelling, and no word that a reader would have to learn here.

`python tests/test_words.py PATH ...` lists the places below some paths.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = re.compile(
    r"\b(slopes?|suspects?|told|learnt|learns?|recolou?r\w*|colour\w*|centre[sd]?|grey\w*|"
    r"neighbour\w*|unsqueez\w*|referees?|judges?|judged|judging|critics?|likewise|pictures?|said|"
    r"rederive\w*|behaviour|programmes?|licence)\b",
    re.IGNORECASE,
)
"""In comments, docstrings, messages and documents. `found` is looked for by itself, below."""
FOUND = re.compile(r"(?<!not )(?<!cannot be )(?<!could be )\bfound\b", re.IGNORECASE)
PARTS = {
    *("slope", "slopes", "suspect", "told", "learn", "learnt", "colour", "centre", "grey"),
    *("neighbour", "unsqueeze", "referee", "judge", "critic", "picture", "pictures", "said"),
    *("found", "rederive", "recolour"),
}
"""No part of an identifier."""
NAMES = {
    *("begin_as", "derive_noise", "Thing", "Problems", "Kept", "Parts", "Shifted", "Told", "Moved"),
    *("moved", "still", "stay", "blame", "_wide", "drive", "rederive"),
}
"""No identifier as a whole."""
DEFINITIONS = {
    *("once", "inside", "objects", "finish", "place", "turn", "pause", "filled", "complete"),
    *("adapt", "guide", "squeeze", "claims", "lost", "held"),
}
"""Nothing that is defined has such a name."""
ALLOWED = {"negative_slope", "sklearn", "lectures_jax", "raise_if_not_found"} | {
    *("ModuleNotFoundError", "FileNotFoundError", "PackageNotFoundError"),
}  # the names of others


def words(name: str) -> set[str]:
    """The parts of an identifier, in lower case: `loadPicture_found` has three."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def in_text(text: str) -> list[str]:
    """The words of a text that must not come back."""
    text = re.sub(r"\b(scikit-learn|sklearn|machine[- ]learn\w*|negative_slope)\b", "", text)
    return [m[0] for m in TEXT.finditer(text)] + [m[0] for m in FOUND.finditer(text)]


def in_python(source: str) -> Iterator[tuple[int, str]]:
    """Line and word, for comments, strings and identifiers."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.NAME and token.string not in ALLOWED:
            if token.string in NAMES or words(token.string) & PARTS:
                yield line, token.string
        elif token.type in (tokenize.COMMENT, tokenize.STRING) or token.type > tokenize.NL:
            yield from ((line, word) for word in in_text(token.string))
    for node in ast.walk(ast.parse(source)):
        named = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if named and node.name.lstrip("_") in DEFINITIONS:
            yield node.lineno, f"def {node.name}"


def places(file: Path) -> list[str]:
    """Where a file has such a word."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        hits = in_python(text)
    else:
        hits = ((n, word) for n, line in enumerate(text.splitlines(), 1) for word in in_text(line))
    return [f"{file}:{line}: {word}" for line, word in hits]


def files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    kinds = (f for kind in ("*.py", "*.md") for f in folder.rglob(kind))
    return sorted(f for f in kinds if f.name != "test_words.py" and "golden" not in f.parts)


AREAS = ["lectures_jax", "experiments", "benchmarks", "docs", "tests", "README.md"]
AREAS += ["CONTRIBUTING.md", "CHANGELOG.md"]


@pytest.mark.parametrize("area", AREAS)
def test_no_word_that_must_not_come_back(area):
    assert not [place for file in files(ROOT / area) for place in places(file)]


def test_a_word_is_noticed_in_code_and_in_text(tmp_path):
    file = tmp_path / "a.py"
    file.write_text('"""The picture."""\nfound = 1  # judged\n\n\ndef place(): ...\n')
    words_of_places = [place.rpartition(": ")[2] for place in places(file)]
    assert words_of_places == ["picture", "found", "judged", "def place"]
    file.write_text("x = dict(negative_slope=0.1)  # scikit-learn: the file was not found\n")
    assert not places(file)


if __name__ == "__main__":
    lines = [p for name in sys.argv[1:] for file in files(Path(name)) for p in places(file)]
    print("\n".join(lines))
    sys.exit(bool(lines))
