"""Trained networks of others by their names, from safetensors files: nothing of a file is run."""

import hashlib
import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from flax import nnx

from lectures_jax.models import resnet, squeezenet, vgg
from lectures_jax.models.resnet import ResNet
from lectures_jax.models.squeezenet import SqueezeNet
from lectures_jax.models.vgg import Vgg
from lectures_jax.nn.preprocessing import IMAGENET, Normalize
from lectures_jax.weights.safetensors_io import open_safetensors
from lectures_jax.weights.torchvision import load_torchvision, refuse_pickle

NETWORKS: dict[str, tuple[type[ResNet | SqueezeNet | Vgg], Any]] = {
    "squeezenet1_0": (SqueezeNet, squeezenet.SQUEEZENET1_0),
    "squeezenet1_1": (SqueezeNet, squeezenet.SQUEEZENET1_1),
    "vgg11": (Vgg, vgg.VGG11),
    "vgg11_bn": (Vgg, vgg.VGG11_BN),
    "vgg13": (Vgg, vgg.VGG13),
    "vgg13_bn": (Vgg, vgg.VGG13_BN),
    "vgg16": (Vgg, vgg.VGG16),
    "vgg16_bn": (Vgg, vgg.VGG16_BN),
    "vgg19": (Vgg, vgg.VGG19),
    "vgg19_bn": (Vgg, vgg.VGG19_BN),
    "resnet18": (ResNet, resnet.RESNET18),
    "resnet34": (ResNet, resnet.RESNET34),
    "resnet50": (ResNet, resnet.RESNET50),
    "resnet101": (ResNet, resnet.RESNET101),
    "resnet152": (ResNet, resnet.RESNET152),
    **{
        f"cifar10_resnet{6 * n + 2}": (ResNet, replace(resnet.CIFAR20_PADDED, blocks=(n,) * 3))
        for n in (3, 5, 7, 9, 18)
    },
}
"""Class and size of each network; those of CIFAR-10 as in He et al. (2016), table 6."""

LAST = (
    "fc.weight",
    "linear.weight",
    "head.fc.weight",
    "classifier.6.weight",
    "classifier.1.weight",
)
"""Kernels of last layers, whose outputs are the classes."""


def load_pretrained(
    name: str,
    *,
    path: Path | str | None = None,
    repository: str | None = None,
    sha256: str | None = None,
) -> Any:
    """Returns a trained network of torchvision, timm or pytorch_resnet_cifar10.

    Its images are in [0, 1], as everywhere here: the network normalizes them itself, by the means
    and deviations of ImageNet or those that `save_torchvision` wrote into the file.

    Args:
        name: such as "squeezenet1_1", "vgg19_bn", "resnet50" or "cifar10_resnet20"; see `NETWORKS`.
        path: safetensors file with the names of these libraries. It has as many classes as its last
            layer has outputs.
        repository: in place of a path, whose `model.safetensors` is taken from Hugging Face's hub,
            such as "timm/resnet18.a1_in1k", and kept in that library's cache. It needs the package
            `huggingface_hub`.
        sha256: of the file, 64 hexadecimal digits. With a repository it must be given: what was
            published under a name can be replaced later.

    Returns:
        The network in evaluation mode, as from `load_torchvision`.

    Raises:
        ValueError: if the name is unknown, there is neither a path nor a repository with its hash,
            the file has another hash, or as for `load_torchvision`.
        FileNotFoundError: if there is no file.
        ModuleNotFoundError: if a repository is given, and `huggingface_hub` is not installed.
    """
    if name not in NETWORKS:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}, got {name!r}.")
    if repository is not None and path is None:
        path = _download(repository, sha256)
    elif path is None or repository is not None:
        raise ValueError(
            f"path must be a safetensors file of {name} with torchvision's or timm's names, or "
            f"repository one of the hub, got path={path}, repository={repository}."
        )
    elif sha256 is not None:
        _check_hash(path, sha256)
    network, size = NETWORKS[name]
    refuse_pickle(path)
    with open_safetensors(path) as file:
        names = file.keys()
        outputs = [file.get_slice(last).get_shape() for last in LAST if last in names]
        normalize = _normalize(path, (file.metadata() or {}).get("normalize"))
    classes = outputs[0][0] if outputs and outputs[0] else 0
    model = nnx.eval_shape(
        lambda: network(max(classes, 1), size=size, normalize=normalize, rngs=nnx.Rngs(0))
    )
    return load_torchvision(path, model)


def _download(repository: str, sha256: str | None) -> str:
    """The file of a repository, in the cache of the hub's library, if it has this hash."""
    _check_digits(sha256)
    hub = importlib.import_module("huggingface_hub")  # optional
    path = hub.hf_hub_download(repository, "model.safetensors")
    _check_hash(path, sha256)
    return path


def _check_hash(path: Path | str, sha256: Any) -> None:
    _check_digits(sha256)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256.lower():
        raise ValueError(f"{path}: expected sha256 {sha256.lower()}, got {digest}.")


def _check_digits(sha256: Any) -> None:
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(
            f"sha256 must be the 64 hexadecimal digits of the file's hash, got {sha256!r}."
        )


def _normalize(path: Path | str, text: str | None) -> Normalize | None:
    """What `save_torchvision` wrote, or what all others expect."""
    if text is None:
        return IMAGENET
    try:
        fields = json.loads(text)
        return None if fields is None else Normalize(**fields)
    except (TypeError, ValueError, RecursionError) as error:
        got = f"{text[:80]!r}"
        raise ValueError(f"{path}: expected mean and std as normalize, got {got}.") from error
