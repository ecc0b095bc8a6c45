"""README's commands, paths and examples: each exists, and the examples run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL))


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.splitlines()[-1][:30])
def test_an_example_runs(code, monkeypatch):
    import jax

    with jax.numpy_rank_promotion("allow"):
        exec(compile(code, "README.md", "exec"), {})


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)", TEXT))))
def test_a_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\bljx ([a-z]+)", TEXT))))
def test_a_command_exists(command):
    from lectures_jax.cli import main

    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code in (0, None)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./]+)\)", TEXT))))
def test_a_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def test_experiments_in_commands_exist():
    files = re.findall(r"experiments/\S+\.py", SHELL)
    assert files
    assert all((ROOT / file).is_file() for file in files)


def test_every_layer_is_in_the_table():
    layers = {path.parent.name for path in (ROOT / "lectures_jax").glob("*/__init__.py")}
    named = set(re.findall(r"`(\w+)`", TEXT.split("## Where things are")[1]))
    assert layers <= named
