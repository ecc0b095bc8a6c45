"""The arrays of a module: how many numbers they hold, and their copy into another."""

import jax
from flax import nnx


def count_parameters(module: nnx.Module) -> int:
    """Returns how many numbers training adjusts; running averages do not count.

    Args:
        module: any module, or one of shapes only, as `nnx.eval_shape` makes it.
    """
    return sum(parameter.size for parameter in jax.tree.leaves(nnx.state(module, nnx.Param)))


def copy_arrays(source: nnx.Module, target: nnx.Module) -> None:
    """Sets the arrays of a module, parameters and statistics, to those of another.

    Args:
        source: stays as it is.
        target: gets the values.

    Raises:
        ValueError: if their arrays differ in names or shapes.
    """
    given, wanted = (
        {path: value.shape for path, value in nnx.to_flat_state(nnx.state(module))}
        for module in (source, target)
    )
    for path in sorted(given.keys() | wanted.keys(), key=str):
        if given.get(path) != wanted.get(path):
            name = ".".join(map(str, path))
            raise ValueError(f"{name}: expected {wanted.get(path)}, got {given.get(path)}.")
    nnx.update(target, nnx.state(source))
