"""Upsampling: which ways draw a checkerboard. CPU, 10 s; unevenness of a transposed kernel 0.48.

Maps are doubled by repetition, by interpolation, and by transposed convolutions whose weights are
all the same. The first two are compared with JAX's resizing. A constant map stays constant unless
the stride does not divide the size of the transposed kernel: then some cells get more weights
than others.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, ops, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

EXPECTED = {
    "nearest_gap": (None, 1e-6),
    "bilinear_gap": (None, 1e-5),
    "uneven_nearest": (None, 1e-6),
    "uneven_bilinear": (None, 1e-6),
    "uneven_transposed_3": (0.48, 0.49),
    "uneven_tent": (None, 1e-6),
    "uneven_transposed_4": (None, 1e-6),
}
TINY = {"side": 16}
SHOWN = 192  # pixels of the photograph's part


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    side: int = 24
    """pixels of the photograph that is doubled twice, a divisor of 48"""
    sizes: tuple[int, ...] = (3, 4, 5, 6, 7, 8)
    """of transposed kernels, in cells, at least 3"""
    seed: int = 0
    """of the map that is compared with JAX's resizing"""


Grow = Callable[[jax.Array], jax.Array]


def transposed(size: int, stride: int = 2) -> Grow:
    """Enlarges a map by a transposed convolution whose weights are all the same; keeps the mean."""

    def grow(x: jax.Array) -> jax.Array:
        weights = np.full((size, size, 1, 1), (stride / size) ** 2) * np.eye(x.shape[-1])
        return ops.conv_transpose2d(x, jnp.asarray(weights, x.dtype), stride=stride)

    return grow


def tent(x: jax.Array) -> jax.Array:
    """Doubles a map by a transposed convolution with the weights ½, 1, ½ along both axes."""
    line = np.array([0.5, 1, 0.5])
    weights = np.outer(line, line)[:, :, None, None] * np.eye(x.shape[-1])
    return ops.conv_transpose2d(x, jnp.asarray(weights, x.dtype), stride=2)


WAYS: dict[str, Grow] = {
    "nearest": ops.upsample_nearest,
    "bilinear": ops.upsample_bilinear,
    "transposed 3": transposed(3),
    "transposed 4": transposed(4),
}


def run(config: Config, out: Path) -> dict[str, float]:
    """Measures all, and writes the report."""
    if config.side < 1 or SHOWN // 4 % config.side:
        raise ValueError(f"--side: expected a divisor of {SHOWN // 4}, got {config.side}.")
    numbers = resizing_gaps(config.seed)
    for name, grow in WAYS.items():
        numbers[f"uneven_{name.replace(' ', '_')}"] = unevenness(grow)
    numbers["uneven_tent"] = unevenness(tent)
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    uneven = {
        stride: [unevenness(transposed(size, stride)) for size in config.sizes] for stride in (2, 3)
    }
    report.page(
        out / "report.html",
        title="Upsampling",
        summary="With equal weights a transposed convolution draws a checkerboard where its stride "
        "does not divide the size of its kernel; repetition and interpolation never do.",
        numbers={
            "unevenness, transposed, kernel of 3": numbers["uneven_transposed_3"],
            "unevenness, transposed, kernel of 4": numbers["uneven_transposed_4"],
            "unevenness, bilinear": numbers["uneven_bilinear"],
        },
        sections=[
            photograph_section(config, numbers),
            sizes_section(config, uneven, numbers, figures / "uneven.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def resizing_gaps(seed: int) -> dict[str, float]:
    """The largest difference from JAX's resizing of a random map, by 2 and by 3."""
    x = jax.random.normal(jax.random.key(seed), (5, 6, 2))
    ways = {"nearest": ops.upsample_nearest, "bilinear": ops.upsample_bilinear}

    def gap(kind: str, factor: int) -> float:
        same = jax.image.resize(x, (5 * factor, 6 * factor, 2), kind)
        return float(jnp.max(jnp.abs(ways[kind](x, factor=factor) - same)))

    return {f"{kind}_gap": max(gap(kind, factor) for factor in (2, 3)) for kind in ways}


def unevenness(grow: Grow) -> float:
    """Deviation over mean of what a constant map becomes, without its border."""
    y = grow(jnp.ones((18, 18, 1)))[12:-12, 12:-12]
    return float(jnp.std(y) / jnp.mean(y))


def photograph(side: int) -> list[np.ndarray]:
    """A small photograph, and what each way makes of it in two doublings, at the same size."""
    part = jnp.asarray(data.photographs("cat")["cat"][20 : 20 + SHOWN, 110 : 110 + SHOWN])
    small = ops.mean_pool(part, size=SHOWN // side)
    large = [jax.jit(lambda x, grow=grow: grow(grow(x)))(small) for grow in WAYS.values()]
    return [
        report.enlarge(np.asarray(image), factor=SHOWN // image.shape[0])
        for image in (part, small, *large)
    ]


def photograph_section(config: Config, numbers: dict[str, float]) -> Section:
    """The photographs, and the measures of each way."""
    rows = [(name, numbers[f"uneven_{name.replace(' ', '_')}"]) for name in WAYS]
    return Section(
        "A photograph",
        f"{config.side}×{config.side} pixels, doubled twice. Repetition and interpolation equal "
        f"JAX's resizing to {numbers['nearest_gap']:.1g} and {numbers['bilinear_gap']:.1g}. "
        "Unevenness is the standard deviation over the mean of what a constant map becomes. With "
        "a kernel of 3 and a stride of 2, a cell gets one, two or four weights; with a kernel of "
        "4, each gets four.",
        [
            Figure(
                report.grid(photograph(config.side), columns=3),
                "Above: the photograph, its small version, nearest; below: bilinear, transposed "
                "convolution with 3×3 and with 4×4 equal weights.",
            )
        ],
        Table(("way", "unevenness"), rows),
    )


def sizes_section(
    config: Config, uneven: dict[int, list[float]], numbers: dict[str, float], path: Path
) -> Section:
    """Unevenness by the size of the transposed kernel."""
    with plot(path, height=2.6) as (ax,):
        for i, (stride, values) in enumerate(uneven.items()):
            ax.plot(config.sizes, values, "o-", label=f"stride {stride}", color=color(i))
        ax.set(xlabel="rows and columns of the transposed kernel", ylabel="unevenness")
        ax.set_xticks(config.sizes)
        ax.legend()
    return Section(
        "Kernels and strides",
        "The unevenness is 0 where the stride divides the size of the kernel. Other weights can be "
        "even where it does not: a kernel of ½, 1, ½ along both axes gives "
        f"{numbers['uneven_tent']:.1g}. Nothing makes a training choose them.",
        [Figure(path, "Transposed convolutions with equal weights.")],
    )
