"""A trained model as a program: it runs without the code of the network that was trained.

An artifact is a folder of three files: `program.export`, StableHLO as `jax.export` stores it, for
several platforms and any number of examples; `arrays.safetensors`, the parameters; and
`manifest.json`, which says what goes in and comes out. Its program is compiled and executed: run
only artifacts of people whom you trust.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from lectures_jax.runtime import atomic_write, read_json, write_json
from lectures_jax.weights.safetensors_io import load_safetensors, save_safetensors

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")
FIELDS = {"kind": str, "platforms": list} | dict.fromkeys(
    ("sha256", "inputs", "outputs", "settings"), dict
)
PROGRAM, ARRAYS, MANIFEST = "program.export", "arrays.safetensors", "manifest.json"


class ArraySpec(NamedTuple):
    """What a program takes or gives.

    Attributes:
        shape: sizes, names and their multiples, such as "b, 28, 28, 1" or "b, 4*h, 4*w, 3"; a name
            stands for any size from 1 on; empty for a number.
        dtype: such as "float32".
    """

    shape: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{self.shape}]"


@dataclass(frozen=True)
class Artifact:
    """A program with its parameters: `artifact(images=...)` gives arrays by name.

    Attributes:
        kind: of the model, such as "classifier".
        settings: of the model, such as the names of its classes.
        inputs: what the program takes, by name.
        outputs: what it gives, by name.
        platforms: that it runs on, of "cpu", "cuda" and "tpu".
        exported: the program; it takes the parameters and then the inputs in their order.
        arrays: the parameters, by name.
    """

    kind: str
    settings: dict[str, Any]
    inputs: dict[str, ArraySpec]
    outputs: dict[str, ArraySpec]
    platforms: tuple[str, ...]
    exported: jax.export.Exported
    arrays: dict[str, Array]

    def __call__(self, **inputs: Any) -> dict[str, Array]:
        """Returns the outputs by name; compiled once for each shape.

        Args:
            inputs: arrays by name, as `inputs` says; a Python number for a scalar.

        Raises:
            ValueError: if one is missing, one too many, or of another dtype or shape.
        """
        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"inputs must be {_listed(self.inputs)}, got {_listed(inputs)}.")
        given = [_checked(name, inputs[name], wanted) for name, wanted in self.inputs.items()]
        return dict(zip(self.outputs, self._compiled(self.arrays, *given), strict=True))

    @cached_property
    def _compiled(self) -> Callable[..., tuple[Array, ...]]:
        return jax.jit(self.exported.call)


def save_artifact(
    folder: Path,
    function: Callable[..., Mapping[str, Array]],
    model: nnx.Module,
    inputs: Mapping[str, ArraySpec],
    *,
    kind: str,
    settings: Mapping[str, Any],
    platforms: Sequence[str] = PLATFORMS,
) -> dict[str, ArraySpec]:
    """Writes what a function makes of a model and its inputs as an artifact.

    Args:
        folder: for its three files; the manifest is written last.
        function: `(model, *inputs) -> arrays by name`, which `jit` can trace.
        model: in evaluation mode; its arrays become the parameters.
        inputs: what the function takes, by name, in its order.
        kind: of the model.
        settings: that are to be kept, as JSON holds them.
        platforms: that the program is lowered for: some of "cpu", "cuda" and "tpu".

    Returns:
        What the program gives, by name.

    Raises:
        ValueError: if there is no such platform.
        OSError: if the folder cannot be written.
    """
    if not platforms or not set(platforms) <= set(PLATFORMS):
        raise ValueError(f"platforms must be some of {PLATFORMS}, got {tuple(platforms)}.")
    tree = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))
    exported, names = _export(function, model, tree, inputs, platforms)
    outputs = {
        name: ArraySpec(", ".join(map(str, x.shape)), str(x.dtype))
        for name, x in zip(names, exported.out_avals, strict=True)
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_safetensors(folder / ARRAYS, jax.tree.map(np.asarray, tree))
    with atomic_write(folder / PROGRAM) as scratch:
        scratch.write_bytes(exported.serialize())
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "kind": kind,
            "inputs": {name: wanted._asdict() for name, wanted in inputs.items()},
            "outputs": {name: given._asdict() for name, given in outputs.items()},
            "platforms": list(platforms),
            "jax": jax.__version__,
            "calling_convention": exported.calling_convention_version,
            "sha256": {file: _sha256(folder / file) for file in (PROGRAM, ARRAYS)},
            "settings": settings,
        },
    )
    return outputs


def _export(
    function: Callable[..., Mapping[str, Array]],
    model: nnx.Module,
    tree: Any,
    inputs: Mapping[str, ArraySpec],
    platforms: Sequence[str],
) -> tuple[jax.export.Exported, list[str]]:
    """The program of a function, whose first argument is a dictionary of arrays, and what it gives.

    Arrays by name, and not the model's own tree: Flax need not be there to read it.
    """
    structure, random, state = nnx.split(model, nnx.RngState, ...)
    leaves, nested = jax.tree.flatten(tree)
    arrays = dict(zip(_names(tree), leaves, strict=True))
    names = []

    def program(arrays: dict[str, Array], *given: Array) -> tuple[Array, ...]:
        filled = jax.tree.unflatten(nested, [arrays[name] for name in _names(tree)])
        nnx.replace_by_pure_dict(state, filled)
        outputs = function(nnx.merge(structure, random, state), *given)
        names[:] = outputs
        return tuple(outputs.values())

    scope = jax.export.SymbolicScope()
    specs = [
        jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape, scope=scope), dtype)
        for shape, dtype in inputs.values()
    ]
    exported = jax.export.export(jax.jit(program), platforms=platforms)(arrays, *specs)
    return exported, names


def load_artifact(folder: Path | str) -> Artifact:
    """Returns an artifact, ready for use.

    Args:
        folder: as `save_artifact` wrote it.

    Raises:
        ValueError: if a file is damaged or not the one that the manifest describes, the artifact is
            of a later format, or it was not exported for this machine's devices.
        FileNotFoundError: if a file is missing.
    """
    folder = Path(folder)
    manifest = read_json(folder / MANIFEST, expected="the manifest of an artifact")
    if manifest.get("format") != FORMAT:
        got = manifest.get("format")
        raise ValueError(f"{folder / MANIFEST}: format: expected {FORMAT}, got {got!r}.")
    if missing := [name for name in FIELDS if not isinstance(manifest.get(name), FIELDS[name])]:
        got = manifest.get(missing[0])
        raise ValueError(f"{folder / MANIFEST}: {missing[0]}: expected another value, got {got!r}.")
    for file in (PROGRAM, ARRAYS):
        if _sha256(folder / file) != manifest["sha256"].get(file):
            raise ValueError(f"{folder / file}: expected the file of the manifest, got another.")
    platforms = tuple(manifest["platforms"])
    here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    if here not in platforms:
        raise ValueError(f"{folder}: expected a program for {here}, got {', '.join(platforms)}.")
    tree, _ = load_safetensors(folder / ARRAYS)
    return Artifact(
        kind=manifest["kind"],
        settings=manifest["settings"],
        inputs={name: ArraySpec(**spec) for name, spec in manifest["inputs"].items()},
        outputs={name: ArraySpec(**spec) for name, spec in manifest["outputs"].items()},
        platforms=platforms,
        exported=jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes())),
        arrays=dict(zip(_names(tree), map(jnp.asarray, jax.tree.leaves(tree)), strict=True)),
    )


def _names(tree: Any) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree.leaves_with_path(tree)
    ]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"


def _checked(name: str, given: Any, wanted: ArraySpec) -> Any:
    """An input, if its dtype, its axes and its known sizes are those of the program."""
    if isinstance(given, int | float) and not wanted.shape:
        return np.asarray(given, wanted.dtype)
    sizes = [part.strip() for part in wanted.shape.split(",")] if wanted.shape else []
    shape = np.shape(given)
    fit = len(shape) == len(sizes) and all(
        not size.isdigit() or int(size) == n for size, n in zip(sizes, shape, strict=True)
    )
    dtype = getattr(given, "dtype", type(given).__name__)
    if str(dtype) != wanted.dtype or not fit or 0 in shape:
        got = f"{dtype}[{', '.join(map(str, shape))}]"
        raise ValueError(f"{name} must be {wanted}, got {got}.")
    return given
