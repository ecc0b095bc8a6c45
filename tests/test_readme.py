"""README's commands, paths and examples: each exists, and the examples run."""

import ast
import re
from pathlib import Path

import jax
import pytest

from lectures_jax.cli import main

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL))
COMMANDS = "\n".join([SHELL, *re.findall(r"`([^`\n]+)`", TEXT)])


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.splitlines()[-1][:30])
def test_an_example_runs(code):
    with jax.numpy_rank_promotion("allow"):
        exec(compile(code, "README.md", "exec"), {})


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)", COMMANDS))))
def test_a_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\bljx ([a-z]+)", COMMANDS))))
def test_a_command_exists(command):
    assert main([command, "--help"]) == 0


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./]+)\)", TEXT))))
def test_a_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def experiment_options(shell: str) -> list[tuple[str, str]]:
    """Each field that a command sets, with the experiment's file."""
    lines = re.findall(r"ljx run (experiments/\S+\.py)([^\n#]*)", shell)
    return [(file, option) for file, rest in lines for option in re.findall(r"--([\w-]+)", rest)]


def fields(file: str) -> set[str]:
    """What `ljx run FILE` takes: the fields of its `Config`, and the command's own options."""
    body = ast.parse((ROOT / file).read_text()).body
    (config,) = [node for node in body if isinstance(node, ast.ClassDef) and node.name == "Config"]
    names = [node.target.id for node in config.body if isinstance(node, ast.AnnAssign)]
    return {name.replace("_", "-") for name in names} | {"out", "fresh", "help"}


@pytest.mark.parametrize(("file", "option"), experiment_options(SHELL + COMMANDS))
def test_a_field_that_a_command_sets_exists(file, option):
    assert option in fields(file)


def test_a_wrong_field_is_noticed():
    assert experiment_options("ljx run experiments/a.py --no-such 3  # --comment") == [
        ("experiments/a.py", "no-such")
    ]
    assert "no-such" not in fields("experiments/ch3_vision/yolo.py")


@pytest.mark.parametrize(
    "path",
    sorted(
        {
            path
            for path in re.findall(r"[\w.-]+/[\w./-]*", COMMANDS)
            if (ROOT / path.split("/")[0]).is_dir() and path.split("/")[0] != "runs"
        }
    ),
)
def test_a_path_in_a_command_exists(path):
    assert (ROOT / path).exists()


def test_every_layer_is_in_the_table():
    layers = {path.parent.name for path in (ROOT / "lectures_jax").glob("*/__init__.py")}
    named = set(re.findall(r"`(\w+)`", TEXT.split("## Where things are")[1]))
    assert layers <= named
