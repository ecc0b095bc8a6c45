"""One training step of the plain CNN and of ResNet-18 against the same networks in PyTorch.

Forward, cross-entropy, backward, AdamW on 64 images: the CNN for Fashion-MNIST (28×28, gray) and
ResNet-18 in its CIFAR form (32×32, color). PyTorch runs in its default layout and in channels_last.

    python -m benchmarks.classifier_step [--cases cnn resnet18] [--repeats 20]
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import argparse
from functools import partial

import jax
import numpy as np
import optax
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

from benchmarks.common import compare, save
from lectures_jax import objectives, train
from lectures_jax.models import resnet
from lectures_jax.models.cnn import Cnn
from lectures_jax.models.resnet import ResNet

BATCH, CLASSES = 64, 10
CHANNELS = ((32,), (64, 64), (128, 128))


def conv(inputs, outputs, kernel=3, stride=1, *, activation=True):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if activation else []))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.layers = nn.Sequential(
            conv(inputs, outputs, stride=stride), conv(outputs, outputs, activation=False)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity() if same else conv(inputs, outputs, 1, stride, activation=False)
        )

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x))


def head(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def torch_cnn():
    layers, width = [], 1
    for number, stage in enumerate(CHANNELS):
        layers += [nn.MaxPool2d(2)] if number else []
        for channels in stage:
            layers.append(conv(width, channels))
            width = channels
    return nn.Sequential(*layers, head(width))


def torch_resnet18():
    size, layers = resnet.CIFAR18, [conv(3, 64)]
    width = 64
    for number, (channels, count) in enumerate(zip(size.channels, size.blocks, strict=True)):
        for i in range(count):
            layers.append(Block(width, channels, 2 if number and not i else 1))
            width = channels
    return nn.Sequential(*layers, head(width))


CASES = {
    "cnn": (partial(Cnn, CLASSES, channels=CHANNELS, inputs=1), torch_cnn, (28, 28, 1)),
    "resnet18": (partial(ResNet, CLASSES, size=resnet.CIFAR18), torch_resnet18, (32, 32, 3)),
}


def ours(build, batch):
    """Our step, as `train.fit` calls it."""
    optimizer = optax.adamw(1e-4, weight_decay=0.02)
    structure, state = train.init(jax.random.key(0), build(rngs=nnx.Rngs(0)), optimizer)
    step = train.make_step(structure, objectives.classification, optimizer)

    def run():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics["loss"]

    return run


def theirs(build, batch, layout):
    """PyTorch's step."""
    torch.manual_seed(0)
    model = build().to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.02, foreach=True)
    images = torch.tensor(batch["image"]).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    labels = torch.tensor(batch["labels"]).long()

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def check_same(build, torch_build) -> None:
    model = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0)))
    expected = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    if (count := sum(p.numel() for p in torch_build().parameters())) != expected:
        raise RuntimeError(f"the networks differ: PyTorch's has {count} parameters, not {expected}")


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    rng, rows = np.random.default_rng(0), []
    for name in options.cases:
        build, torch_build, shape = CASES[name]
        check_same(build, torch_build)
        batch = {
            "image": rng.random((BATCH, *shape), np.float32),
            "labels": rng.integers(0, CLASSES, BATCH, np.int32),
        }
        times = compare(
            {
                "lectures_jax": ours(build, batch),
                "torch": theirs(torch_build, batch, torch.contiguous_format),
                "torch channels_last": theirs(torch_build, batch, torch.channels_last),
            },
            repeats=options.repeats,
        )
        seconds = times.seconds
        peer = min(seconds["torch"], seconds["torch channels_last"])
        ratio = seconds["lectures_jax"] / peer
        case = f"{name}, batch {BATCH}"
        rows.append({"case": case, **seconds, "ratio": ratio, **times.conditions()})
        print(rows[-1], flush=True)
    if options.cases == list(CASES):
        print(save("classifier_step", rows))


if __name__ == "__main__":
    main()
