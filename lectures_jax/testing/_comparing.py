"""Comparison of results for the op contract, with errors of one line."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax.testing._derivatives import is_float

ROUNDING = 1e-5  # of the largest value: how far fused and batched float32 sums may drift


def require(holds: Any, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def assert_equal(got: Any, want: Any, exact: bool) -> None:
    """Compares trees; integers must agree exactly, floats up to `ROUNDING` unless `exact`."""
    require(jax.tree.structure(got) == jax.tree.structure(want), "the trees differ")
    for index, (a, b) in enumerate(zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)):
        require(signature(a) == signature(b), f"{signature(a)} instead of {signature(b)}")
        a, b = to_numpy(a), to_numpy(b)
        if exact or not is_float(b):
            same = np.array_equal(a, b, equal_nan=is_float(b))
            require(same, f"result {index} differs: {a} instead of {b}")
            continue
        allowed = ROUNDING * np.max(np.abs(b[np.isfinite(b)]), initial=0)
        close = np.allclose(a, b, rtol=0, atol=allowed, equal_nan=True)
        require(close, f"result {index} differs by more than {allowed:.3g}: {a} instead of {b}")


def largest(arrays: Sequence[Any]) -> float:
    return max((float(np.max(np.abs(a), initial=0)) for a in arrays), default=0.0)


def signature(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}"


def is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def to_numpy(x: jax.Array) -> np.ndarray:
    if is_key(x):
        return np.asarray(jax.random.key_data(x))
    # NumPy's comparisons do not know the 16-bit floats.
    return np.asarray(x, np.float64) if is_float(x) else np.asarray(x)
