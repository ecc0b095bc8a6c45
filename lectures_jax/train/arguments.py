"""Arguments of a training that are of another kind: refused in one line, before the first step."""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import DTypeLike

from lectures_jax.typing import is_typed_key

_LINEN = "; nnx.bridge.ToNNX makes one of it"


def check_run(key: Any, model: Any, batches: Any, *, steps: Any, evaluate: Any, out: Any) -> None:
    """Raises a `ValueError` about the first argument of `run` that is of another kind.

    Args:
        key: a PRNG key.
        model: an `nnx` module, or a function that makes one.
        batches: an iterable of dictionaries.
        steps: at least 1, or None.
        evaluate: a function, or None.
        out: a path, or None.
    """
    if not (_is_array(key) and (is_typed_key(key) or key.shape == (2,))):
        raise ValueError(f"key must be a PRNG key such as jax.random.key(0), got {_kind(key)}.")
    linen = _LINEN if any("linen" in base.__module__ for base in type(model).__mro__) else ""
    if not isinstance(model, nnx.Module) and (linen or not _makes(model)):
        wanted = "an nnx.Module or a function without arguments that makes one"
        raise ValueError(f"model must be {wanted}, got {_kind(model)}{linen}.")
    if isinstance(batches, (Mapping, str)) or not isinstance(batches, Iterable):
        raise ValueError(
            "batches must be an iterable of dictionaries of arrays, such as a list of them, got "
            f"{_kind(batches)}."
        )
    if steps is not None and not (isinstance(steps, (int, np.integer)) and steps >= 1):
        raise ValueError(f"steps must be a whole number of at least 1, got {steps}.")
    if evaluate is not None and not callable(evaluate):
        raise ValueError(f"evaluate must be a function of the model, got {_kind(evaluate)}.")
    if out is not None and (not isinstance(out, (str, Path)) or not str(out)):
        raise ValueError(f"out must be the path of a folder, got {_kind(out)}.")


def check_batch(batch: Any) -> None:
    """Raises a `ValueError` if a batch is no dictionary of arrays.

    Args:
        batch: the first one.
    """
    if not isinstance(batch, Mapping):
        raise ValueError(f"each batch must be a dictionary of arrays by name, got {_kind(batch)}.")
    for path, x in jax.tree.leaves_with_path(batch):
        number = len(path) == 1 and isinstance(x, (bool, int, float))
        if not (_is_array(x) or number) or getattr(x, "dtype", None) == np.dtype(object):
            convert = ", which .numpy() converts" if hasattr(x, "numpy") else ""
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"a batch must hold NumPy or JAX arrays, got {_kind(x)} at {name}{convert}."
            )


def check_updates(
    *optimizers: Any, ema_decay: float | None, precision: DTypeLike | None = None
) -> None:
    """Raises a `ValueError` about the first option of a learner that cannot be meant.

    Args:
        optimizers: Optax's, such as `optax.adam(1e-3)`.
        ema_decay: in [0, 1), None for no averages.
        precision: a float dtype, None for the model's own.
    """
    for optimizer in optimizers:
        if not isinstance(optimizer, optax.GradientTransformation):
            raise ValueError(
                "optimizer must be an Optax transformation such as optax.adam(1e-3), got "
                f"{_kind(optimizer)}."
            )
    if ema_decay is not None and not 0 <= ema_decay < 1:  # NaN is not, either
        raise ValueError(f"ema_decay must be in [0, 1), got {ema_decay}.")
    if precision is not None and not jnp.issubdtype(jnp.dtype(precision), jnp.floating):
        raise ValueError(f"precision must be a float dtype, got {jnp.dtype(precision)}.")


def loss_and_metrics(result: Any) -> tuple[Any, Any]:
    """Returns what an objective returned, if it is a scalar and a dictionary.

    Args:
        result: of an objective.

    Raises:
        ValueError: if it is something else.
    """
    wanted = "objective must return a scalar and a dictionary of metrics, as `return loss, {}` does"
    if not (isinstance(result, tuple) and len(result) == 2):
        raise ValueError(f"{wanted}, got {_kind(result)}.")
    loss, metrics = result
    if not isinstance(metrics, Mapping):
        raise ValueError(f"{wanted}, got {_kind(metrics)} in place of the metrics.")
    if np.shape(loss) != ():
        raise ValueError(f"{wanted}, got a loss of shape {np.shape(loss)}; take its mean.")
    return loss, metrics


def _makes(model: Any) -> bool:
    """Whether it is a function without arguments; a class of Flax's needs `rngs`."""
    if isinstance(model, type):
        return False
    try:
        inspect.signature(model).bind()
    except (TypeError, ValueError):
        return False
    return True


def _is_array(x: Any) -> bool:
    return isinstance(x, (jax.Array, np.ndarray, np.generic))


def _kind(x: Any) -> str:
    """Names a value's type, with the module of another library's."""
    if _is_array(x):
        return f"an array of {x.dtype} and shape {x.shape}"
    if isinstance(x, type):
        return f"the class {x.__qualname__}"
    module = type(x).__module__.partition(".")[0]
    name = type(x).__qualname__
    shown = name if module in ("builtins", "__main__") else f"{module}.{name}"
    return f"the {shown} {x!r}" if isinstance(x, (int, float, str)) else f"a {shown}"
