"""Trained networks of others by their names, from safetensors files: nothing of a file is run."""

import json
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


def load_pretrained(name: str, *, path: Path | str | None = None) -> Any:
    """Returns a trained network of torchvision, timm or pytorch_resnet_cifar10.

    Its images are in [0, 1], as everywhere here: the network normalizes them itself, by the means
    and deviations of ImageNet or those that `save_torchvision` wrote into the file.

    Args:
        name: such as "squeezenet1_1", "vgg19_bn", "resnet50" or "cifar10_resnet20"; see `NETWORKS`.
        path: safetensors file with the names of these libraries. It has as many classes as its last
            layer has outputs. There is no download: no file's hash is known here that was checked.

    Returns:
        The network in evaluation mode, as from `load_torchvision`.

    Raises:
        ValueError: if the name is unknown, there is no path, or as for `load_torchvision`.
        FileNotFoundError: if there is no file.
    """
    if name not in NETWORKS:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}, got {name!r}.")
    if path is None:
        raise ValueError(
            f"path must be a safetensors file of {name} with torchvision's or timm's names, got "
            "None: nothing is downloaded, since no file's hash has been checked here."
        )
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
