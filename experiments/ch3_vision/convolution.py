"""A convolution is a sparse matrix, and its transpose the gradient. CPU, 30 s; largest gap 1e-5.

Four remarks of the course, measured: a 3×3 kernel on a 4×4 image is a 4×16 matrix that shares nine
weights; the gradient is multiplication by its transpose; stacked convolutions see a window that
grows with depth; and a separable convolution costs a fraction of an ordinary one.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lectures_jax import ops, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import GRID, PALETTE, plot

TINY = {"channels": (4, 8), "side": 8, "depth": 2}
EXPECTED = {
    "matrix_gap": (None, 1e-5),
    "gradient_gap": (None, 1e-5),
    "receptive_field": (9, 9),
    "receptive_field_gap": (None, 0),
    "separable_multiplications": (None, 0.12),
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    channels: tuple[int, ...] = (16, 32, 64, 128)
    """channels in and out of the convolutions whose cost is compared"""
    side: int = 32
    """of the image in that comparison, in cells"""
    depth: int = 4
    """3×3 convolutions stacked to see the receptive field grow"""
    seed: int = 0
    """of images and kernels"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Measures the four remarks and writes the report."""
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    key = jax.random.key(config.seed)
    numbers = gaps(key)
    depths = range(1, config.depth + 1)
    widths = {stride: [support(n, stride) for n in depths] for stride in (1, 2)}
    costs = [cost(channels, config.side) for channels in config.channels]
    numbers["receptive_field"] = float(widths[1][-1])
    numbers["separable_multiplications"] = costs[-1]["separable"] / costs[-1]["ordinary"]
    formula = {s: [ops.receptive_field([(3, s, 1)] * n).size for n in depths] for s in widths}
    numbers["receptive_field_gap"] = float(
        max(abs(a - b) for s in widths for a, b in zip(widths[s], formula[s], strict=True))
    )
    report.page(
        out / "report.html",
        title="Convolution",
        summary="A dense layer whose weights are shared and mostly zero.",
        numbers={
            "matrix and convolution differ by": numbers["matrix_gap"],
            "gradient and transposed convolution differ by": numbers["gradient_gap"],
            f"receptive field of {config.depth} layers": int(numbers["receptive_field"]),
            "separable / ordinary multiplications": numbers["separable_multiplications"],
        },
        sections=[
            matrices(figures),
            receptive_field(widths, figures),
            separable(costs, figures),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def gaps(key: jax.Array) -> dict[str, float]:
    """How far two ways to compute the same lie apart: by matrix, and by gradient."""
    keys = jax.random.split(key, 3)
    kernel, x = jax.random.normal(keys[0], (3, 3, 2, 3)), jax.random.normal(keys[1], (9, 11, 2))
    y, pull = jax.vjp(lambda x: ops.conv2d(x, kernel, stride=2, padding=1), x)
    matrix = ops.conv_matrix(kernel, height=9, width=11, stride=2, padding=1)
    g = jax.random.normal(keys[2], y.shape)
    back = ops.conv_transpose2d(g, kernel, stride=2, padding=1)
    return {
        "matrix_gap": float(jnp.max(jnp.abs(matrix @ x.ravel() - y.ravel()))),
        "gradient_gap": float(jnp.max(jnp.abs(pull(g)[0] - back))),
    }


def support(depth: int, stride: int) -> int:
    """How many columns of the image one cell sees through a stack of 3×3 convolutions.

    Measured: the cells on which the gradient of the middle one is not 0.
    """
    kernel, side = jnp.ones((3, 3, 1, 1)), 2 * stride**depth * (depth + 2) + 1

    def middle(x):
        for _ in range(depth):
            x = ops.conv2d(x, kernel, stride=stride, padding=1)
        return x[x.shape[0] // 2, x.shape[1] // 2, 0]

    gradient = jax.jit(jax.grad(middle))(jnp.ones((side, side, 1)))
    return int(np.any(np.asarray(gradient) != 0, axis=(0, 2)).sum())


def cost(channels: int, side: int) -> dict[str, float]:
    """Multiplications and milliseconds of an ordinary and a separable 3×3 convolution."""
    shapes = (3, 3, channels, channels), (3, 3, 1, channels), (1, 1, channels, channels)
    full, depthwise, pointwise = (0.1 * jnp.ones(shape) for shape in shapes)
    x = jnp.ones((8, side, side, channels))
    return {
        "channels": channels,
        "ordinary": side**2 * full.size,
        "separable": side**2 * (depthwise.size + pointwise.size),
        "ordinary_ms": milliseconds(ops.conv2d, x, full),
        "separable_ms": milliseconds(ops.separable_conv2d, x, depthwise, pointwise),
    }


def milliseconds(function, *args: jax.Array) -> float:
    """Returns the median time of five calls."""
    call, times = jax.jit(function), []
    for _ in range(6):
        start = time.perf_counter()
        jax.block_until_ready(call(*args))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times[1:]))  # the first call compiles


def matrices(figures: Path) -> Section:
    """The course's example: the nine weights of a 3×3 kernel on a 4×4 image."""
    weights = jnp.arange(1.0, 10).reshape(3, 3, 1, 1)
    matrix = np.asarray(ops.conv_matrix(weights, height=4, width=4)).astype(int)
    same = np.asarray(ops.conv_matrix(weights, height=4, width=4, padding="SAME")).astype(int)
    for name, values, height in (("valid", matrix, 1.6), ("same", same, 4.6)):
        with plot(figures / f"matrix_{name}.svg", height=height) as (ax,):
            draw_matrix(ax, values)
    return Section(
        "The matrix of a convolution",
        "Each row holds the kernel where it stands for one output cell; one color is one weight. "
        "Forward multiplies by the matrix, backward by its transpose, and the gradient of a weight "
        "is the sum over its cells.",
        figures=[
            Figure(
                figures / "matrix_valid.svg",
                f"4×4 image, 3×3 kernel, no padding: {np.count_nonzero(matrix)} of {matrix.size} "
                "cells are not 0, by 9 weights.",
            ),
            Figure(
                figures / "matrix_same.svg",
                f"The same with zeros around the image: {np.count_nonzero(same)} of {same.size}; "
                "taps that fall on padding are missing.",
            ),
        ],
    )


def draw_matrix(ax: Axes, values: np.ndarray) -> None:
    """Draws a cell for each entry; weights 1 to 9 have a color and their number."""
    rows, columns = values.shape
    for (i, j), weight in np.ndenumerate(values):
        shade = PALETTE[weight - 1] if weight else "none"
        ax.add_patch(Rectangle((j, i), 1, 1, facecolor=shade, edgecolor=GRID, linewidth=0.7))
        if weight:
            ax.text(
                j + 0.5,
                i + 0.5,
                str(weight),
                ha="center",
                va="center",
                fontsize=7,
                color="white",
                fontweight="bold",
            )
    ax.set(xlim=(-0.1, columns + 0.1), ylim=(rows + 0.1, -0.1), aspect="equal")
    ax.set(xlabel="cell of the image", ylabel="cell of the result")
    ax.set(xticks=np.arange(columns) + 0.5, xticklabels=range(columns))
    ax.set(yticks=np.arange(rows) + 0.5, yticklabels=range(rows))
    ax.grid(visible=False)


def receptive_field(widths: dict[int, list[int]], figures: Path) -> Section:
    """What one cell sees, over depth."""
    with plot(figures / "receptive_field.svg", height=2.8) as (ax,):
        for stride, sizes in widths.items():
            label = f"stride {stride}  {sizes[-1]}"
            ax.plot(range(1, len(sizes) + 1), sizes, marker="o", label=label)
        depths = range(1, len(widths[1]) + 1)
        ax.set(xlabel="3×3 convolutions", ylabel="columns seen", xticks=depths)
        ax.legend()
    return Section(
        "Receptive field",
        "The cells of the image on which the gradient of one output cell is not 0: two more with "
        "each convolution, and twice as many more after each stride of 2. The formula "
        "1 + 2 Σ strideⁱ gives the same.",
        figures=[Figure(figures / "receptive_field.svg", "Measured by the gradient's support.")],
    )


def separable(costs: list[dict[str, float]], figures: Path) -> Section:
    """Multiplications and time, ordinary against separable."""
    with plot(figures / "separable.svg", height=2.8) as (ax,):
        for name in ("ordinary", "separable"):
            ax.plot(
                [row["channels"] for row in costs],
                [row[f"{name}_ms"] for row in costs],
                marker="o",
                label=f"{name}  {costs[-1][f'{name}_ms']:.2f} ms",
            )
        ax.set(xlabel="channels", ylabel="milliseconds", xscale="log", yscale="log")
        ax.set_xticks([row["channels"] for row in costs], [str(row["channels"]) for row in costs])
        ax.minorticks_off()
        ax.legend()
    rows = [
        (
            row["channels"],
            row["ordinary"],
            row["separable"],
            row["separable"] / row["ordinary"],
            row["separable_ms"] / row["ordinary_ms"],
        )
        for row in costs
    ]
    header = ("channels", "ordinary", "separable", "share of work", "share of time")
    return Section(
        "What separating saves",
        "Multiplications per image of a 3×3 convolution, biases left out: the share is 1/d + 1/9 "
        "for d output channels. Time saves less where the depth-wise part moves more data than it "
        "computes.",
        figures=[Figure(figures / "separable.svg", "Forward, 8 images.")],
        table=Table(header, rows),
    )
