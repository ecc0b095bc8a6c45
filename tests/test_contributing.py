"""CONTRIBUTING's three recipes, followed to the letter in a copy of the project."""

import importlib.util
import re
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
    found = [textwrap.dedent(code) for _, code in blocks if code.strip().startswith(f"# {path}")]
    assert len(found) == 1, f"CONTRIBUTING.md must show {path} once"
    return found[0]


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


def test_the_recipe_of_an_op(follow):
    follow("lectures_jax/ops/example.py")
    tests = follow("tests/ops/test_example.py")
    cases = [value for name, value in vars(tests).items() if name.startswith("test_")]
    assert len(cases) == 3
    for case in cases:
        case()


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
    assert (tmp_path / "loss.svg").is_file()
