"""Writes convolution.npz: torch's convolutions, poolings and norms, with their gradients.

    python tests/golden/make_convolution.py        (torch 2.13, CPU)

Everything is stored in our layout, images NHWC and kernels HWIO.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F


def image(x: torch.Tensor) -> np.ndarray:
    return x.detach().permute(0, 2, 3, 1).numpy()


class Recorder:
    """Draws examples, runs torch on them, and keeps values and gradients."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.arrays: dict[str, np.ndarray] = {}

    def tensor(self, *shape: int) -> torch.Tensor:
        return torch.tensor(self.rng.normal(size=shape).astype(np.float32), requires_grad=True)

    def record(self, name, call, x, kernel=None) -> None:
        y = call(x) if kernel is None else call(x, kernel)
        g = torch.tensor(self.rng.normal(size=y.shape).astype(np.float32))
        y.backward(g)
        arrays = self.arrays
        arrays[f"{name}/x"], arrays[f"{name}/y"] = image(x), image(y)
        arrays[f"{name}/g"], arrays[f"{name}/dx"] = image(g), image(x.grad)
        if kernel is not None:
            arrays[f"{name}/kernel"] = kernel.detach().permute(2, 3, 1, 0).numpy()
            arrays[f"{name}/dkernel"] = kernel.grad.permute(2, 3, 1, 0).numpy()

    def conv(self, name, channels, kernel, **options) -> None:
        call = lambda x, w: F.conv2d(x, w, **options)
        self.record(name, call, self.tensor(2, channels, 7, 8), self.tensor(*kernel))


def convolutions(to: Recorder) -> None:
    to.conv("strided", 4, (6, 4, 3, 2), stride=2, padding=1)
    to.conv("dilated", 4, (3, 4, 3, 3), dilation=2, padding=(2, 1))
    to.conv("grouped", 4, (6, 2, 3, 3), groups=2)
    to.conv("depthwise", 4, (8, 1, 3, 3), groups=4, padding=1, stride=(2, 1))
    to.conv("dilated depthwise", 4, (4, 1, 3, 3), groups=4, padding=2, dilation=2)
    to.conv("pointwise", 4, (5, 4, 1, 1), stride=2)
    for name, size, options in [
        ("up 2x2", 2, {"stride": 2}),
        ("up 4x4", 4, {"stride": 2, "padding": 1}),
        ("up 3x3", 3, {"stride": 2, "padding": 1, "output_padding": 1}),
        ("up 3x3 by 1", 3, {"padding": 1}),
        ("up 2x2 by 3", 2, {"stride": 3}),
    ]:
        up = lambda x, w, options=options: F.conv_transpose2d(x, w, **options)
        to.record(name, up, to.tensor(2, 3, 4, 5), to.tensor(3, 4, size, size))


def poolings_and_norms(to: Recorder) -> None:
    to.record("max", lambda x: F.max_pool2d(x, 3, 2, padding=1), to.tensor(2, 3, 7, 8))
    ties = torch.tensor(to.rng.integers(0, 3, (2, 3, 7, 8)).astype(np.float32), requires_grad=True)
    to.record("max of ties", lambda x: F.max_pool2d(x, 3, 2, padding=1), ties)
    mean = lambda x: F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)
    to.record("mean", mean, to.tensor(2, 3, 7, 8))
    bilinear = lambda x: F.interpolate(x, scale_factor=3, mode="bilinear", align_corners=False)
    to.record("bilinear", bilinear, to.tensor(2, 3, 4, 5))
    to.record(
        "layer",
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
        to.tensor(2, 4, 3, 5),
    )
    to.record("instance", F.instance_norm, to.tensor(2, 4, 3, 5))
    to.record("group", lambda x: F.group_norm(x, 2), to.tensor(2, 4, 3, 5))


def main() -> None:
    to = Recorder()
    convolutions(to)
    poolings_and_norms(to)
    np.savez_compressed(Path(__file__).with_name("convolution.npz"), **to.arrays)


if __name__ == "__main__":
    main()
