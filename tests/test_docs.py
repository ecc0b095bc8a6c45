"""The samples of docs/style.md run and hold; the tables of docs/design.md are true."""

import importlib
import inspect
import re
import unittest
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.testing import check_op
from tests.test_layers import MAY_IMPORT

ROOT = Path(__file__).resolve().parent.parent
STYLE = (ROOT / "docs" / "style.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
TORCHVISION = (ROOT / "docs" / "torchvision.md").read_text(encoding="utf-8")
HIDDEN = {"__init__", "__main__", "_derivatives"}  # files of the package, not layers


@pytest.fixture(scope="module")
def samples() -> dict:
    """What the samples define, run one after the other."""
    namespace = {"__name__": "docs_style"}
    for code in re.findall(r"```python\n(.*?)```", STYLE, flags=re.DOTALL):
        exec(compile(code, "docs/style.md", "exec"), namespace)
    return namespace


def test_the_op_keeps_the_contract_and_its_test_passes(samples):
    x = np.array([-2.0, -0.25, 0.75, 3.0], np.float32)
    check_op(lambda x: samples["soft_threshold"](x, width=0.5), (x,), edges=[(0 * x,)])
    samples["test_a_value_nearer_than_the_width_becomes_zero"]()
    with pytest.raises(ValueError, match="at least 0, got -1"):
        samples["soft_threshold"](jnp.zeros(2), width=-1)


def test_the_loss_has_one_value_per_example(samples):
    log_rate, count = jnp.log(jnp.array([[1.0, 2.0], [3.0, 4.0]])), jnp.array([[0.0, 1], [2, 3]])
    loss = samples["poisson_nll"](log_rate, count)
    expected = [1 + 2 - np.log(2), 3 - 2 * np.log(3) + 4 - 3 * np.log(4)]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_objective_takes_the_module(samples):
    model = samples["GatedLinear"](3, 2, rngs=nnx.Rngs(0))
    batch = {"x": jnp.ones((4, 3)), "count": jnp.ones((4, 2))}
    loss, metrics = samples["counts"](model, batch, jax.random.key(0))
    assert loss.shape == ()
    assert set(metrics) == {"loss", "rate"}


def test_the_property_holds(samples):
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(samples["SoftThresholdTest"])
    assert suite.countTestCases() == 2
    result = unittest.TestResult()
    suite.run(result)
    assert not result.errors + result.failures


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the table with this header, as the names and words in them."""
    table = text.split(header)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def named(cell: str) -> list[str]:
    return re.findall(r"`([\w/.]+)`", cell)


def test_the_table_of_layers_has_them_all():
    layers = {name for row in rows(DESIGN, "| layer | rule |") for name in named(row[0])}
    packages = {f.parent.name for f in (ROOT / "lectures_jax").glob("*/__init__.py")}
    assert packages <= layers


def test_the_table_of_imports_is_the_one_that_is_tested():
    table = {
        name: row[1] for row in rows(DESIGN, "| layer | may import |") for name in named(row[0])
    }
    every = set(MAY_IMPORT) - {"recipes"}
    for name, layers in MAY_IMPORT.items():
        if name not in HIDDEN:
            listed = set(named(table[name]))
            allowed = every - listed if table[name].startswith("every layer but") else listed
            assert allowed - HIDDEN == layers - HIDDEN, name
    assert table.keys() == (MAY_IMPORT.keys() - HIDDEN) | {"cli"}


def test_every_convention_names_a_test_that_exists():
    conventions = rows(DESIGN, "| convention | test |")
    assert len(conventions) > 5
    assert all((ROOT / named(row[1])[0]).is_file() for row in conventions)


def test_continuous_integration_covers_both_ends_of_the_supported_pythons():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    supported = re.findall(r"Python :: (3\.\d+)", project)
    (matrix,) = re.findall(r"python: \[(.*)\]", workflow)
    assert re.findall(r"3\.\d+", matrix) == [supported[0], supported[-1]]
    assert "run: .ci/run" in workflow


OPERATORS = np.load(ROOT / "tests" / "golden" / "torchvision_ops.npz")["names"]  # its `__all__`
ROWS = [
    re.split(r"(?<!\\) \| ", line.strip("| "), maxsplit=2)
    for line in TORCHVISION.splitlines()
    if line.startswith("| ") and not line.startswith("| torchvision")
]


def test_every_operator_of_torchvision_has_its_row():
    names = [name for row in ROWS for name in re.findall(r"`(\w+)", row[0])]
    assert sorted(names) == sorted(OPERATORS)


@pytest.mark.parametrize("row", [r for r in ROWS if r[1] != "–"], ids=lambda row: row[0][:30])
def test_what_a_user_of_torchvision_looks_for_exists(row):
    for name in re.findall(r"`((?:ops|losses|nn|models)\.[\w.]+)", " ".join(row[1:])):
        module, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(f"lectures_jax.{module}"), last), name
    call = re.match(r"`(\w+)\.(\w+)\((.*)\)`", row[1])
    if call:  # with options that the function has
        function = getattr(importlib.import_module(f"lectures_jax.{call[1]}"), call[2])
        options = set(re.findall(r"(\w+)=", call[3]))
        assert options <= set(inspect.signature(function).parameters)
