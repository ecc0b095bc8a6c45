"""A file fits one sitting, a function one screen, a call one line of thought.

`python tests/test_size.py PATH ...` lists what is too large below some paths.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINES, CODE, PARAMETERS = 300, 40, 8
OPTIONS = {"fit", "fit_adversarial", "run"}  # a training has that many options; they stand once


def code_lines(node: ast.AST, source: list[str]) -> int:
    """Lines of a function's body that hold code: neither blank, nor comment, nor docstring."""
    skipped: set[int] = set()
    for inner in ast.walk(node):
        documented = getattr(inner, "body", None)
        if isinstance(inner, ast.FunctionDef | ast.ClassDef) and isinstance(
            documented[0], ast.Expr
        ):
            text = documented[0]
            if isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
                skipped |= set(range(text.lineno, text.end_lineno + 1))
    lines = range(node.body[0].lineno, node.end_lineno + 1)
    blank = {n for n in lines if source[n - 1].strip()[:1] in ("", "#")}
    return len(set(lines) - skipped - blank)


def too_large(file: Path) -> Iterator[str]:
    """What in a file is above the limits, in words."""
    text = file.read_text(encoding="utf-8")
    source = text.splitlines()
    if len(source) > LINES:
        yield f"{file}: {len(source)} lines, at most {LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            count = code_lines(node, source)
            if count > CODE:
                yield f"{file}:{node.lineno}: {node.name} has {count} lines of code, at most {CODE}"
            a = node.args
            names = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg != "self"]
            if len(names) > PARAMETERS and node.name not in OPTIONS:
                yield f"{file}:{node.lineno}: {node.name} has {len(names)} parameters"


def files(folder: Path) -> list[Path]:
    return [folder] if folder.is_file() else sorted(folder.rglob("*.py"))


def listed(*folders: Path) -> list[str]:
    return [line for folder in folders for file in files(folder) for line in too_large(file)]


@pytest.mark.parametrize("area", ["lectures_jax", "experiments", "benchmarks"])
def test_files_and_functions_are_small(area):
    large = [line for line in listed(ROOT / area) if "parameters" not in line]
    assert not large


def test_at_most_two_functions_of_training_take_more_than_eight_parameters():
    many = [line for line in listed(ROOT / "lectures_jax" / "train") if line.endswith("parameters")]
    assert len(many) <= 2, many


def test_a_large_function_is_noticed(tmp_path):
    file = tmp_path / "a.py"
    lines = "\n".join(f"    x = {n}" for n in range(41))
    file.write_text(f'def f(a, b, c, d, e, f, g, h, i):\n    """Doc."""\n\n{lines}\n')
    assert [line.partition(": ")[2] for line in too_large(file)] == [
        "f has 41 lines of code, at most 40",
        "f has 9 parameters",
    ]


if __name__ == "__main__":
    print("\n".join(lines := listed(*map(Path, sys.argv[1:]))))
    sys.exit(bool(lines))
