"""How many numbers a module is made of."""

import jax
from flax import nnx


def count_parameters(module: nnx.Module) -> int:
    """Returns how many numbers training adjusts; running averages do not count.

    Args:
        module: any module, or one of shapes only, as `nnx.eval_shape` makes it.
    """
    return sum(parameter.size for parameter in jax.tree.leaves(nnx.state(module, nnx.Param)))
