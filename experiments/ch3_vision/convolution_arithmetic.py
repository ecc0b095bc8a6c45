"""Sizes, costs, gradients and groups by formula and by XLA. CPU, 30 s; largest gap 1e-6.

The course's formulas, with the floor that it leaves out, are computed a second time: sizes by XLA's
shapes, parameters by Flax's layers, operations by XLA's count, the backward pass by JAX's gradient,
a grouped convolution by a loop over its groups, and a dilated one by zeros in its kernel.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import data, ops, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

TINY = {"sides": (5, 8), "channels": (2, 4)}
EXPECTED = {
    "size_gap": (None, 0),
    "parameters_gap": (None, 0),
    "operations_gap": (None, 0),
    "backward_gap": (None, 1e-5),
    "grouped_gap": (None, 1e-5),
    "dilated_gap": (None, 1e-5),
}
KERNELS, STRIDES, DILATIONS = (1, 2, 3, 5), (1, 2, 3), (1, 2)
PADDINGS: tuple[Any, ...] = (0, 1, (0, 1), "SAME")
SIDE = 16  # cells of the maps whose operations are counted
LAYOUT = ("NHWC", "HWIO", "NHWC")


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    sides: tuple[int, ...] = (5, 8, 16, 33)
    """cells of the inputs whose outputs are measured"""
    channels: tuple[int, ...] = (4, 16, 64)
    """in and out of the layers whose cost is counted, even"""
    seed: int = 0
    """of images and kernels"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Compares each formula with its second computation, and writes the report."""
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    sizes, costs = output_sizes(config), [costs_of(n) for n in config.channels]
    backward, other = backward_gaps(config.seed), other_gaps(config.seed)
    numbers = {
        "size_cases": len(sizes),
        "size_gap": max(abs(formula - xla) for *_, formula, xla in sizes),
        "parameters_gap": max(abs(x[1] - x[2]) for rows in costs for x in rows),
        "operations_gap": max(abs(x[3] - x[4]) for rows in costs for x in rows),
        "backward_gap": max(gap for *_, gap in backward),
        **other,
    }
    report.page(
        out / "report.html",
        title="The arithmetic of convolutions",
        summary="Sizes, counts, gradients, groups and dilation by the formulas, and by a second "
        "computation each.",
        numbers={
            f"output sizes that differ, of {len(sizes)}": sum(a != b for *_, a, b in sizes),
            "largest gap of parameters and operations": max(
                numbers["parameters_gap"], numbers["operations_gap"]
            ),
            "largest relative gap of the gradients": numbers["backward_gap"],
        },
        sections=[
            sizes_section(sizes, figures / "sizes.svg"),
            costs_section(config.channels, costs, figures / "costs.svg"),
            backward_section(backward),
            matrices_section(other, config.seed, figures / "matrices.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return {name: float(value) for name, value in numbers.items()}


def output_sizes(config: Config) -> list[tuple]:
    """Input, kernel, stride, padding, dilation, the formula's size and XLA's, where it fits in."""
    rows = []
    for n, k, s, p, d in product(config.sides, KERNELS, STRIDES, PADDINGS, DILATIONS):
        room = n + (sum(p) if isinstance(p, tuple) else 0 if p == "SAME" else 2 * p)
        if p != "SAME" and d * (k - 1) + 1 > room:
            continue
        size = ops.conv_output_size(n, kernel=k, stride=s, padding=p, dilation=d)
        sides = p if p == "SAME" else [(p, p) if isinstance(p, int) else p, (0, 0)]
        shape = jax.eval_shape(
            lambda x, kernel, s=s, sides=sides, d=d: jax.lax.conv_general_dilated(
                x, kernel, (s, 1), sides, rhs_dilation=(d, 1), dimension_numbers=LAYOUT
            ),
            *(jax.ShapeDtypeStruct(size, jnp.float32) for size in ((1, n, 1, 1), (k, 1, 1, 1))),
        ).shape
        rows.append((n, k, s, p, d, size, shape[1]))
    return rows


def costs_of(channels: int) -> list[tuple]:
    """Kind, parameters by formula and by Flax, operations by formula and by XLA: 3×3, VALID."""
    options = {"kernel": 3, "size": SIDE, "padding": "VALID"}
    both, groups = (channels, channels), {"plain": 1, "2 groups": 2, "depth-wise": channels}
    counts = {kind: ops.count_conv(*both, groups=n, **options) for kind, n in groups.items()}
    counts["separable"] = ops.count_separable(*both, **options)
    layers = {kind: [(3, n, True)] for kind, n in groups.items()}
    layers["separable"] = [(3, channels, False), (1, 1, True)]
    return [
        (kind, count.parameters, parameters, count.flops, flops)
        for kind, count in counts.items()
        for parameters, flops in (measured_cost(channels, layers[kind]),)
    ]


def measured_cost(channels: int, layers: Sequence[tuple[int, int, bool]]) -> tuple[int, int]:
    """Numbers that Flax's layers hold, and XLA's additions and multiplications.

    The layers are given as kernel, groups, and whether there is a bias.
    """

    def build() -> nnx.List:
        options = {"padding": "VALID", "rngs": nnx.Rngs(0)}
        return nnx.List(
            nnx.Conv(channels, channels, (k, k), feature_group_count=g, use_bias=bias, **options)
            for k, g, bias in layers
        )

    def forward(params: nnx.State, x: jax.Array) -> jax.Array:
        for layer in nnx.merge(structure, params):
            x = layer(x)
        return x

    structure, params = nnx.split(nnx.eval_shape(build), nnx.Param)
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, channels), jnp.float32)
    analysis: Any = jax.jit(forward).lower(params, image).compile().cost_analysis()
    return sum(x.size for x in jax.tree.leaves(params)), int(analysis["flops"])


def gap(a: Any, b: Any) -> float:
    """The largest difference of two trees of arrays, over the largest absolute value."""
    pairs = zip(
        map(np.asarray, jax.tree.leaves(a)), map(np.asarray, jax.tree.leaves(b)), strict=True
    )
    return max(float(np.max(np.abs(x - y)) / np.max(np.abs(y))) for x, y in pairs)


def backward_gaps(seed: int) -> list[tuple]:
    """Stride, padding, and the relative gap of the gradients by hand from JAX's."""
    keys, rows = jax.random.split(jax.random.key(seed), 4), []
    x, kernel = jax.random.normal(keys[0], (2, 9, 8, 3)), jax.random.normal(keys[1], (3, 3, 3, 4))
    bias = jax.random.normal(keys[2], (4,))
    for s, p in ((1, 1), (2, 0), (3, 2)):

        def forward(x: jax.Array, kernel: jax.Array, bias: jax.Array, s=s, p=p) -> jax.Array:
            y = jax.lax.conv_general_dilated(
                x, kernel, (s, s), [(p, p), (p, p)], dimension_numbers=LAYOUT
            )
            return y + bias.reshape(1, 1, 1, -1)

        y, pull = jax.vjp(forward, x, kernel, bias)
        delta = jax.random.normal(keys[3], y.shape)
        back = jax.jit(partial(ops.conv2d_backward, stride=s, padding=p))(x, kernel, delta)
        rows.append((s, p, gap(tuple(back), pull(delta))))
    return rows


def grouped_by_loop(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """A grouped convolution as one convolution after the other, each of its own channels."""
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([ops.conv2d(*part) for part in parts], axis=-1)


def with_zeros(kernel: jax.Array, dilation: int) -> jax.Array:
    """The kernel with zeros between its taps, which a plain convolution takes."""
    rows, columns = (dilation * (n - 1) + 1 for n in kernel.shape[:2])
    wide = jnp.zeros((rows, columns, *kernel.shape[2:]))
    return wide.at[::dilation, ::dilation].set(kernel)


def other_gaps(seed: int) -> dict[str, float]:
    """The largest relative gaps of grouped and of dilated convolutions."""
    keys = jax.random.split(jax.random.key(seed))
    x, kernel = jax.random.normal(keys[0], (2, 9, 8, 8)), jax.random.normal(keys[1], (3, 3, 8, 8))
    split = {g: kernel[:, :, : 8 // g] for g in (2, 4, 8)}
    return {
        "grouped_gap": max(
            gap(ops.conv2d(x, k, groups=g), grouped_by_loop(x, k, g)) for g, k in split.items()
        ),
        "dilated_gap": max(
            gap(ops.conv2d(x, kernel, dilation=d), ops.conv2d(x, with_zeros(kernel, d)))
            for d in (2, 3)
        ),
    }


def sizes_section(sizes: list[tuple], path: Path) -> Section:
    """The size of the output over that of the input, and a part of the cases."""
    inputs = np.arange(5, 25)
    with plot(path) as (ax,):
        for i, (s, d) in enumerate(((1, 1), (1, 2), (2, 1), (3, 1))):
            y = [ops.conv_output_size(n, kernel=3, stride=s, dilation=d) for n in map(int, inputs)]
            label = f"stride {s}, dilation {d}"
            ax.plot(inputs, y, "o-", ms=3, lw=0.7, color=color(i), label=label)
        ax.set(xlabel="cells of the input", ylabel="cells of the output", xticks=inputs[::3])
        ax.legend()
    rows = [row for row in sizes if row[0] == sizes[-1][0] and row[1] in (2, 3)]
    header = ("input", "kernel", "stride", "padding", "dilation", "formula", "XLA")
    return Section(
        "Output sizes",
        "⌊(size + padding − dilation (kernel − 1) − 1) / stride⌋ + 1, with the padding of both "
        f"sides, and ⌈size / stride⌉ with SAME: of {len(sizes)} cases, "
        f"{sum(a != b for *_, a, b in sizes)} differ from the shape that XLA gives. The table has "
        "those of the largest input and kernels of 2 and 3 cells.",
        [Figure(path, "A kernel of 3 cells without padding.")],
        Table(header, [tuple(map(str, row)) for row in rows]),
    )


def costs_section(channels: tuple[int, ...], costs: list[list[tuple]], path: Path) -> Section:
    """Parameters by channels, and the two counts of each layer."""
    with plot(path) as (ax,):
        for i, kind in enumerate(row[0] for row in costs[0]):
            ax.loglog(channels, [rows[i][1] for rows in costs], label=kind, color=color(i))
            ax.loglog(channels, [rows[i][2] for rows in costs], "o", color=color(i), ms=4)
        ax.set(xlabel="channels in and out", ylabel="parameters")
        ax.set_xticks(channels, [str(n) for n in channels])
        ax.minorticks_off()
        ax.legend()
    header = ("channels", "layer", "parameters", "Flax's", "operations", "XLA's")
    return Section(
        "Parameters and operations",
        f"3×3 convolutions with biases on {SIDE}×{SIDE} cells without padding: k² c d / g weights "
        "and two operations for each at each cell of the output, and one for each bias; "
        "k² c + c d weights of the separable one.",
        [Figure(path, "Lines by the formulas, dots from Flax's layers.")],
        Table(header, [(n, *row) for n, rows in zip(channels, costs, strict=True) for row in rows]),
    )


def backward_section(gaps: list[tuple]) -> Section:
    """The gradients of two errors on a digit, and the gaps by stride and padding."""
    x = jnp.asarray(data.digits(split="test")["image"][:1])
    kernel = jnp.arange(1.0, 10).reshape(3, 3, 1, 1) / 9
    delta = jnp.zeros((1, 6, 6, 1)).at[0, 0, 1, 0].set(1).at[0, 4, 3, 0].set(0.5)
    back = ops.conv2d_backward(x, kernel, delta)
    maps = x[0], kernel[..., 0], delta[0], back.x[0], back.kernel[..., 0] / 2
    large = [report.enlarge(np.asarray(image), factor=20) for image in maps]
    return Section(
        "The backward pass",
        "The gradient of the digit is the kernel wherever there is an error, times that error; "
        "the gradient of the kernel is the sum of the windows under the errors, times them. The "
        "table compares both computations on two images of 9×8 cells and 3 channels.",
        [
            Figure(
                report.grid(large, columns=5),
                "A digit, a kernel, errors of 1 and 0.5 in two cells of the output, the gradient "
                "of the digit, and half of the gradient of the kernel.",
            )
        ],
        Table(("stride", "padding", "largest relative gap"), gaps),
    )


def draw_matrices(seed: int, path: Path) -> None:
    """The matrices of a plain, a dilated and a grouped convolution of a row of cells."""
    cells, channels = 8, 4
    options = {"plain": {}, "dilation 2": {"dilation": (1, 2)}, "2 groups": {"groups": 2}}
    with plot(path, columns=3, height=2.0) as axes:
        for ax, (name, option) in zip(axes, options.items(), strict=True):
            shape = (1, 3, channels // option.get("groups", 1), channels)
            kernel = jax.random.normal(jax.random.key(seed), shape)
            conv = partial(ops.conv2d, kernel=kernel, **option)
            tensor = jax.jacobian(conv)(jnp.ones((1, cells, channels)))[0, :, :, 0]
            matrix = np.asarray(tensor).transpose(1, 0, 3, 2).reshape((cells * channels,) * 2)
            ax.imshow(np.ma.masked_equal(matrix, 0), cmap="coolwarm", vmin=-2, vmax=2)
            ax.set(title=name, xticks=[], yticks=[])
            ax.grid(visible=False)


def matrices_section(gaps: dict[str, float], seed: int, path: Path) -> Section:
    """Where the weights of dilated and grouped convolutions stand."""
    draw_matrices(seed, path)
    return Section(
        "Dilated and grouped",
        "Convolutions with three taps of a row of 8 cells with 4 channels, as matrices; cells are "
        "in order within a channel. Dilation moves the taps apart, groups leave the blocks "
        "between them empty. A dilated convolution differs from a plain one with zeros in the "
        f"kernel by {gaps['dilated_gap']:.1e}, a grouped one from a loop over its groups by "
        f"{gaps['grouped_gap']:.1e}, relative to the largest value.",
        [Figure(path, "Rows are outputs, columns inputs; what is not colored is 0.")],
    )
