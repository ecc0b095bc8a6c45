"""A trained model as one file: its arrays, its kind, and the settings that build it again."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax.weights.build import ModelSettings, build_model
from lectures_jax.weights.safetensors_io import Tree, load_safetensors, save_safetensors


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
    _compare(tree, _abstract(kind, json.loads(text)), expected=f"settings must build this {kind}")
    save_safetensors(path, tree, metadata={"kind": kind, "settings": text})


def load_model(path: Path | str) -> SavedModel:
    """Returns the model that `save_model` wrote; nothing of the file is executed.

    Args:
        path: file to read.

    Raises:
        ValueError: if the file is damaged, or holds something else.
        FileNotFoundError: if there is no file.
    """
    tree, metadata = load_safetensors(path)
    if not {"kind", "settings"} <= metadata.keys():
        raise ValueError(f"{path}: expected a model saved by save_model, got other weights.")
    kind = metadata["kind"]
    try:
        settings = json.loads(metadata["settings"])
        if not isinstance(settings, dict):
            raise ValueError(f"settings must be an object, got {settings!r}.")
        model = _abstract(kind, settings)
        _compare(tree, model, expected="the arrays must fit the settings")
    except Exception as error:  # with the settings of a stranger a constructor may raise anything
        raise ValueError(f"{path}: expected a sound model file: {error}") from error
    model = _with_arrays(model, jax.tree.map(jnp.asarray, tree))
    model = nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
    return SavedModel(model, kind, settings)


def _abstract(kind: str, settings: ModelSettings) -> Any:
    """The model with shapes for arrays: a hundred times faster to make than the model itself."""
    return nnx.eval_shape(lambda: build_model(kind, settings, rngs=nnx.Rngs(0)))


def _with_arrays(model: Any, tree: Tree) -> Any:
    """The abstract model with its arrays; dropout, which is random, gets a key that is never used.

    Its keys are not in files, for they are state of a training and not of a model.
    """
    structure, random, others = nnx.split(model, nnx.RngState, ...)
    nnx.replace_by_pure_dict(others, tree)
    random = jax.tree.map(
        lambda leaf: jax.random.key(0) if _is_key(leaf) else jnp.zeros(leaf.shape, leaf.dtype),
        random,
    )
    return nnx.merge(structure, random, others)


def _compare(tree: Tree, model: Any, *, expected: str) -> None:
    """Refuses arrays whose names, shapes or dtypes are not those of the abstract model."""
    own = _shapes(nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState))))
    given = _shapes(tree)
    for name in sorted(own | given):
        if own.get(name) != given.get(name):
            there, here = given.get(name, "nothing"), own.get(name, "nothing")
            raise ValueError(f"{expected}, got {there} and not {here} as {name}.")


def _shapes(tree: Tree) -> dict[str, str]:
    """Each array's name, and its dtype and shape in words."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _as_float32(leaf: jax.Array) -> np.ndarray:
    """On the host, since the file is written there."""
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return np.asarray(leaf, np.float32 if floating else leaf.dtype)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
