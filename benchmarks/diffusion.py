"""Diffusion side by side: sampling as one program, a training step, steps of samplers.

- 50 steps of DDIM as one compiled program against a Python loop over the jitted network, batch 1;
  the loop's own arithmetic as it is written, and compiled as well.
- A training step of the digits' U-Net (forward, loss, backward, Adam) against the same network in
  PyTorch, default layout and channels_last. Ours also draws noise and averages parameters.
- Whole runs of 20 steps against diffusers' schedulers around the same jitted network, batch 16.
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from flax import nnx
from jax.tree_util import Partial
from torch import nn

from benchmarks.common import compare, save
from lectures_jax import objectives, ops, train
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.runtime.cpu import FUSIONS, FUSIONS_FLAG

SIDE, CLASSES, CHANNELS, CONDITION, BATCH = 8, 10, (32, 64), 128, 64
ALPHA_BAR = ops.linear_schedule(1000)


class Block(nn.Module):
    """`ConditionedBlock`."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.modulate = nn.Linear(CONDITION, 2 * outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, condition):
        y = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulate(condition)[:, :, None, None].chunk(2, 1)
        return self.conv2(F.silu(self.norm2(y) * (1 + scale) + shift)) + self.shortcut(x)


class TorchDenoiser(nn.Module):
    """`Denoiser(num_classes=CLASSES)`."""

    def __init__(self):
        super().__init__()
        fine, coarse = CHANNELS
        self.hidden = nn.Linear(CONDITION, CONDITION)
        self.label = nn.Embedding(CLASSES + 1, CONDITION)
        self.stem = nn.Conv2d(1, fine, 3, padding=1)
        self.down1, self.down2 = Block(fine, fine), Block(fine, coarse)
        self.norm_attention = nn.GroupNorm(8, coarse)
        self.query_key_value, self.out = nn.Linear(coarse, 3 * coarse), nn.Linear(coarse, coarse)
        self.middle = Block(coarse, coarse)
        self.up2, self.up1 = Block(2 * coarse, coarse), Block(2 * fine, fine)
        self.narrow = nn.Conv2d(coarse, fine, 1)
        self.norm, self.head = nn.GroupNorm(8, fine), nn.Conv2d(fine, 1, 3, padding=1)

    def attend(self, x):
        b, c, h, w = x.shape
        cells = self.norm_attention(x).flatten(2).transpose(1, 2)
        q, k, v = self.query_key_value(cells).view(b, h * w, 3, c // 32, 32).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.out(y).transpose(1, 2).reshape(b, c, h, w)

    def forward(self, x, ratio, labels):
        level = torch.logit(ratio).clamp(-12, 12) * 4
        frequency = (8 * 12 / np.pi) ** -(torch.arange(CONDITION // 2) / (CONDITION // 2))
        angle = level[:, None] * frequency
        code = torch.cat([angle.sin(), angle.cos()], 1)
        condition = F.silu(self.hidden(code) + self.label(labels))
        first = self.down1(self.stem(x), condition)
        second = self.down2(F.avg_pool2d(first, 2), condition)
        x = self.middle(self.attend(second), condition)
        x = self.up2(torch.cat([x, second], 1), condition)
        x = F.interpolate(self.narrow(x), scale_factor=2, mode="nearest")
        x = self.up1(torch.cat([x, first], 1), condition)
        return self.head(F.silu(self.norm(x)))


def our_step(batch):
    """Our step, as `train.fit` calls it in the experiment."""
    model, optimizer = Denoiser(num_classes=CLASSES, rngs=nnx.Rngs(0)), optax.adam(1e-3)
    structure, state = train.init(jax.random.key(0), model, optimizer, ema=True)
    objective = partial(objectives.diffusion_noise, alpha_bar=ALPHA_BAR)
    step: Any = train.make_step(structure, objective, optimizer, ema_decay=0.998)
    # As in `ljx run`, for its whole process; the samplers here are measured without.
    options = {FUSIONS_FLAG.removeprefix("--"): FUSIONS} if jax.__version_info__ < (0, 11) else {}
    step = step.lower(state, batch).compile(compiler_options=options)

    def run():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics["loss"]

    return run


def their_step(batch, layout):
    """PyTorch's step; the noise is drawn beforehand."""
    torch.manual_seed(0)
    model = TorchDenoiser().to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=True)
    image = torch.tensor(batch["image"]).permute(0, 3, 1, 2)
    noise, ratio = torch.randn_like(image), torch.rand(len(image)) * 0.98 + 0.01
    signal, spread = ratio.sqrt()[:, None, None, None], (1 - ratio).sqrt()[:, None, None, None]
    noisy = (signal * (2 * image - 1) + spread * noise).contiguous(memory_format=layout)
    labels = torch.tensor(batch["labels"]).long()

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = (model(noisy, ratio, labels) - noise).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    count = sum(p.numel() for p in model.parameters())
    shapes = nnx.eval_shape(lambda: Denoiser(num_classes=CLASSES, rngs=nnx.Rngs(0)))
    expected = sum(p.size for p in jax.tree.leaves(nnx.state(shapes, nnx.Param)))
    if count != expected:
        raise RuntimeError(f"the two networks differ: {count} and {expected} parameters")
    return run


def answer(model, labels, x, alpha_bar):
    """The network's noise at one level."""
    return model(x, jnp.broadcast_to(alpha_bar, len(x)), labels)


def training() -> dict:
    """A step of training."""
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((BATCH, SIDE, SIDE, 1), np.float32),
        "labels": rng.integers(0, CLASSES, BATCH, np.int32),
    }
    times = compare(
        {
            "lectures_jax": our_step(batch),
            "torch": their_step(batch, torch.contiguous_format),
            "torch channels_last": their_step(batch, torch.channels_last),
        },
        repeats=40,
    )
    seconds = times.seconds
    ratio = seconds["lectures_jax"] / min(seconds["torch"], seconds["torch channels_last"])
    case = f"training step, batch {BATCH}, {SIDE}×{SIDE}"
    return {"case": case, **seconds, "ratio": ratio, **times.conditions()}


def one_program(model) -> dict:
    """Fifty steps of DDIM for one image."""
    key, shape, labels = jax.random.key(0), (1, SIDE, SIDE, 1), jnp.zeros(1, jnp.int32)
    predict = Partial(answer, model, labels)
    network = jax.jit(answer)
    path = ops.sampling_schedule(ALPHA_BAR, steps=50)

    def loop(step):
        x = ops.per_sample_normal(key, shape)
        for now, later in itertools.pairwise(path):
            x = step(x, network(model, labels, x, now), now, later)
        return x

    program = partial(ops.sample_diffusion, key, predict, shape, ALPHA_BAR, steps=50)
    loops = {
        "python loop": partial(loop, ops.ddim_step),
        "python loop, compiled steps": partial(loop, jax.jit(ops.ddim_step)),
    }
    times = compare({"lectures_jax": program, **loops}, repeats=30)
    seconds = times.seconds
    ratio = seconds["lectures_jax"] / min(seconds[name] for name in loops)
    row = {"case": "50 steps of DDIM, batch 1", **seconds, "ratio": ratio}
    return row | times.conditions()


def schedulers(model) -> list[dict]:
    """Twenty steps for sixteen images, the same network in both."""
    labels = jnp.zeros(16, jnp.int32)
    network, predict = jax.jit(answer), Partial(answer, model, labels)
    start = np.asarray(ops.per_sample_normal(jax.random.key(0), (16, SIDE, SIDE, 1)))
    ratios, path = np.asarray(ALPHA_BAR), ops.sampling_schedule(ALPHA_BAR, steps=20)
    options = {"beta_schedule": "linear", "timestep_spacing": "trailing"}
    options |= {"beta_start": 1e-4, "beta_end": 0.02}
    theirs = {
        "DDIM": DDIMScheduler(clip_sample=False, **options),
        "DPM++(2M)": DPMSolverMultistepScheduler(euler_at_final=True, **options),
    }
    ours = {
        "DDIM": lambda: ops.solve_ddim(predict, jnp.asarray(start), path)[0][-1],
        "DPM++(2M)": lambda: ops.solve_dpm(predict, jnp.asarray(start), path),
    }

    def loop(scheduler):
        scheduler.set_timesteps(20)
        x = torch.tensor(start)
        for t in scheduler.timesteps:
            noise = network(model, labels, x.numpy(), ratios[int(t)])
            x = scheduler.step(torch.from_numpy(np.array(noise)), t, x).prev_sample
        return x.numpy()

    rows = []
    for name, sampler in ours.items():
        np.testing.assert_allclose(sampler(), loop(theirs[name]), atol=2e-2)
        peer = partial(loop, theirs[name])
        times = compare({"lectures_jax": sampler, "diffusers": peer}, repeats=20)
        case = f"20 steps of {name}, batch 16"
        ratio = times.seconds["lectures_jax"] / times.seconds["diffusers"]
        rows.append({"case": case, **times.seconds, "ratio": ratio, **times.conditions()})
    return rows


def main() -> None:
    """Measures, prints and saves."""
    model = Denoiser(num_classes=CLASSES, rngs=nnx.Rngs(0))
    rows = [one_program(model), training(), *schedulers(model)]
    for row in rows:
        print(*(f"{k} {v:.4f}" if isinstance(v, float) else v for k, v in row.items()), sep="  ")
    print(save("diffusion", rows))


if __name__ == "__main__":
    main()
