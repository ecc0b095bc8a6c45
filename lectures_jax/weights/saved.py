"""A trained model as one file: its arrays, its kind, and the settings that build it again."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax.runtime import parse_object
from lectures_jax.typing import is_typed_key
from lectures_jax.weights.build import ModelSettings, build_model
from lectures_jax.weights.safetensors_io import (
    Tree,
    described,
    open_safetensors,
    read_arrays,
    save_safetensors,
)

MAX_BYTES = 2**31  # of a model's file: half a billion numbers
MAX_TEXT = 2**21  # characters of the settings: ten thousand names of classes


class SavedModel(NamedTuple):
    """A model that is ready for use.

    Attributes:
        model: with the saved arrays, in evaluation mode: no dropout, batch norm's averages.
        kind: such as "classifier"; see `weights.build_model`.
        settings: those that it was saved with, as JSON gives them back.
    """

    model: Any
    kind: str
    settings: dict[str, Any]


def save_model(path: Path, model: nnx.Module, *, kind: str, settings: ModelSettings) -> None:
    """Writes a model to a safetensors file, all of it or nothing.

    Args:
        path: file to write.
        model: its parameters and buffers are written, floats as float32; random keys are not.
        kind: one that `weights.build_model` knows.
        settings: with these `build_model` must make the same network; whatever else the model's
            use needs may stand beside them.

    Raises:
        ValueError: if JSON cannot hold the settings, or they build another network.
    """
    try:
        text = json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings must be values of JSON, got {settings} ({error}).") from error
    tree = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))
    tree = jax.tree.map(_as_float32, tree)
    _compare(
        _shapes(tree),
        _abstract(kind, json.loads(text)),
        expected=f"settings must build this {kind}",
    )
    save_safetensors(path, tree, metadata={"kind": kind, "settings": text})


def load_model(path: Path | str) -> SavedModel:
    """Returns the model that `save_model` wrote; nothing of the file is executed.

    Args:
        path: file to read.

    Raises:
        ValueError: if the file is damaged or larger than 2 GiB, its settings are beyond the limits
            of `weights.schema`, or an array is missing, left over, of another shape or dtype than
            the settings say, or not finite. Memory is taken once all but the last are known.
        FileNotFoundError: if there is no file.
    """
    with open_safetensors(path, most=MAX_BYTES) as file:
        kind, settings = _described_model(path, file.metadata() or {})
        try:
            model = _abstract(kind, settings)
            _compare(described(file), model, expected="the arrays must fit the settings")
            tree = read_arrays(file, Path(path))
            _require_finite(tree)
        except Exception as error:  # a constructor of Flax may raise anything
            raise ValueError(f"{path}: expected a sound model file: {_one_line(error)}") from error
    model = with_arrays(model, jax.tree.map(jnp.asarray, tree))
    model = nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
    return SavedModel(model, kind, settings)


def _described_model(path: Path | str, metadata: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The kind and the settings that a file states."""
    if not {"kind", "settings"} <= metadata.keys():
        raise ValueError(f"{path}: expected a model saved by save_model, got other weights.")
    text = metadata["settings"]
    if len(text) > MAX_TEXT:
        got = f"{len(text):,} characters"
        raise ValueError(f"{path}: expected settings of at most {MAX_TEXT:,}, got {got}.")
    return metadata["kind"], parse_object(text, path, expected="settings in JSON")


def _require_finite(tree: Tree) -> None:
    for name, leaf in _named(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(leaf).all():
            raise ValueError(f"the arrays must be finite, got NaN or infinity in {name}.")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"


def _abstract(kind: str, settings: ModelSettings) -> Any:
    """The model with shapes for arrays: a hundred times faster to make than the model itself."""
    return nnx.eval_shape(lambda: build_model(kind, settings, rngs=nnx.Rngs(0)))


def with_arrays(model: Any, tree: Tree) -> Any:
    """Returns an abstract model with its arrays; dropout gets a key that is never used.

    Its keys are not in files, for they are state of a training and not of a model.

    Args:
        model: of shapes, from `nnx.eval_shape`.
        tree: all arrays but random keys, as `nnx.to_pure_dict` names them.
    """
    structure, random, others = nnx.split(model, nnx.RngState, ...)
    nnx.replace_by_pure_dict(others, tree)
    random = jax.tree.map(
        lambda leaf: jax.random.key(0) if is_typed_key(leaf) else jnp.zeros(leaf.shape, leaf.dtype),
        random,
    )
    return nnx.merge(structure, random, others)


def _compare(given: Mapping[str, str], model: Any, *, expected: str) -> None:
    """Refuses arrays whose names, shapes or dtypes are not those of the abstract model."""
    own = _shapes(nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState))))
    for name in sorted({*own, *given}):
        if own.get(name) != given.get(name):
            there, here = given.get(name, "nothing"), own.get(name, "nothing")
            raise ValueError(f"{expected}, got {there} and not {here} as {name}.")


def _shapes(tree: Tree) -> dict[str, str]:
    """Each array's name, and its dtype and shape in words."""
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in _named(tree)}


def _named(tree: Tree) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree.leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="."), leaf


def _as_float32(leaf: jax.Array) -> np.ndarray:
    """On the host, since the file is written there."""
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return np.asarray(leaf, np.float32 if floating else leaf.dtype)
