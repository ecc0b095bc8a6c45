"""Imports point one way, and importing starts no device and needs no extra."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lectures_jax"
MAY_IMPORT = {
    "__init__": set(),  # but for the layers' names, which it tells to type checkers alone
    "typing": set(),
    "runtime": set(),
    "testing": set(),
    "ops": {"typing"},
    "optim": {"typing"},
    "losses": {"typing", "ops"},
    "metrics": {"typing", "ops"},
    "nn": {"typing", "ops"},
    "data": {"typing", "runtime", "ops"},
    "models": {"typing", "nn", "ops"},
    "weights": {"typing", "runtime", "nn", "ops", "models", "data"},
    "objectives": {"typing", "losses", "metrics", "ops"},
    "input_optimization": {"typing", "losses", "ops"},
    "train": {"typing", "runtime", "nn"},  # of nn only what lets a failed step be searched
    "report": {"typing", "runtime"},
}
MAY_IMPORT["recipes"] = set(MAY_IMPORT) - {"testing"}
ANYTHING = {"cli", "__main__"}
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in FILES}


def imports(source: str, parent: str) -> set[str]:
    """Absolute names of what a source imports, also inside of functions.

    `from a import b` counts as `a` and as `a.b`, for b may be a module.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = parent.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def forbidden(source: str, layer: str, parent: str) -> set[str]:
    """The layers that a source imports and must not."""
    parts = [name.split(".") for name in imports(source, parent)]
    layers = {p[1] for p in parts if p[0] == PACKAGE.name and len(p) > 1 and p[1] in NAMES}
    return layers - MAY_IMPORT[layer] - {layer}


def executed(source: str) -> str:
    """The source without what stands under `if TYPE_CHECKING`."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return ast.unparse(tree)


def layer_of(file: Path) -> tuple[str, str]:
    """The layer of a file, and the package that its relative imports start from."""
    parts = file.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py"), ".".join([PACKAGE.name, *parts[:-1]])


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if layer_of(file)[0] not in ANYTHING],
    ids=lambda file: str(file.relative_to(PACKAGE)),
)
def test_a_file_imports_only_what_its_layer_may(file):
    layer, parent = layer_of(file)
    source = file.read_text()
    assert not forbidden(executed(source) if layer == "__init__" else source, layer, parent)


@pytest.mark.parametrize(
    "source",
    [
        "from lectures_jax import nn",
        "import lectures_jax.nn.residual",
        "from lectures_jax.nn.residual import ResidualBlock",
        "from ..nn import residual",
        "from .. import nn",
        "def f():\n    from lectures_jax import nn",
    ],
)
def test_an_upward_import_is_noticed_in_each_form(source):
    assert forbidden(source, "ops", "lectures_jax.ops") == {"nn"}
    assert not forbidden(source, "models", "lectures_jax.models")


def importers(*modules: str) -> set[str]:
    """The files that import one of these modules, or a part of it."""
    prefixes = tuple(f"{module}." for module in modules)
    return {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        if any(
            f"{name}.".startswith(prefixes) for name in imports(file.read_text(), layer_of(file)[1])
        )
    }


def test_ops_losses_and_metrics_know_no_flax_and_no_optax():
    pure = ("ops/", "losses/", "metrics/")
    assert not [name for name in importers("flax", "optax") if name.startswith(pure)]
    assert "models/yolo.py" in importers("flax")


def test_training_knows_no_block_of_a_network():
    blocks = {f"lectures_jax.nn.{file.stem}" for file in (PACKAGE / "nn").glob("[!_]*.py")}
    users = importers(*blocks - {"lectures_jax.nn.capture", "lectures_jax.nn.precision"})
    assert not [name for name in users if name.startswith("train/")]
    assert "models/yolo.py" in users


def test_chex_and_hypothesis_are_imported_for_tests_only():
    assert all(name.startswith("testing/") for name in importers("chex", "hypothesis"))


def test_orbax_is_imported_in_one_module():
    (module,) = importers("orbax")
    assert module.startswith("train/")


def test_the_library_never_imports_its_users():
    assert not importers("experiments", "benchmarks", "tests")


def test_the_package_names_every_layer_to_type_checkers():
    source = (PACKAGE / "__init__.py").read_text()
    named = imports(source, "lectures_jax") - imports(executed(source), "lectures_jax")
    layers = {f"lectures_jax.{name}" for name in NAMES if not name.startswith("_")}
    assert named - {"lectures_jax"} == layers


LAZY = """
import sys
import lectures_jax as lj
print("jax" in sys.modules, "lectures_jax.ops" in sys.modules)
print(lj.ops.nms.__name__, lj.models.yolo.Yolo.__name__, lj.nn.residual.ResidualSum.__name__)
print(lj.recipes.settings.require.__name__)
for module in (lj, lj.models):
    try:
        module.nothing
    except AttributeError as error:
        print(error)
"""


def test_layers_and_files_are_imported_when_they_are_used():
    program = [sys.executable, "-c", LAZY]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False False",
        "nms Yolo ResidualSum",
        "require",
        "module 'lectures_jax' has no attribute 'nothing'",
        "module 'lectures_jax.models' has no attribute 'nothing'",
    ]


@pytest.mark.parametrize("layer", ["", "nn", "models", "recipes"])
def test_a_package_lists_its_files_for_completion(layer):
    module = importlib.import_module(f"lectures_jax.{layer}".rstrip("."))
    files = {m.name for m in pkgutil.iter_modules(module.__path__) if m.name[0] != "_"}
    assert files
    assert files <= set(dir(module))


WITHOUT_EXTRAS = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {extras!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
import lectures_jax
print("jax" in sys.modules)
from lectures_jax import losses, metrics, nn, objectives, ops, optim, recipes, runtime
from lectures_jax import testing, train, typing
from lectures_jax.models import yolo
from jax._src import xla_bridge
from lectures_jax import data
print(len(xla_bridge._backends))
for layer in ("report", "weights"):
    try:
        __import__(f"lectures_jax.{{layer}}")
    except ImportError as error:
        print(error)
try:
    data.read_voc
except ImportError as error:
    print(error)
import jax
moons = data.two_moons(jax.random.key(0), count=3)
print(next(data.batches(moons, batch_size=2))["x"].shape, data.read_idx.__name__)
"""

# Not rich, which Flax imports.
EXTRAS = {
    *("grain", "PIL", "matplotlib", "sklearn", "tyro", "defusedxml", "tensorboardX", "safetensors"),
    *("chex", "hypothesis", "beartype", "pytest", "pycocotools", "skimage", "selenium"),
}


def test_functions_networks_and_training_need_no_extra_and_importing_starts_no_device():
    program = [sys.executable, "-c", WITHOUT_EXTRAS.format(extras=EXTRAS)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    imported_jax, devices, *refusals, moons = done.stdout.splitlines()
    assert (imported_jax, devices) == ("False", "0")
    assert len(refusals) == 3
    assert moons == "(2, 2) read_idx"
    assert all("pip install 'lectures_jax[experiments]'" in line for line in refusals)
