"""CONTRIBUTING's recipes, followed to the letter in a copy of the project."""

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def block(path: str) -> str:
    """The code block that begins with the path of its file."""
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```", TEXT, flags=re.DOTALL | re.MULTILINE)
    matches = [textwrap.dedent(code) for _, code in blocks if code.strip().startswith(f"# {path}")]
    assert len(matches) == 1, f"CONTRIBUTING.md must show {path} once"
    return matches[0]


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Writes a file as the recipe shows it, and imports it under the name it would have."""

    def follow(path: str):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block(path))
        name = path.removesuffix(".py").replace("/", ".")
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return follow


def run_cases(tests, folder: Path) -> int:
    """Runs the tests of a module, each in a folder of its own, and counts them."""
    cases = {name: value for name, value in vars(tests).items() if name.startswith("test_")}
    for name, case in cases.items():
        (folder / name).mkdir()
        needs_folder = "tmp_path" in inspect.signature(case).parameters
        case(**({"tmp_path": folder / name} if needs_folder else {}))
    return len(cases)


def test_the_recipe_of_an_op(follow, tmp_path):
    follow("lectures_jax/ops/example.py")
    assert run_cases(follow("tests/ops/test_example.py"), tmp_path) == 3


def test_the_recipe_of_a_loss(follow, tmp_path):
    follow("lectures_jax/losses/example.py")
    assert run_cases(follow("tests/losses/test_example.py"), tmp_path) == 2


def test_the_recipe_of_a_reader(follow, tmp_path):
    follow("lectures_jax/data/example.py")
    assert run_cases(follow("tests/data/test_example.py"), tmp_path) == 2


def test_the_recipe_of_a_kind_of_training(follow, tmp_path):
    follow("lectures_jax/recipes/example.py")
    assert run_cases(follow("tests/recipes/test_example.py"), tmp_path) == 2


def test_the_recipe_of_a_model(follow):
    module = follow("lectures_jax/models/example.py")
    model = module.LinearClassifier(12, 3, rngs=nnx.Rngs(0))
    images = jnp.zeros((2, 2, 2, 3))
    assert model(images, key=jax.random.key(0)).shape == (2, 3)
    assert set(model.features(images)) == {"pixels"}


def test_the_recipe_of_an_experiment(follow, tmp_path):
    module = follow("experiments/ch1_expressivity/example.py")
    numbers = module.run(module.Config(**module.TINY), tmp_path)
    assert 0 <= numbers["accuracy"] <= 1
    assert module.EXPECTED.keys() <= numbers.keys()
    assert (tmp_path / "loss.svg").is_file()


def test_the_recipe_of_a_benchmark(tmp_path):
    """In a process of its own: benchmarks change how a process keeps its memory."""
    (tmp_path / "example.py").write_text(block("benchmarks/example.py"))
    program = "import example, json; print(json.dumps(example.measure(repeats=3)))"
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    row = json.loads(done.stdout)
    assert {"case", "lectures_jax", "jax", "ratio", "quartiles", "load", "loaded"} == row.keys()


def test_every_shell_command_names_what_exists():
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL))
    files = re.findall(r"tests/[\w/]+\.py", shell)
    assert files
    assert all((ROOT / file).is_file() for file in files)
