"""A training step of a U-Net against the same network, loss and optimizer in PyTorch.

Forward, cross-entropy of every pixel, backward, Adam on 4 images of 256×256: half of the published
channels (32 to 512) and convolutions that keep the size. Ours also counts the confusion of the
pixels and the Dice loss. PyTorch runs in its default layout and in channels_last.

    python -m benchmarks.unet_step [--channels 32 64 128 256 512] [--repeats 10]
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import argparse
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

from benchmarks.common import compare, save
from lectures_jax import objectives, train
from lectures_jax.models.unet import UNet

BATCH, SIDE, CLASSES = 4, 256, 2
CHANNELS = (32, 64, 128, 256, 512)


def double_conv(inputs, outputs):
    layers = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class TorchUNet(nn.Module):
    """`UNet(CLASSES, channels=channels, padding="SAME")`."""

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        pairs = list(zip((3, *channels), channels, strict=False))
        self.down = nn.ModuleList(double_conv(a, b) for a, b in pairs)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs[:0:-1])
        self.up = nn.ModuleList(double_conv(2 * a, a) for a, _ in pairs[:0:-1])
        self.classify = nn.Conv2d(channels[0], CLASSES, 1)

    def forward(self, x):
        past = []
        for number, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if number else x)
            past.append(x)
        past.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x = block(torch.cat([past.pop(), enlarge(x)], dim=1))
        return self.classify(x)


def ours(model: UNet, batch):
    """Our step, as `train.fit` calls it."""
    optimizer = optax.adam(1e-4)
    structure, state = train.init(jax.random.key(0), model, optimizer)
    step = train.make_step(structure, objectives.segmentation, optimizer)

    def run():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics["loss"]

    return run


def theirs(model: TorchUNet, batch, layout):
    """PyTorch's step."""
    model = model.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=True)
    images = to_torch(batch["image"]).contiguous(memory_format=layout)
    labels = torch.tensor(batch["mask"]).long()

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def to_torch(x) -> torch.Tensor:
    """Channels from the last axis to the second."""
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1))


def copied(model: UNet, channels: Sequence[int]) -> TorchUNet:
    """PyTorch's network with our parameters."""
    peer = TorchUNet(channels)
    pairs = [
        *((c, p) for d, q in zip(model.down, peer.down, strict=True) for c, p in convs(d, q)),
        *((c, p) for u, q in zip(model.up, peer.up, strict=True) for c, p in convs(u.convs, q)),
        *((u.enlarge, q) for u, q in zip(model.up, peer.enlarge, strict=True)),
        (model.classify, peer.classify),
    ]
    with torch.no_grad():
        for layer, theirs in pairs:
            # [rows, columns, inputs, outputs], or [rows, columns, outputs, inputs] if transposed.
            kernel = np.transpose(np.asarray(layer.kernel[...]), (3, 2, 0, 1))
            theirs.weight.copy_(torch.tensor(kernel))
            theirs.bias.copy_(torch.tensor(np.asarray(layer.bias[...])))
    return peer


def convs(block, sequence):
    """The convolutions of ours and of PyTorch's block."""
    return zip(block.convs, (sequence[0], sequence[2]), strict=True)


def check_same(model: UNet, peer: TorchUNet) -> None:
    """Raises unless both networks compute the same."""
    image = np.random.default_rng(1).random((1, 32, 32, 3), np.float32)
    expected = np.moveaxis(peer(to_torch(image)).detach().numpy(), 1, -1)
    np.testing.assert_allclose(model(jnp.asarray(image)), expected, rtol=1e-3, atol=1e-4)


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--channels", nargs="+", type=int, default=CHANNELS)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    channels = tuple(options.channels)
    model = UNet(CLASSES, channels=channels, padding="SAME", rngs=nnx.Rngs(0))
    check_same(model, copied(model, channels))
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((BATCH, SIDE, SIDE, 3), np.float32),
        "mask": rng.integers(0, CLASSES, (BATCH, SIDE, SIDE), np.int32),
    }
    times = compare(
        {
            "lectures_jax": ours(model, batch),
            "torch": theirs(copied(model, channels), batch, torch.contiguous_format),
            "torch channels_last": theirs(copied(model, channels), batch, torch.channels_last),
        },
        repeats=options.repeats,
    )
    seconds = times.seconds
    peer = min(seconds["torch"], seconds["torch channels_last"])
    case = f"batch {BATCH}, {SIDE}×{SIDE}, {channels[0]} to {channels[-1]} channels"
    row = {"case": case, **seconds, "ratio": seconds["lectures_jax"] / peer, **times.conditions()}
    print(row, flush=True)
    if channels == CHANNELS:
        print(save("unet_step", [row]))


if __name__ == "__main__":
    main()
