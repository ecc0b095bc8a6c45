"""Each layer exports every public function that its files define, once, and nothing else."""

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lectures_jax"
LAYERS = ["ops", "losses", "metrics", "optim", "objectives", "data", "train", "report", "weights"]


def defined(path: Path) -> set[str]:
    """Public functions at the top of a file."""
    body = ast.parse(path.read_text()).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in body if isinstance(node, kinds) and node.name[0] != "_"}


def helpers(path: Path) -> set[str]:
    """Functions that another file of the same layer imports: shared inside, not for users."""
    own = path.stem
    found = set()
    for other in path.parent.glob("*.py"):
        if other.stem in (own, "__init__"):
            continue
        for node in ast.walk(ast.parse(other.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] == own:
                found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_every_name_in_all_exists_once(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    assert len(module.__all__) == len(set(module.__all__))
    assert not [name for name in module.__all__ if not hasattr(module, name)]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_public_function_is_exported(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    missing = {
        f"{path.name}: {name}"
        for path in (PACKAGE / layer).glob("*.py")
        if path.stem[0] != "_"
        for name in defined(path) - helpers(path)
        if name not in module.__all__
    }
    assert not missing


@pytest.mark.parametrize("layer", LAYERS)
def test_a_function_has_one_address(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    for name in module.__all__:
        home = getattr(getattr(module, name), "__module__", None)
        assert home is None or home.startswith((f"lectures_jax.{layer}", "functools", "jax")), name


@pytest.mark.parametrize("layer", ["nn", "models"])
def test_classes_are_imported_from_their_files(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    assert not getattr(module, "__all__", [])
