"""Imports point one way, and importing starts no device and needs no extra."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lectures_jax"
MAY_IMPORT = {
    "typing": set(),
    "testing": set(),
    "ops": {"typing"},
    "losses": {"typing", "ops"},
    "metrics": {"typing", "ops"},
    "nn": {"typing", "ops"},
    "data": {"typing", "ops"},
    "optim": {"typing", "ops"},
    "models": {"typing", "nn", "ops"},
    "weights": {"typing", "nn", "ops", "models"},
    "objectives": {"typing", "losses", "metrics", "ops"},
    "input_optimization": {"typing", "losses", "ops"},
    "train": {"typing"},
    "report": {"typing"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, also inside functions."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def layers_imported(path: Path) -> set[str]:
    names = {n.split(".")[1] for n in imports(path) if n.startswith("lectures_jax.")}
    return names & {layer(file) for file in FILES} - {layer(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_the_layers_below_it(path):
    own = layer(path)
    if own in ("cli", "__main__"):
        return
    if own.startswith("_"):  # __init__ and private helpers of the package itself
        assert layers_imported(path) == set()
        return
    forbidden = {name for name in layers_imported(path) if not name.startswith("_")}
    assert forbidden <= MAY_IMPORT[own], f"{own} must not import {forbidden - MAY_IMPORT[own]}"


def test_the_reader_of_imports_sees_each_form(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "lectures_jax")
    file = tmp_path / "lectures_jax" / "ops" / "a.py"
    file.parent.mkdir(parents=True)
    file.write_text("from lectures_jax import nn\nfrom ..models import yolo\nimport flax.nnx\n")
    assert {"lectures_jax.nn", "lectures_jax.models.yolo", "flax.nnx"} <= imports(file)


def importers(module: str) -> set[str]:
    return {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name == module or name.startswith(f"{module}.") for name in imports(path))
    }


def test_ops_and_losses_and_metrics_know_no_flax():
    assert not [f for f in importers("flax") if f.split("/")[0] in ("ops", "losses", "metrics")]


def test_orbax_is_imported_in_one_module():
    assert importers("orbax") == {"train/checkpoint.py"}


def test_experiments_are_loaded_by_path_only():
    assert not importers("experiments")


PROBE = """
import sys
class Block:
    extras = {extras!r}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.extras:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
import lectures_jax
assert "jax" not in sys.modules, "importing lectures_jax imports jax"
from lectures_jax import losses, metrics, nn, objectives, ops, optim, train
from lectures_jax.models import yolo
from jax._src import xla_bridge
assert not xla_bridge._backends, "importing starts a device"
try:
    from lectures_jax import data
except ImportError as error:
    print(error)
"""
EXTRAS = (
    *("grain", "PIL", "matplotlib", "sklearn", "tyro", "rich", "defusedxml", "tensorboardX"),
    *("flatbuffers", "safetensors", "chex", "hypothesis", "scipy_is_core", "pytest"),
)


def test_functions_networks_and_training_need_the_core_alone():
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(extras=EXTRAS)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'lectures_jax[experiments]'" in done.stdout
    assert len(done.stdout.splitlines()) == 1
