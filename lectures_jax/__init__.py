"""A university deep-learning course in JAX.

Call functions through their layer (`import lectures_jax as lj`, then `lj.ops.nms`, or
`from lectures_jax import ops, losses, metrics, train`) and import classes from their file
(`from lectures_jax.models.yolo import Yolo`). A layer is imported when it is first used, so that
importing this module starts no device.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"


def _lazy_files(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose files are imported when they are used.

    Source: PEP 562.
    """
    import importlib
    import pkgutil
    import sys

    def files() -> set[str]:
        modules = pkgutil.iter_modules(sys.modules[package].__path__)
        return {module.name for module in modules if not module.name.startswith("_")}

    def load(name: str) -> Any:
        if name not in files():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(f"{package}.{name}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *files()})

    return load, names


if TYPE_CHECKING:  # what editors and type checkers are to know, which run nothing
    from lectures_jax import cli as cli
    from lectures_jax import data as data
    from lectures_jax import input_optimization as input_optimization
    from lectures_jax import losses as losses
    from lectures_jax import metrics as metrics
    from lectures_jax import models as models
    from lectures_jax import nn as nn
    from lectures_jax import objectives as objectives
    from lectures_jax import ops as ops
    from lectures_jax import optim as optim
    from lectures_jax import recipes as recipes
    from lectures_jax import report as report
    from lectures_jax import runtime as runtime
    from lectures_jax import testing as testing
    from lectures_jax import train as train
    from lectures_jax import typing as typing
    from lectures_jax import weights as weights
else:
    __getattr__, __dir__ = _lazy_files(__name__)
