"""One step of style transfer on the pixels, with VGG-19, against the same step in PyTorch.

An image of 256×256 pixels has a content loss in one layer, style losses in five, and moves by Adam:
Gatys et al. (2016), with max-pooling. Both sides read one file of random weights, and their losses
must agree over three steps. Ours is the step of `stylize`: compiled alone, and as one of 20 in the
loop of `optimize_inputs`. PyTorch runs in its default layout and in channels_last.

python -m benchmarks.style_step
"""

# pyright: reportMissingImports=false, reportPrivateUsage=false
# The peers are an extra of their own.

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx
from jax.tree_util import Partial
from safetensors.numpy import load_file
from torch import nn

from benchmarks.common import compare, save
from lectures_jax.input_optimization import as_argument, loop, optimize_inputs, style_transfer
from lectures_jax.losses.style import GATYS
from lectures_jax.models.vgg import VGG19, Vgg
from lectures_jax.weights import load_torchvision, save_torchvision

SIDE, RATE, STEPS = 256, 0.02, 20
CONTENT = "relu4_2"
STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
BETA = 1e5  # content and style then weigh about the same in a network of random weights
SIZE = replace(VGG19, hidden=16)  # no step reaches the dense layers


class Features(nn.Sequential):
    """Convolutions of VGG-19 up to the last layer of the style, as torchvision names them."""

    def __init__(self, weights):
        layers, width = [], 3
        names = SIZE.layers[: SIZE.layers.index(STYLE[-1]) + 1]
        for name in names:
            if name.startswith("conv"):
                channels = SIZE.channels[int(name[4]) - 1]
                layers.append(nn.Conv2d(width, channels, 3, padding=1))
                width = channels
            else:
                layers.append(nn.ReLU() if name.startswith("relu") else nn.MaxPool2d(2))
        super().__init__(*layers)
        self.names = names
        start = "features."
        arrays = {k.removeprefix(start): torch.tensor(v) for k, v in weights.items() if start in k}
        self.load_state_dict({name: arrays[name] for name in self.state_dict()})
        self.requires_grad_(False)

    def maps(self, x):
        maps = {}
        for name, layer in zip(self.names, self, strict=True):
            x = maps[name] = layer(x)
        return maps


def gram(maps):
    """Σ_p F_ip F_jp of one image."""
    rows = maps[0].flatten(1)
    return rows @ rows.T


def theirs(file, images, layout):
    """PyTorch's step."""
    network = Features(load_file(file)).to(memory_format=layout)
    content, style, image = (
        torch.tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=layout) for x in images
    )
    with torch.no_grad():
        target, maps = network.maps(content)[CONTENT], network.maps(style)
        grams = {layer: gram(maps[layer]) for layer in STYLE}
    image.requires_grad_()
    optimizer = torch.optim.Adam([image], lr=RATE)

    def run():
        optimizer.zero_grad(set_to_none=True)
        maps = network.maps(image)
        loss = 0.5 * (maps[CONTENT] - target).square().sum()
        for layer in STYLE:
            _, channels, rows, columns = maps[layer].shape
            factor = BETA / len(STYLE) / (4 * (channels * rows * columns) ** 2)
            loss = loss + factor * (gram(maps[layer]) - grams[layer]).square().sum()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        return loss.item()

    return run


def objective_of(file, content, style) -> Any:
    """What `stylize` minimizes."""
    model = load_torchvision(file, nnx.eval_shape(lambda: Vgg(1, size=SIZE, rngs=nnx.Rngs(0))))
    features = as_argument(model.features)
    targets = style_transfer._targets(
        *(features, jnp.asarray(content), [jnp.asarray(style)]),
        content_weights={CONTENT: 1.0},
        style_weights=dict.fromkeys(STYLE, BETA / len(STYLE)),
        shares=[1.0],
        normalization=GATYS,
    )
    return Partial(style_transfer._loss, features, targets, 0.0)


def ours(objective, image):
    """A step of `optimize_inputs`, compiled alone."""
    project, key = Partial(style_transfer._clip), jax.random.key(0)
    state = loop._begin(project, jnp.asarray(image), RATE, optimizer=optax.adam)

    @partial(jax.jit, donate_argnums=0)
    def step(state, objective, key):
        return loop._step(objective, project, optax.adam(RATE), state, key, keep_best=False)

    def run():
        nonlocal state
        state, losses = step(state, objective, key)
        return losses[0]

    return run


def our_loop(objective, image):
    """All steps of `optimize_inputs`, in one program."""
    return lambda: (
        optimize_inputs(
            *(jax.random.key(0), objective, jnp.asarray(image)),
            steps=STEPS,
            learning_rate=RATE,
            project=style_transfer._clip,
        ).losses
    )


def main(repeats: int = 15) -> None:
    """Measures, prints and saves."""
    rng = np.random.default_rng(0)
    images = content, style, start = [rng.random((1, SIDE, SIDE, 3), np.float32) for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vgg19.safetensors"
        save_torchvision(file, Vgg(1, size=SIZE, rngs=nnx.Rngs(0)))
        objective = objective_of(file, content, style)
        functions = {
            "lectures_jax": ours(objective, start),
            "torch": theirs(file, images, torch.contiguous_format),
            "torch channels_last": theirs(file, images, torch.channels_last),
        }
    whole = our_loop(objective, start)
    losses = {name: [float(run()) for _ in range(3)] for name, run in functions.items()}
    losses["lectures_jax loop"] = list(whole()[:3, 0])
    for name, values in losses.items():
        np.testing.assert_allclose(values, losses["torch"], rtol=1e-3, err_msg=name)
    times = compare({**functions, "lectures_jax loop": whole}, repeats=repeats)
    times = times.per({"lectures_jax loop": STEPS})
    seconds = times.seconds
    row = {"case": f"VGG-19, {SIDE}×{SIDE}", **seconds}
    row["ratio"] = seconds["lectures_jax"] / min(seconds["torch"], seconds["torch channels_last"])
    row["loop over step"] = seconds["lectures_jax loop"] / seconds["lectures_jax"]
    row |= times.conditions()
    for name, value in row.items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    print(save("style_step", [row]))


if __name__ == "__main__":
    main()
