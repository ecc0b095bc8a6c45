"""A step of a deep dream, with SqueezeNet 1.1, against the same step in PyTorch; and a whole dream.

An image of 384×384 pixels is shifted, moves along the gradient of half the mean square of a layer,
divided by its mean size, and is cut to [0, 1]. Both sides read one file of random weights and shift
alike; their losses must agree over three steps. Ours is a step of the loop of `deep_dream`. PyTorch
runs in its default layout and in channels_last. The whole dream has five octaves of 20 steps, in a
fresh process, imports counted: with an empty compilation cache, and with a filled one.

python -m benchmarks.dream_step
"""

# pyright: reportMissingImports=false, reportPrivateUsage=false
# The peers are an extra of their own.

import os
import subprocess
import sys
import tempfile
from functools import partial
from itertools import cycle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jax.tree_util import Partial
from safetensors.torch import load_file
from torch import nn

from benchmarks.common import compare, save
from lectures_jax.input_optimization import as_argument, deep_dream, optimize_inputs
from lectures_jax.input_optimization.deep_dream import _ascent, _clip, _Cut, _loss
from lectures_jax.models.squeezenet import SQUEEZENET1_1, SqueezeNet
from lectures_jax.weights import load_torchvision, save_torchvision

SIDE, RATE, JITTER, STEPS = 384, 0.01, 32, 20
LAYER = "fire7"
KEY = jax.random.key(0)


class Fire(nn.Module):
    """SqueezeNet's module, with torchvision's names."""

    def __init__(self, inputs, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()


def network(file, layout):
    """SqueezeNet 1.1 up to the layer that is dreamt of."""
    layers, width, number = [], 64, 0
    for name in SQUEEZENET1_1.layers[: SQUEEZENET1_1.layers.index(LAYER) + 1]:
        if name == "conv1":
            layers.append(nn.Conv2d(3, width, 3, stride=2))
        elif name == "relu1":
            layers.append(nn.ReLU())
        elif name.startswith("pool"):
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        else:
            squeeze = 16 * (1 + number // 2)
            layers.append(Fire(width, squeeze, 4 * squeeze))
            width, number = 8 * squeeze, number + 1
    features, arrays = nn.Sequential(*layers), load_file(file)
    features.load_state_dict({name: arrays[f"features.{name}"] for name in features.state_dict()})
    return features.requires_grad_(False).to(memory_format=layout)


def theirs(file, image, layout):
    """PyTorch's step."""
    features = network(file, layout)
    image = torch.tensor(image).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    image.requires_grad_()
    keys = jax.random.split(jax.random.fold_in(KEY, 0), STEPS)  # those of `optimize_inputs`
    draws = [jax.random.randint(key, (2,), -JITTER, JITTER + 1) for key in keys]
    shifts = cycle([tuple(draw.tolist()) for draw in draws])

    def run():
        shifted = image.roll(next(shifts), (2, 3))
        loss = -0.5 * features(shifted).square().mean()
        (gradient,) = torch.autograd.grad(loss, image)
        with torch.no_grad():
            image.sub_(gradient * (RATE / gradient.abs().mean())).clamp_(0, 1)
        return loss.item()

    return run


def loaded(file):
    """Our network with the parameters of a file."""
    return load_torchvision(file, nnx.eval_shape(lambda: SqueezeNet(1000, rngs=nnx.Rngs(0))))


def ours(file, image):
    """The steps of one octave, as `deep_dream` takes them."""
    features = as_argument(loaded(file).features)
    objective = Partial(_loss, features, {LAYER: jnp.float32(1)}, {}, JITTER, _Cut(None))
    return lambda: (
        optimize_inputs(
            *(KEY, objective, jnp.asarray(image)),
            steps=STEPS,
            learning_rate=RATE,
            optimizer=_ascent,
            project=_clip,
        ).losses
    )


def step(file, repeats) -> dict:
    """A step of each side."""
    image = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    whole = ours(file, image)
    layouts = {"torch": torch.contiguous_format, "torch channels_last": torch.channels_last}
    peers = {name: theirs(file, image, layout) for name, layout in layouts.items()}
    expected = np.asarray(whole())
    for name, run in peers.items():
        losses = [run() for _ in range(STEPS)]
        np.testing.assert_allclose(losses[:3], expected[:3], rtol=1e-3, err_msg=name)
    several = {name: partial(repeat, run) for name, run in peers.items()}
    times = compare({"lectures_jax": whole, **several}, repeats=repeats)
    times = times.per(dict.fromkeys(times.seconds, STEPS))
    ratio = times.seconds["lectures_jax"] / min(times.seconds[name] for name in peers)
    case = f"a step, {SIDE}×{SIDE}"
    return {"case": case, **times.seconds, "ratio": ratio, **times.conditions()}


def repeat(run):
    """All steps of an octave, one after the other."""
    for _ in range(STEPS):
        run()


def whole_dream(file) -> None:
    """A whole dream in this process."""
    image = np.random.default_rng(0).random((SIDE, SIDE, 3), np.float32)
    jax.block_until_ready(deep_dream(KEY, loaded(file).features, image, {LAYER: 1.0}, steps=STEPS))


def in_a_process(file, cache) -> None:
    """Runs `whole_dream` in a fresh process with a folder of compiled programs."""
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    code = f"from benchmarks.dream_step import whole_dream; whole_dream({str(file)!r})"
    subprocess.run([sys.executable, "-c", code], env=os.environ | settings, check=True)


def in_a_process_without_cache(file) -> None:
    """The same with an empty folder."""
    with tempfile.TemporaryDirectory() as cache:
        in_a_process(file, cache)


def dream(file, repeats) -> dict:
    """Whole dreams, without and with what a first one has compiled."""
    with tempfile.TemporaryDirectory() as cache:
        functions = {
            "lectures_jax": partial(in_a_process_without_cache, file),
            "cached": partial(in_a_process, file, cache),
        }
        times = compare(functions, repeats=repeats)
    return {"case": f"a dream, {SIDE}×{SIDE}", **times.seconds, **times.conditions()}


def main(repeats: int = 15) -> None:
    """Measures, prints and saves."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "squeezenet.safetensors"
        save_torchvision(file, SqueezeNet(1000, rngs=nnx.Rngs(0)))
        rows = [step(file, repeats), dream(file, max(repeats // 3, 1))]
    for row in rows:
        print(*(f"{k} {v:.4f}" if isinstance(v, float) else v for k, v in row.items()), sep="  ")
    print(save("dream_step", rows))


if __name__ == "__main__":
    main()
