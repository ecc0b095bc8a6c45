"""Detectors of others and our own as Darknet's two files, a configuration and its numbers.

A file of weights is int32 major, minor and revision, the images seen (int64 from version 0.2 on,
int32 before), and float32 for each convolution in turn: bias, then scale, mean and variance where
it is normalized, then the kernel as [outputs, inputs per group, rows, columns].
"""

import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax.data.problems import BadInputError
from lectures_jax.models.darknet_config import DarknetConfig
from lectures_jax.models.darknet_edit import fold_batch_norm
from lectures_jax.models.darknet_network import DarknetNetwork, evaluated
from lectures_jax.models.darknet_yolo import yolo_config, yolo_convolutions
from lectures_jax.models.yolo import Yolo
from lectures_jax.runtime import atomic_write
from lectures_jax.typing import check_range
from lectures_jax.weights.darknet_cfg import read_darknet_config
from lectures_jax.weights.darknet_cfg_text import darknet_config_text
from lectures_jax.weights.saved import with_arrays

VERSION = (0, 2, 5)  # written
MAX_VERSION = 1000  # numbers above mark transposed kernels, which only old dense layers had


class Part(NamedTuple):
    """Numbers that lie together in the file.

    Attributes:
        name: of the array in our model.
        shape: there.
        layer: among those of the configuration, for messages.
    """

    name: str
    shape: tuple[int, ...]
    layer: int

    @property
    def numbers(self) -> int:
        """How many there are."""
        return math.prod(self.shape)


def load_darknet(
    cfg_path: Path | str,
    weights_path: Path | str,
    *,
    epsilon: float = 1e-5,
    added_to: Literal["variance", "deviation"] = "variance",
    fold: bool = False,
) -> DarknetNetwork:
    """Returns the network of a Darknet configuration with its weights.

    Args:
        cfg_path: the configuration, `.cfg`.
        weights_path: the numbers, `.weights`.
        epsilon: what batch normalization adds before it divides: 1e-5 in AlexeyAB's fork, in which
            nearly all networks were trained, 1e-6 in OpenCV and in the original.
        added_to: the variance, `√(v + ε)`; or the deviation, `√v + ε`, as in the original, for
            which the loaded variances are changed to `v + 2 ε √v` and ε to ε².
        fold: whether batch normalization becomes part of the convolutions: faster, and not for
            training.

    Returns:
        The network in float32 and in evaluation mode; `nnx.view(model, deterministic=False,
        use_running_average=False, raise_if_not_found=False)` trains it further.

    Raises:
        ValueError: if an option is out of range; in one line with file, place, expected and got,
            if the configuration is not one or not implemented, or the weights do not fit it to the
            byte, or are not finite. Memory is taken once all but the last is known.
        FileNotFoundError: if there is no file.
    """
    if added_to not in ("variance", "deviation"):
        raise ValueError(f"added_to must be one of variance, deviation, got {added_to!r}.")
    check_range(epsilon=epsilon, low=0)
    config = read_darknet_config(cfg_path)
    deviation = added_to == "deviation"
    with _open(weights_path) as file:
        _check_size(Path(weights_path), file, list(_parts_of(config)))
    variance = epsilon**2 if deviation else epsilon
    model = nnx.eval_shape(lambda: DarknetNetwork(config, epsilon=variance, rngs=nnx.Rngs(0)))
    model = load_darknet_weights(weights_path, model)
    if deviation:
        for layer in model.convolutions:
            if layer.norm is not None:
                var = layer.norm.var[...]
                layer.norm.var[...] = var + 2 * epsilon * jnp.sqrt(var)
    return fold_batch_norm(model) if fold else model


def load_darknet_weights(path: Path | str, model: Any) -> Any:
    """Returns a network with the numbers of a `.weights` file.

    Args:
        path: of the file.
        model: a `DarknetNetwork`, or a `Yolo`, whose configuration is `yolov3.cfg` in its size;
            it stays as it is; also one without arrays, from `nnx.eval_shape`.

    Returns:
        The network in float32 and in evaluation mode.

    Raises:
        ValueError: if the file has other numbers than the network, some that are not finite or
            negative variances, or the model is of another class.
        FileNotFoundError: if there is no file.
    """
    path, parts = Path(path), list(_parts(model))
    with _open(path) as file:
        start = _check_size(path, file, parts)
        file.seek(start)
        arrays = {part.name: _read(path, file, part) for part in parts}
    tree = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))
    tree = jax.tree_util.tree_map_with_path(
        lambda at, _: arrays[jax.tree_util.keystr(at, simple=True, separator=".")], tree
    )
    return evaluated(with_arrays(model, jax.tree.map(jnp.asarray, tree)))


def save_darknet(
    path: Path | str, model: Any, *, image_size: tuple[int, int] | None = None
) -> None:
    """Writes a network's `.weights`, and its configuration beside it, as `.cfg`.

    Neither holds the ε of batch normalization: a network with another one than 1e-5 is the same
    again if it is loaded with its own.

    Args:
        path: of the weights.
        model: a `DarknetNetwork` or a `Yolo`; floats become float32.
        image_size: height and width in the configuration; by default that of the network's own,
            416 × 416 for a `Yolo`.

    Raises:
        ValueError: if the path ends in `.cfg`, or the model is of another class.
    """
    path = Path(path)
    if path.suffix == ".cfg":
        raise ValueError(f"path must be that of the weights, got {path}.")
    config = _config(model)
    height, width = image_size or (config.height, config.width)
    text = darknet_config_text(
        DarknetConfig(height, width, config.channels, config.layers, config.letterbox)
    )
    state = {
        jax.tree_util.keystr(at, simple=True, separator="."): leaf
        for at, leaf in jax.tree.leaves_with_path(nnx.to_pure_dict(nnx.state(model)))
    }
    with atomic_write(path) as scratch, scratch.open("wb") as file:
        file.write(np.array(VERSION, "<i4").tobytes() + np.array(0, "<i8").tobytes())
        for part in _parts(model):
            array = np.asarray(state[part.name], "<f4")
            file.write(
                array.transpose(3, 2, 0, 1).tobytes() if array.ndim == 4 else array.tobytes()
            )
    with atomic_write(path.with_suffix(".cfg")) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _config(model: Any) -> DarknetConfig:
    match model:
        case DarknetNetwork():
            return model.config
        case Yolo():
            return yolo_config(model)
    raise ValueError(f"model must be a DarknetNetwork or a Yolo, got {type(model).__name__}.")


def _parts(model: Any) -> Iterator[Part]:
    """The arrays of a model in the order of the file."""
    names = list(yolo_convolutions(model)) if isinstance(model, Yolo) else None
    for part in _parts_of(_config(model)):
        if names is None:
            yield part
            continue
        _, number, *rest = part.name.split(".")
        own = names[int(number)]
        yield part._replace(name=".".join([own, *(rest[1:] if own.endswith("predict") else rest)]))


def _parts_of(config: DarknetConfig) -> Iterator[Part]:
    """The arrays of a `DarknetNetwork` in the order of the file."""
    for number, (index, kernel) in enumerate(config.kernels().items()):
        module = f"convolutions.{number}"
        if config.convolutions[index].batch_normalize:
            for leaf in ("bias", "scale", "mean", "var"):
                yield Part(f"{module}.norm.{leaf}", kernel[-1:], index)
        else:
            yield Part(f"{module}.conv.bias", kernel[-1:], index)
        yield Part(f"{module}.conv.kernel", kernel, index)


def _open(path: Path | str) -> BinaryIO:
    """Opens a regular file."""
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadInputError(path, "file", "a regular file", "a folder or a device")
    return path.open("rb")


def _check_size(path: Path, file: BinaryIO, parts: list[Part]) -> int:
    """The length of the header, after which the file has as many numbers as the parts."""
    head, size = file.read(12), path.stat().st_size
    if len(head) < 12:
        raise BadInputError(path, "header", "major, minor and revision", f"{size} bytes")
    major, minor, _ = (int(n) for n in np.frombuffer(head, "<i4"))
    if not (0 <= major < MAX_VERSION and 0 <= minor < MAX_VERSION):
        got = f"major {major}, minor {minor}"
        raise BadInputError(path, "header", f"a version from 0 to {MAX_VERSION - 1}", got)
    start = 20 if 10 * major + minor >= 2 else 16
    total = sum(part.numbers for part in parts)
    if size == start + 4 * total:
        return start
    end, left = "all layers and more", (size - start) / 4
    for part in parts:
        if left < part.numbers:
            end = f"an end in {_named(part)}"
            break
        left -= part.numbers
    layers = len({part.layer for part in parts})
    expected = f"{start + 4 * total:,} bytes for {total:,} numbers of {layers} convolutions"
    raise BadInputError(path, "size", expected, f"{size:,}, {end}")


def _read(path: Path, file: BinaryIO, part: Part) -> np.ndarray:
    array = np.frombuffer(file.read(4 * part.numbers), "<f4").astype(np.float32)
    if len(array) != part.numbers:
        raise BadInputError(path, _named(part), f"{part.numbers:,} numbers", f"{len(array):,}")
    bad = ~np.isfinite(array)
    if part.name.endswith("norm.var"):
        bad |= array < 0
    if bad.any():
        at = int(np.argmax(bad))
        expected = "finite numbers, variances not negative"
        raise BadInputError(path, f"{_named(part)}, number {at}", expected, str(array[at]))
    if len(part.shape) == 4:
        rows, columns, inputs, outputs = part.shape
        array = array.reshape(outputs, inputs, rows, columns).transpose(2, 3, 1, 0)
    return np.ascontiguousarray(array)


def _named(part: Part) -> str:
    return f"layer {part.layer}, {part.name.rpartition('.')[2]}"
