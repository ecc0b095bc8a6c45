"""Each layer exports every public function that its files define, once, and nothing else."""

import ast
import dataclasses
import importlib
import inspect
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lectures_jax"
LAYERS = ["ops", "losses", "metrics", "optim", "objectives", "input_optimization", "data", "train"]
LAYERS += ["report", "weights"]


def defined(path: Path) -> set[str]:
    """Public functions at the top of a file."""
    body = ast.parse(path.read_text()).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in body if isinstance(node, kinds) and node.name[0] != "_"}


def shared(path: Path) -> set[str]:
    """Functions that another file of the same layer uses: shared inside, not for users."""
    names = set()
    for other in set(path.parent.glob("*.py")) - {path, path.with_name("__init__.py")}:
        for node in ast.walk(ast.parse(other.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] == path.stem:
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names |= {node.attr} if node.value.id == path.stem else set()
    return names


def unexported(folder: Path, exported: list[str]) -> set[str]:
    """Public functions of a layer that are neither exported nor shared inside of it."""
    return {
        f"{path.name}: {name}"
        for path in folder.glob("*.py")
        if path.stem[0] != "_"
        for name in defined(path) - shared(path)
        if name not in exported
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_every_name_in_all_exists_once(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    assert len(module.__all__) == len(set(module.__all__))
    assert not [name for name in module.__all__ if not hasattr(module, name)]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_public_function_is_exported(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    assert not unexported(PACKAGE / layer, module.__all__)


def test_a_forgotten_function_is_noticed_and_a_shared_one_is_not_missed(tmp_path):
    (tmp_path / "a.py").write_text("def new(): ...\ndef used(): ...\ndef _own(): ...\n")
    (tmp_path / "b.py").write_text("from .a import used\ndef old(): used()\n")
    assert unexported(tmp_path, ["old"]) == {"a.py: new"}


@pytest.mark.parametrize("layer", LAYERS)
def test_an_exported_class_is_what_functions_return(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            record = dataclasses.is_dataclass(value) or hasattr(value, "_fields")
            assert record or issubclass(value, Exception), f"{name} belongs to its file"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_function_has_one_address(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    for name in module.__all__:
        home = getattr(getattr(module, name), "__module__", None)
        assert home is None or home.startswith((f"lectures_jax.{layer}", "functools", "jax")), name


@pytest.mark.parametrize("layer", ["nn", "models", "recipes"])
def test_classes_are_imported_from_their_files(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    assert not getattr(module, "__all__", [])


USE = """
import lectures_jax as lj
from lectures_jax.models.yolo import Yolo
from lectures_jax import models

lj.ops.relu(lj.ops.sigmoid(None))
models.cnn.Cnn
reveal_type(Yolo.predict)
lj.train.fit()
lj.nothing
"""


def test_type_checkers_and_editors_resolve_the_installed_package(tmp_path):
    pyright = Path(sys.executable).with_name("pyright")
    if not pyright.exists():
        pytest.skip("pyright is not installed")
    # A finder of setuptools, which only running Python follows, would leave files like this one.
    assert not list(Path(sysconfig.get_paths()["purelib"]).glob("__editable___lectures_jax*"))
    (tmp_path / "use.py").write_text(USE)
    command = [pyright, "--outputjson", "--pythonpath", sys.executable, "use.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    messages = [entry["message"] for entry in json.loads(done.stdout)["generalDiagnostics"]]
    assert not [message for message in messages if "could not be resolved" in message]
    assert any("Detections" in message for message in messages)
    assert any('missing for parameters "key", "model"' in message for message in messages)
    assert any('"nothing" is not a known attribute' in message for message in messages)
