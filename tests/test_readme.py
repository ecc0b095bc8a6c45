"""The commands, paths, links and examples of README and docs: each exists, and the examples run."""

import re
from pathlib import Path

import jax
import pytest

from benchmarks import tables
from lectures_jax.cli import main
from lectures_jax.cli.configuration import OWN, default_fields
from lectures_jax.cli.experiments import find_experiment
from tests.test_experiments import load

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted({"README.md", "CONTRIBUTING.md", "experiments/README.md"}) + sorted(
    f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
OWN_WORDS = {"run", "runs"}  # folders that a command makes


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(text: str) -> str:
    """Shell blocks and what stands between back quotes."""
    shell = re.findall(r"^ *```sh\n(.*?)```", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*shell, *re.findall(r"`([^`\n]+)`", text)])


def everywhere(pattern: str) -> list[tuple[str, str]]:
    """What a pattern finds in the commands of each page, with the page."""
    return sorted({(p, m) for p in PAGES for m in re.findall(pattern, commands(read(p)))})


def example_name(code: str) -> str:
    return code.strip().splitlines()[-1][:30]


def run_example(code: str) -> dict:
    """The names that an example defines."""
    namespace = {}
    with jax.numpy_rank_promotion("allow"):
        exec(compile(code, "README.md", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("code", EXAMPLES, ids=example_name)
def test_an_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run_example(code)
    if "train.fit" in code:  # the same call again reads the finished training back
        assert run_example(code)["history"][-1] == first["history"][-1]
        assert len(code.strip().splitlines()) <= 20


def test_each_audience_has_an_example():
    assert len(EXAMPLES) >= 2
    text = "".join(EXAMPLES)
    assert all(word in text for word in ("jax.jit", "jax.vmap", "jax.grad", "train.fit"))
    assert "ljx run yolo --data" in README


@pytest.mark.parametrize(("page", "target"), everywhere(r"\bmake ([a-z]+)"))
def test_a_make_target_exists(page, target):
    assert re.search(rf"^{target}:", read("Makefile"), flags=re.MULTILINE)


@pytest.mark.parametrize(("page", "command"), everywhere(r"\bljx ([a-z]+)"))
def test_a_command_exists(page, command):
    assert main([command, "--help"]) == 0


@pytest.mark.parametrize(
    ("page", "link"),
    [(p, link) for p in PAGES for link in re.findall(r"\]\(([^):#]+)[^)]*\)", read(p))],
)
def test_a_link_leads_somewhere(page, link):
    assert (ROOT / page).parent.joinpath(link).exists()


def experiment_options(text: str) -> list[tuple[str, str]]:
    """Each field that a command sets, with the experiment's name."""
    lines = re.findall(r"ljx run ([\w./]*[a-z][\w./]*)([^\n#]*)", text)
    return [(name, option) for name, rest in lines for option in re.findall(r"--([\w.-]+)", rest)]


def fields(name: str) -> set[str]:
    """What `ljx run NAME` takes: the fields of its `Config`, and the command's own options."""
    file = find_experiment(name)
    names = default_fields(load(file).Config, file)
    own = {option.replace("mesh_", "mesh.") for option in OWN}
    return {field.replace("_", "-") for field in names} | own | {"help"}


@pytest.mark.parametrize(
    ("name", "option"),
    sorted({pair for p in PAGES for pair in experiment_options(commands(read(p)))}),
)
def test_a_field_that_a_command_sets_exists(name, option):
    if "example" not in name:  # an experiment that CONTRIBUTING has the reader write
        assert option in fields(name)


def test_a_wrong_field_is_noticed():
    assert experiment_options("ljx run a/b.py --no-such 3  # --comment") == [("a/b.py", "no-such")]
    assert "no-such" not in fields("yolo")
    assert {"steps", "data", "seed"} <= fields("yolo")


def paths(text: str) -> list[str]:
    """What looks like a path below one of the project's folders."""
    candidates = re.findall(r"(?<![\w./{-])[\w.-]+/[\w./-]*", text)
    tops = {path: path.split("/")[0] for path in candidates}
    return [p for p, top in tops.items() if (ROOT / top).is_dir() and top not in OWN_WORDS]


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_in_a_page_exist(page):
    named = [path for path in paths(commands(read(page))) if "example" not in path]
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_layer_is_in_the_map():
    layers = {path.parent.name for path in (ROOT / "lectures_jax").glob("*/__init__.py")}
    named = set(re.findall(r"`(\w+)`", README.split("## Map of the house")[1]))
    assert layers <= named


def test_the_numbers_on_speed_are_those_of_the_last_benchmarks():
    bullets = re.findall(
        r"^- (.*)$", README.split("## Headline numbers")[1].split("\n## ")[0], re.M
    )
    score, *speed = bullets
    assert speed == tables.headlines(), "python -m benchmarks.tables"
    measured = re.findall(r"0\.\d{3}", score)
    assert measured
    assert ", ".join(measured) in read("docs/scores.md")
