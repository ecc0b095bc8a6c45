"""RoI align, forward and backward to the features, against torchvision's compiled operator.

512 boxes of 16 to 400 pixels on the maps of an image of 800×1088 pixels, 256 channels, 7×7 bins.
torchvision's CUDA wheel needs stand-ins for two libraries beside a CPU build of torch:
`TORCHVISION_STUBS` names their folder.

python -m benchmarks.roi_align
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import compare, save
from benchmarks.nms import load_torchvision
from lectures_jax import ops

HEIGHT, WIDTH, CHANNELS, BOXES, BINS = 800, 1088, 256, 512, 7
ADAPTIVE = 0
CASES = {
    "stride 16, 2×2 points": (16, 2),
    "stride 16, adaptive": (16, ADAPTIVE),
    "stride 8, 2×2 points": (8, 2),
}


def scene(stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, boxes in pixels, and the gradient of the result."""
    rng = np.random.default_rng(0)
    size = np.array([WIDTH, HEIGHT])
    low, sides = rng.uniform(0, size - 200, (BOXES, 2)), rng.uniform(16, 400, (BOXES, 2))
    boxes = np.concatenate([low, np.minimum(low + sides, size)], axis=1)
    shapes = (HEIGHT // stride, WIDTH // stride, CHANNELS), (BOXES, BINS, BINS, CHANNELS)
    features, gradient = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return features, boxes.astype(np.float32), gradient


def ours(features, boxes, gradient, *, stride, ratio):
    """One compiled program: the result, and the gradient of the features."""

    @jax.jit
    def step(features, boxes, gradient):
        align = lambda x: ops.roi_align(
            x, boxes, output_size=BINS, scale=1 / stride, sampling_ratio=ratio
        )
        y, pull = jax.vjp(align, features)
        return y, pull(gradient)[0]

    arrays = [jnp.asarray(x) for x in (features, boxes, gradient)]
    return lambda: step(*arrays)


def theirs(features, boxes, gradient, *, stride, ratio):
    """The same in torchvision, in its own layout."""
    torch, torchvision = load_torchvision()
    x = torch.tensor(features.transpose(2, 0, 1)[None].copy(), requires_grad=True)
    rois, gradient = [torch.tensor(boxes)], torch.tensor(gradient.transpose(0, 3, 1, 2).copy())

    def step():
        y = torchvision.ops.roi_align(x, rois, BINS, 1 / stride, ratio, aligned=True)
        return y.detach(), torch.autograd.grad(y, x, gradient)[0]

    return step


def measured(case: str, repeats: int) -> dict:
    """A row of the table."""
    stride, ratio = CASES[case]
    arrays = scene(stride)
    functions = {
        "lectures_jax": ours(*arrays, stride=stride, ratio=ratio),
        "torchvision": theirs(*arrays, stride=stride, ratio=ratio),
    }
    mine, peer = (step() for step in functions.values())
    np.testing.assert_allclose(mine[0], peer[0].permute(0, 2, 3, 1), atol=1e-3)
    np.testing.assert_allclose(mine[1], peer[1][0].permute(1, 2, 0), atol=1e-2)
    times = compare(functions, repeats=repeats)
    ratio = times.seconds["lectures_jax"] / times.seconds["torchvision"]
    return {"case": case, **times.seconds, "ratio": ratio, **times.conditions()}


def main(repeats: int = 15) -> None:
    """Measures, prints and saves."""
    rows = [measured(case, repeats) for case in CASES]
    for row in rows:
        print(*(f"{k} {v:.4f}" if isinstance(v, float) else v for k, v in row.items()), sep="  ")
    print(save("roi_align", rows))


if __name__ == "__main__":
    main()
