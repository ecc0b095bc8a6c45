"""Times convolutions, poolings and upsamplings on CPU beside XLA's own.

    python -m benchmarks.convolution [--cases depth-wise grouped] [--seconds 2]

Forward, gradient with respect to the images (dX) and to the kernel (dW), and a step (value, both
gradients, update), alone and inside of a `scan`. XLA's own loops are so slow that theirs has 2
steps where ours has 20; both are given per step. Rows of cases that are not asked for stay in the
file of results.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.common import RESULTS, compare, save
from lectures_jax import ops

STEPS, STEPS_XLA = 20, 2


@dataclass(frozen=True)
class Case:
    """One operation on images and, if it has one, a kernel.

    Attributes:
        images: shape, NHWC.
        kernel: shape, HWIO, or none.
        ours: of images and kernel.
        xla: the same by XLA's own operations as JAX writes them.
    """

    images: tuple[int, ...]
    kernel: tuple[int, ...] | None
    ours: Callable[..., jax.Array]
    xla: Callable[..., jax.Array]


def conv(images, kernel, *, stride=1, dilation=1, groups=1) -> Case:
    def xla(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (stride, stride),
            "SAME",
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    options = {"stride": stride, "dilation": dilation, "groups": groups}
    return Case(images, kernel, partial(ops.conv2d, **options), xla)


def up(images, kernel, *, stride) -> Case:
    def xla(x, w):
        return lax.conv_transpose(x, w, (stride, stride), "SAME", transpose_kernel=True)

    return Case(images, kernel, partial(ops.conv_transpose2d, stride=stride), xla)


def bilinear(images, factor) -> Case:
    """XLA's is the transposed convolution with fixed tents, as FCN has it."""
    channels, taps = images[-1], 2 * factor - factor % 2
    tents = jnp.diagonal(ops.bilinear_kernel(factor=factor, channels=channels), axis1=2, axis2=3)
    pad = taps - 1 - (taps - factor) // 2

    def xla(x):
        return lax.conv_general_dilated(
            x,
            tents[:, :, None],
            (1, 1),
            ((pad, pad), (pad, pad)),
            lhs_dilation=(factor, factor),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=channels,
        )

    return Case(images, None, partial(ops.upsample_bilinear, factor=factor), xla)


def pool(images, size, stride, padding) -> Case:
    def xla(x):
        around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, around)

    ours = partial(ops.max_pool, size=size, stride=stride, padding=padding)
    return Case(images, None, ours, xla)


CASES = {
    "3x3": conv((8, 28, 28, 32), (3, 3, 32, 32)),
    "3x3, 64 channels": conv((8, 28, 28, 64), (3, 3, 64, 64)),
    "5x5": conv((8, 28, 28, 32), (5, 5, 32, 32)),
    "1x1": conv((8, 28, 28, 64), (1, 1, 64, 64)),
    "3x3 strided by 2": conv((8, 29, 29, 32), (3, 3, 32, 64), stride=2),
    "3x3 dilated by 2": conv((8, 28, 28, 32), (3, 3, 32, 32), dilation=2),
    "depth-wise 3x3": conv((8, 28, 28, 64), (3, 3, 1, 64), groups=64),
    "depth-wise 5x5": conv((8, 28, 28, 64), (5, 5, 1, 64), groups=64),
    "grouped 3x3, 4 groups": conv((8, 28, 28, 64), (3, 3, 16, 64), groups=4),
    "transposed 4x4 by 2": up((8, 8, 8, 64), (4, 4, 32, 64), stride=2),
    "up-convolution 2x2": up((8, 14, 14, 64), (2, 2, 32, 64), stride=2),
    "bilinear x32": bilinear((1, 4, 4, 4), 32),
    "max-pool 2x2": pool((8, 28, 28, 64), 2, 2, 0),
    "max-pool 3x3 by 2": pool((8, 28, 28, 64), 3, 2, 1),
}


def thunks(function: Callable[..., jax.Array], args: tuple, steps: int) -> dict[str, Callable]:
    """The programs that are timed, by name."""

    def step(args):
        y, pull = jax.vjp(function, *args)
        return jax.tree.map(lambda a, g: a - 1e-3 * g, args, pull(y))

    def loop(args):
        return lax.scan(lambda args, _: (step(args), None), args, length=steps)[0]

    def gradient(position, args, g):
        rest = list(args)

        def of_one(x):
            return function(*rest[:position], x, *rest[position + 1 :])

        return jax.vjp(of_one, args[position])[1](g)

    g = jnp.ones(jax.eval_shape(function, *args).shape)
    programs = {"forward": partial(jax.jit(function), *args)}
    for position, name in enumerate(("dX", "dW")[: len(args)]):
        programs[name] = partial(jax.jit(partial(gradient, position)), args, g)
    return programs | {"step": partial(jax.jit(step), args), "loop": partial(jax.jit(loop), args)}


def measure(name: str, seconds: float) -> dict[str, Any]:
    case, rng = CASES[name], np.random.default_rng(0)
    shapes = [case.images] + ([case.kernel] if case.kernel else [])
    args = tuple(jnp.asarray(rng.normal(0, 0.1, shape), jnp.float32) for shape in shapes)
    functions = {f"ours {k}": f for k, f in thunks(case.ours, args, STEPS).items()}
    functions |= {f"xla {k}": f for k, f in thunks(case.xla, args, STEPS_XLA).items()}
    slow = {"xla loop": functions.pop("xla loop")}
    once = sum(compare(functions, repeats=1).seconds.values())
    times = compare(functions, repeats=int(np.clip(seconds / once, 3, 200))).per(
        {"ours loop": STEPS}
    )
    loop = compare(slow, repeats=1).per({"xla loop": STEPS_XLA})
    return {
        "case": name,
        "images": case.images,
        "kernel": case.kernel,
        "seconds": times.seconds | loop.seconds,
        **times.conditions(),
    }


def describe(row: dict[str, Any]) -> str:
    parts = []
    for kind in ("forward", "dX", "dW", "step", "loop"):
        if f"ours {kind}" in row["seconds"]:
            ours, xla = (row["seconds"][f"{who} {kind}"] for who in ("ours", "xla"))
            parts.append(f"{kind} {1e3 * ours:.2f} ms ({ours / xla:.2f})")
    return f"{row['case']:22}: " + ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=[""], help="beginnings of their names")
    parser.add_argument("--seconds", type=float, default=2, help="time for each case")
    options = parser.parse_args()
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    path = RESULTS / "convolution.json"
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = {row["case"]: row for row in old}
    for name in CASES:
        if name.startswith(tuple(options.cases)):
            rows[name] = measure(name, options.seconds)
            print(describe(rows[name]), flush=True)
            save("convolution", [rows[name] for name in CASES if name in rows])


if __name__ == "__main__":
    main()
