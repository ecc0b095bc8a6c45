"""Networks of images under the names and in the layout that torchvision gives their arrays.

Kernels are HWIO here and OIHW there, dense ones are transposed. timm has the same names for
residual networks and others for the dense layers of VGG; the small residual networks of CIFAR-10
are named as in akamaster/pytorch_resnet_cifar10.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from lectures_jax.models.resnet import ResNet
from lectures_jax.models.squeezenet import SqueezeNet
from lectures_jax.models.vgg import GRID, Vgg
from lectures_jax.runtime import atomic_write
from lectures_jax.weights.safetensors_io import open_safetensors

LEAVES = {
    **{"kernel": "weight", "scale": "weight", "bias": "bias"},
    **{"mean": "running_mean", "var": "running_var"},
}
"""What the arrays of a layer are called there."""

TIMM = {
    "pre_logits.fc1": "classifier.0",
    "pre_logits.fc2": "classifier.3",
    "head.fc": "classifier.6",
}
"""Modules of VGG in timm, and the same in torchvision."""

FLOATS = ("F16", "BF16", "F32", "F64")
SHOWN = 3  # arrays that a message names


class Tensor(NamedTuple):
    """An array of a network as torchvision keeps it.

    Attributes:
        name: such as "layer1.0.conv1.weight".
        shape: there.
        kernel: of the convolution that the array is or could be: outputs, inputs, rows, columns.
    """

    name: str
    shape: tuple[int, ...]
    kernel: tuple[int, ...] | None = None


def load_torchvision(path: Path | str, model: Any) -> Any:
    """Returns a network with the arrays of a file that has torchvision's or timm's names.

    Args:
        path: safetensors file of floats; `num_batches_tracked` is not read.
        model: `ResNet`, `SqueezeNet` or `Vgg` of the same size, which stays as it is; also one
            without arrays, from `nnx.eval_shape`.

    Returns:
        The network in float32 and in evaluation mode; `nnx.view(model, deterministic=False,
        use_running_average=False, raise_if_not_found=False)` trains it further.

    Raises:
        ValueError: if the file is damaged or a pickle, arrays are missing, left over, of another
            shape or not finite, or the model is of another class.
        FileNotFoundError: if there is no file.
    """
    tensors = _tensors(model)
    refuse_pickle(path)
    with open_safetensors(path) as file:
        names = _by_torchvision_s_name(file.keys())
        _report(path, file, names, tensors.values(), type(model).__name__)
        arrays = {own: file.get_tensor(names[tensor.name]) for own, tensor in tensors.items()}
    structure, state = nnx.split(model)

    def converted(at: Any, leaf: Any) -> jax.Array:
        own = _dotted(at)
        if not np.isfinite(arrays[own]).all():
            raise ValueError(f"{path}: expected finite numbers, got others in {tensors[own].name}.")
        return jnp.asarray(_from_torch(arrays[own], leaf.shape, tensors[own]), leaf.dtype)

    pure = nnx.to_pure_dict(state)
    nnx.replace_by_pure_dict(state, jax.tree_util.tree_map_with_path(converted, pure))
    model = nnx.merge(structure, state)
    return nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)


def save_torchvision(path: Path | str, model: Any) -> None:
    """Writes a network under torchvision's names, so that `load_state_dict` there takes it.

    In PyTorch: `network.load_state_dict(safetensors.torch.load_file(path))`. What the network
    does to its images first is not in its arrays; it is in the file's metadata for
    `load_pretrained`.

    Args:
        path: safetensors file to write, all of it or nothing.
        model: `ResNet`, `SqueezeNet` or `Vgg`; floats become float32.

    Raises:
        ValueError: if the model is of another class.
    """
    tensors = _tensors(model)
    state = nnx.to_pure_dict(nnx.state(model))
    arrays = {
        tensors[_dotted(at)].name: _to_torch(np.asarray(leaf, np.float32), tensors[_dotted(at)])
        for at, leaf in jax.tree.leaves_with_path(state)
    }
    normalize = None if model.normalize is None else asdict(model.normalize)
    metadata = {"format": "pt", "normalize": json.dumps(normalize)}
    with atomic_write(Path(path)) as scratch:
        save_file(arrays, scratch, metadata=metadata)


def refuse_pickle(path: Path | str) -> None:
    """Raises a ValueError if a file is PyTorch's own, which runs code when it is read.

    Args:
        path: of the file, which need not exist.
    """
    path = Path(path)
    if path.suffix in (".pth", ".pt", ".th", ".bin", ".pkl", ".ckpt", ".tar"):
        convert = "safetensors.torch.save_file(torch.load(file, weights_only=True), new)"
        raise ValueError(
            f"{path}: expected a safetensors file, got a pickle, which can run code when it is "
            f"read; {convert} converts it, in PyTorch."
        )


def _tensors(model: Any) -> dict[str, Tensor]:
    """How torchvision keeps each array of a network, by our name."""
    match model:
        case ResNet():
            modules = dict(_resnet(model))
        case SqueezeNet():
            modules = dict(_squeezenet(model))
        case Vgg():
            modules = dict(_vgg(model))
        case _:
            expected = "ResNet, SqueezeNet or Vgg"
            raise ValueError(f"model must be a {expected}, got {type(model).__name__}.")
    tensors = {}
    for at, leaf in jax.tree.leaves_with_path(nnx.to_pure_dict(nnx.state(model))):
        own = _dotted(at)
        module, _, kind = own.rpartition(".")
        name = f"{modules[module]}.{LEAVES[kind]}"
        first = isinstance(model, Vgg) and module == "hidden.0"  # it reads a map
        dense = len(leaf.shape) == 2 and not isinstance(model, SqueezeNet)
        tensors[own] = _tensor(name, leaf.shape, side=GRID if first else 1, dense=dense)
    return tensors


def _tensor(name: str, shape: tuple[int, ...], *, side: int, dense: bool) -> Tensor:
    """An array of one of our shapes; the kernel of a dense layer reads `side`² cells of a map."""
    if len(shape) == 1:
        return Tensor(name, shape)
    rows, columns = shape[:2] if len(shape) == 4 else (side, side)
    inputs = math.prod(shape[:-1]) // (rows * columns)
    kernel = (shape[-1], inputs, rows, columns)
    return Tensor(name, (shape[-1], math.prod(shape[:-1])) if dense else kernel, kernel)


def _resnet(model: ResNet) -> Iterator[tuple[str, str]]:
    """Our and torchvision's name of each layer."""
    size = model.size
    last, shortcut = ("fc", "downsample") if size.large else ("linear", "shortcut")
    yield from [("stem.conv", "conv1"), ("stem.norm", "bn1"), ("classify", last)]
    for stage, count in enumerate(size.blocks):
        for block in range(count):
            own, other = f"stages.{stage}.{block}.residual", f"layer{stage + 1}.{block}"
            for i in range(3 if size.bottleneck else 2):
                yield f"{own}.f.layers.{i}.conv", f"{other}.conv{i + 1}"
                yield f"{own}.f.layers.{i}.norm", f"{other}.bn{i + 1}"
            yield f"{own}.shortcut.conv", f"{other}.{shortcut}.0"
            yield f"{own}.shortcut.norm", f"{other}.{shortcut}.1"


def _squeezenet(model: SqueezeNet) -> Iterator[tuple[str, str]]:
    yield from [("conv1", "features.0"), ("classify", "classifier.1")]
    for number in range(len(model.fires)):
        at = model.size.layers.index(f"fire{number + 2}")
        for part in ("squeeze", "expand1x1", "expand3x3"):
            yield f"fires.{number}.{part}", f"features.{at}.{part}"


def _vgg(model: Vgg) -> Iterator[tuple[str, str]]:
    dense = [("hidden.0", 0), ("hidden.1", 3), ("classify", 6)]
    yield from ((own, f"classifier.{at}") for own, at in dense)
    for at, layer in enumerate(model.size.layers):
        kind, (stage, _, number) = layer[:4], layer[4:].partition("_")
        if kind in ("conv", "norm"):
            yield f"stages.{int(stage) - 1}.{int(number) - 1}.{kind}", f"features.{at}"


def _by_torchvision_s_name(names: Iterable[str]) -> dict[str, str]:
    """The names of a file by those that torchvision has for the same arrays."""
    others = {}
    for name in sorted(names):
        module, _, leaf = name.rpartition(".")
        if leaf != "num_batches_tracked":
            other = f"{TIMM[module]}.{leaf}" if module in TIMM else name
            others[name if other in others else other] = name
    return others


def _report(
    path: Path | str, file: Any, names: Mapping[str, str], tensors: Iterable[Tensor], model: str
) -> None:
    """Refuses a file of another network, in one line with what differs."""
    own = {tensor.name: tensor for tensor in tensors}
    other = []
    for name in own.keys() & names.keys():
        part, expected = file.get_slice(names[name]), own[name]
        shape, dtype = tuple(part.get_shape()), part.get_dtype()
        if shape not in (expected.shape, expected.kernel) or dtype not in FLOATS:
            got = f"{list(shape)}" if dtype in FLOATS else f"{dtype} {list(shape)}"
            other.append(f"{name} {got} and not {list(expected.shape)}")
    parts = [
        _counted("missing", own.keys() - names.keys()),
        _counted("unexpected", {names[name] for name in names.keys() - own.keys()}),
        _counted("of another shape or dtype", other),
    ]
    if any(parts):
        raise ValueError(
            f"{path}: expected the arrays of this {model}, got {', '.join(filter(None, parts))}."
        )


def _counted(what: str, names: Iterable[str]) -> str:
    names = sorted(names)
    more = ", …" if len(names) > SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:SHOWN])}{more})" if names else ""


def _from_torch(array: np.ndarray, shape: tuple[int, ...], tensor: Tensor) -> np.ndarray:
    if tensor.kernel is None:
        return array
    return array.reshape(tensor.kernel).transpose(2, 3, 1, 0).reshape(shape)


def _to_torch(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    if tensor.kernel is not None:
        outputs, inputs, rows, columns = tensor.kernel
        kernel = array.reshape(rows, columns, inputs, outputs)
        array = kernel.transpose(3, 2, 0, 1).reshape(tensor.shape)
    return np.ascontiguousarray(array)


def _dotted(at: Any) -> str:
    return jax.tree_util.keystr(at, simple=True, separator=".")
