"""One training step of the small YOLOv3 against the same network, loss and optimizer in PyTorch.

Both train on 8 images of 160×160: forward, loss, backward, AdamW. Ours also encodes the targets
and keeps an average of the parameters; PyTorch's are encoded beforehand. PyTorch runs in its
default layout and in channels_last.
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

from benchmarks.common import compare, save
from lectures_jax import objectives, ops, train
from lectures_jax.models.yolo import SMALL, STRIDES, Yolo

CLASSES, BATCH, SIDE, OBJECTS = 10, 8, 160, 9
ANCHORS = (
    ((30, 47), (38, 57), (45, 62)),
    ((20, 29), (21, 38), (25, 37)),
    ((10, 16), (13, 20), (16, 24)),
)


def conv(inputs, outputs, kernel=3, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.05),
        nn.LeakyReLU(0.1),
    )


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.block = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels))

    def forward(self, x):
        return x + self.block(x)


class TorchYolo(nn.Module):
    """`Yolo(CLASSES, size=SMALL)`."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, SMALL.stem, stride=SMALL.stem_stride)
        widths = (SMALL.stem, *SMALL.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(a, b, stride=2), *(Residual(b) for _ in range(count)))
            for a, b, count in zip(widths[:-1], widths[1:], SMALL.blocks, strict=True)
        )
        fine, middle, coarse = SMALL.channels[-3:]
        n32, n16, n8 = SMALL.necks
        self.neck32, self.lateral16 = conv(coarse, n32, 1), conv(n32, n16, 1)
        self.neck16, self.lateral8 = conv(n16 + middle, n16, 1), conv(n16, n8, 1)
        self.neck8 = conv(n8 + fine, n8, 1)
        self.heads = nn.ModuleList(
            nn.Sequential(conv(c, 2 * c), nn.Conv2d(2 * c, 3 * (5 + CLASSES), 1))
            for c in SMALL.necks
        )

    def forward(self, x):
        maps = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        up = partial(F.interpolate, scale_factor=2, mode="nearest")
        coarse = self.neck32(maps[-1])
        middle = self.neck16(torch.cat([up(self.lateral16(coarse)), maps[-2]], 1))
        fine = self.neck8(torch.cat([up(self.lateral8(middle)), maps[-3]], 1))
        return [head(x) for head, x in zip(self.heads, (coarse, middle, fine), strict=True)]


def torch_loss(heads, targets):
    """YOLOv3's loss; a target is position, log size, weight, responsible, classes and truths."""
    total: Any = 0.0
    for raw, target, stride, anchors in zip(heads, targets, STRIDES, ANCHORS, strict=True):
        b, _, h, w = raw.shape
        slots = raw.view(b, 3, 5 + CLASSES, h, w).permute(0, 3, 4, 1, 2)
        offsets, objectness, logits = slots[..., :4], slots[..., 4], slots[..., 5:]
        bce = F.binary_cross_entropy_with_logits
        xy = bce(offsets[..., :2], target["position"], reduction="none").sum(-1)
        wh = 0.5 * (offsets[..., 2:] - target["log_size"]).square().sum(-1)
        with torch.no_grad():  # slots whose box overlaps an object well count as neither
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            center = (offsets[..., :2].sigmoid() + torch.stack([x, y], -1)[:, :, None]) * stride
            half = torch.tensor(anchors) * offsets[..., 2:].exp() / 2
            boxes = torch.cat([center - half, center + half], -1).reshape(b, -1, 1, 4)
            truth = target["truth"][:, None]
            sides = torch.minimum(boxes[..., 2:], truth[..., 2:]) - torch.maximum(
                boxes[..., :2], truth[..., :2]
            )
            inter = sides.clamp(min=0).prod(-1)
            area = lambda z: (z[..., 2:] - z[..., :2]).prod(-1)
            best = (inter / (area(boxes) + area(truth) - inter)).amax(-1).view(b, h, w, 3)
            counted = (best <= 0.7) | (target["responsible"] > 0)
        confidence = bce(objectness, target["responsible"], reduction="none") * counted
        classes = bce(logits, target["classes"], reduction="none").sum(-1) * target["responsible"]
        total = total + (target["weight"] * (xy + wh) + confidence + classes).sum() / b
    return total


def dense_targets(batch):
    """What `torch_loss` reads, from our own encoding."""
    encode = partial(
        ops.yolo_encode,
        anchors=jnp.array(ANCHORS, jnp.float32),
        image_size=(SIDE, SIDE),
        strides=STRIDES,
        num_classes=CLASSES,
        anchor_iou=0.3,
    )
    targets = []
    encoded = jax.vmap(encode)(batch["boxes"], batch["labels"], batch["valid"])
    for target, stride, anchors in zip(encoded, STRIDES, ANCHORS, strict=True):
        responsible = np.array(target.responsible)
        boxes = np.array(target.boxes)
        size = np.where(
            responsible[..., None], boxes[..., 2:] - boxes[..., :2], np.array(anchors, np.float32)
        )
        center = (boxes[..., :2] + boxes[..., 2:]) / 2 / stride
        arrays = {
            "position": center % 1,
            "log_size": np.log(size / np.array(anchors, np.float32)),
            "weight": responsible * (2 - size.prod(-1) / SIDE**2),
            "responsible": responsible,
            "classes": np.array(target.classes),
            "truth": batch["boxes"],
        }
        targets.append({k: torch.tensor(v, dtype=torch.float32) for k, v in arrays.items()})
    return targets


def ours(batch):
    """Our step, as `train.fit` calls it."""
    model = Yolo(CLASSES, anchors=ANCHORS, size=SMALL, rngs=nnx.Rngs(0))
    optimizer = optax.adamw(1e-4, weight_decay=0.02)
    structure, state = train.init(jax.random.key(0), model, optimizer, ema=True)
    objective = partial(objectives.yolo, anchor_iou=0.3)
    step = train.make_step(structure, objective, optimizer, ema_decay=0.998)

    def run():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics["loss"]

    return run


def theirs(batch, layout):
    """PyTorch's step."""
    torch.manual_seed(0)
    model = TorchYolo().to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.02, foreach=True)
    images = torch.tensor(batch["image"]).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    targets = dense_targets(batch)

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = torch_loss(model(images), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    count = sum(p.numel() for p in model.parameters())
    expected = nnx.eval_shape(lambda: Yolo(CLASSES, size=SMALL, rngs=nnx.Rngs(0)))
    parameters = jax.tree.leaves(nnx.state(expected, nnx.Param))
    if count != sum(np.prod(p.shape) for p in parameters):
        raise RuntimeError(f"the two networks differ: PyTorch's has {count} parameters")
    return run


def main() -> None:
    """Measures, prints and saves."""
    rng = np.random.default_rng(0)
    center = rng.uniform(20, SIDE - 20, (BATCH, OBJECTS, 2))
    half = rng.uniform(6, 24, (BATCH, OBJECTS, 2))
    batch = {
        "image": rng.random((BATCH, SIDE, SIDE, 3), np.float32),
        "boxes": np.concatenate([center - half, center + half], -1).astype(np.float32),
        "labels": rng.integers(0, CLASSES, (BATCH, OBJECTS), np.int32),
        "valid": np.ones((BATCH, OBJECTS), bool),
    }
    times = compare(
        {
            "lectures_jax": ours(batch),
            "torch": theirs(batch, torch.contiguous_format),
            "torch channels_last": theirs(batch, torch.channels_last),
        },
        repeats=40,
    )
    seconds = times.seconds
    ratio = seconds["lectures_jax"] / min(seconds["torch"], seconds["torch channels_last"])
    row = {"case": f"batch {BATCH}, {SIDE}×{SIDE}", **seconds, "ratio": ratio}
    row |= times.conditions()
    for name, value in row.items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    print(save("yolo_step", [row]))


if __name__ == "__main__":
    main()
