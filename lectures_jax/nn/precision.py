"""Computing in half precision: the rule for a module's `dtype`.

A module's `dtype` is what it computes in, and its parameters stay float32, as in Flax: input and
parameters are cast when it is called, None keeps the dtype that they have in common. Statistics and
losses are float32 sums whatever comes in, and so are the densities of flows; what a network returns
has its last layer's dtype.
"""

from typing import Any, TypeVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike

M = TypeVar("M", bound=nnx.Module)


def compute_in(model: M, dtype: DTypeLike | None) -> M:
    """Returns the network with every layer computing in a dtype; its arrays are shared.

    Args:
        model: left as it is.
        dtype: such as `jnp.bfloat16`; None: what each layer's input and parameters have in common.

    Raises:
        ValueError: if `dtype` is not one of floats, or no layer has a `dtype` that could be set.
    """
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be one of floats, such as bfloat16, got {dtype}.")
    copy = nnx.merge(*nnx.split(model))
    layers = [module for _, module in nnx.iter_modules(copy) if hasattr(module, "dtype")]
    if not layers:
        raise ValueError(f"model must have layers with a dtype, got {type(model).__name__}.")
    for layer in layers:
        layer.dtype = dtype  # pyright: ignore[reportAttributeAccessIssue]
    return copy


def promote(dtype: DTypeLike | None, *arrays: Array | None) -> list[Any]:
    """Returns arrays in a module's dtype, or in the dtype that they have in common.

    Args:
        dtype: of the module, or None.
        *arrays: input and parameters; None stays None.
    """
    common = jnp.result_type(*(x for x in arrays if x is not None)) if dtype is None else dtype
    return [None if x is None else x.astype(common) for x in arrays]
