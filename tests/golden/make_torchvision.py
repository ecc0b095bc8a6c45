"""Writes torchvision.npz: names, shapes, maps and logits of torchvision's networks.

    python tests/golden/make_torchvision.py [cifar10_resnet20.safetensors]

with torch 2.13 and torchvision 0.28 on the CPU. The numbers of the networks are those of drawn.py,
not stored. With the file of pytorch_resnet_cifar10, its logits are stored, too.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from drawn import drawn, images
from safetensors.torch import load_file
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers

MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
FULL_SIZE = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
FULL_SIZE += [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
FULL_SIZE += ["squeezenet1_0", "squeezenet1_1"]


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    state = network.state_dict()
    return {n: tuple(x.shape) for n, x in state.items() if not n.endswith("num_batches_tracked")}


def normalized(x: np.ndarray) -> torch.Tensor:
    return (torch.tensor(x).permute(0, 3, 1, 2) - MEAN) / STD


def small_vgg(batch_norm: bool) -> VGG:
    """Four stages, small dense layers."""
    layers = make_layers([4, "M", 6, 6, "M", 8, "M", 8, "M"], batch_norm=batch_norm)
    network = VGG(layers, num_classes=5, init_weights=False)
    network.classifier = nn.Sequential(
        *(nn.Linear(8 * 49, 12), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(12, 12), nn.ReLU(), nn.Dropout()),
        nn.Linear(12, 5),
    )
    return network


def record(arrays: dict[str, np.ndarray], name: str, network: nn.Module, size: tuple) -> None:
    """Logits, and the mean of each channel of each map of `features`."""
    arrays[f"{name}/names"] = np.array(json.dumps(shapes(network)))
    state = {n: torch.tensor(x) for n, x in drawn(shapes(network)).items()}
    network.load_state_dict(state, strict=True)
    x = normalized(images(*size))
    arrays[f"{name}/logits"] = network.eval()(x).numpy()
    for number, layer in enumerate(getattr(network, "features", [])):
        x = layer(x)
        arrays[f"{name}/features.{number}"] = x.mean((2, 3)).numpy()


def cifar(tensors: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """He et al. (2016), sec. 4.2, option A: functions of the arrays of the file."""

    def conv(x, name, norm, stride=1):
        x = F.conv2d(x, tensors[f"{name}.weight"], stride=stride, padding=1)
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(tensors[f"{norm}.{part}"] for part in parts))

    x = conv(x, "conv1", "bn1").relu()
    for stage in (1, 2, 3):
        for block in range(3):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = conv(x, f"{at}.conv1", f"{at}.bn1", stride).relu()
            y = conv(y, f"{at}.conv2", f"{at}.bn2")
            more = (y.shape[1] - x.shape[1]) // 2
            x = (y + F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, more, more))).relu()
    return F.linear(x.mean((2, 3)), tensors["linear.weight"], tensors["linear.bias"])


def main() -> None:
    arrays = {}
    with torch.device("meta"):
        names = {name: shapes(models.get_model(name, weights=None)) for name in FULL_SIZE}
    arrays["names"] = np.array(json.dumps(names))
    with torch.no_grad():
        for name, block in (("basic", BasicBlock), ("bottleneck", Bottleneck)):
            record(arrays, name, ResNet(block, [1, 1, 1, 1], num_classes=5), (48, 41))
        record(arrays, "squeezenet1_0", models.squeezenet1_0(num_classes=5), (64, 57))
        record(arrays, "vgg", small_vgg(False), (48, 41))
        record(arrays, "vgg_bn", small_vgg(True), (48, 112))
        for path in sys.argv[1:]:
            arrays["cifar10/logits"] = cifar(load_file(path), normalized(images(32, 32))).numpy()
    np.savez_compressed(Path(__file__).with_name("torchvision.npz"), **arrays)


if __name__ == "__main__":
    main()
