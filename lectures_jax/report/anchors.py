"""The sizes of a dataset's boxes, and the anchors that stand for them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Num
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from lectures_jax.report.theme import PALETTE, PAPER, plot


def anchors(sizes: Num[np.ndarray, "n 2"], anchors: Num[np.ndarray, "a 2"], path: Path) -> None:
    """Draws each box as a point, width by height, and the anchors over them.

    The title states how well the anchors fit: the mean, over the boxes, of the best IoU with an
    anchor when both are centered.

    Args:
        sizes: width and height of the boxes in pixels, positive.
        anchors: width and height of the anchors in pixels.
        path: file to write: `.svg`, `.png` or `.pdf`.

    Raises:
        ValueError: if there is no box or no anchor, or a size is not positive.

    Source:
        Redmon & Farhadi (2017), sec. 2, "Dimension Clusters".
    """
    sizes, anchors = np.asarray(sizes, float), np.asarray(anchors, float)
    for name, values in (("sizes", sizes), ("anchors", anchors)):
        if not len(values) or not np.all((values > 0) & (values < np.inf)):
            raise ValueError(f"{name} must be positive pixels, at least one pair, got {values}.")
    fit = _best_iou(sizes, anchors).mean()
    anchors = anchors[np.argsort(anchors.prod(axis=1))]
    with plot(path, height=3.8) as (ax,):
        ax.scatter(
            *sizes.T,
            s=7,
            alpha=min(0.6, 20 / len(sizes) ** 0.5),
            linewidths=0,
            # Thousands of points are an image inside the drawing: a smaller file, faster to show.
            rasterized=len(sizes) > 500,
        )
        disc = {"facecolors": PAPER, "edgecolors": PALETTE[1], "linewidths": 1.5}
        ax.scatter(*anchors.T, s=110, zorder=3, **disc)
        middle = {"ha": "center", "va": "center_baseline", "fontsize": 7}
        for i, (w, h) in enumerate(anchors, 1):
            ax.text(w, h, f"{i}", zorder=3, **middle)
        names = [f"{i}   {w:.0f}×{h:.0f}" for i, (w, h) in enumerate(anchors, 1)]
        listing = "\n".join(["anchors", *names])
        ax.text(1.04, 1, listing, va="top", linespacing=1.6, fontsize=8, transform=ax.transAxes)
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(base=2))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(NullLocator())
        ax.set(xlabel="width, pixels", ylabel="height, pixels", aspect="equal")
        ax.set_title(f"{len(sizes):,} boxes, mean best IoU {fit:.3f}", loc="left", fontsize=8.5)


def _best_iou(
    sizes: Float[np.ndarray, "n 2"], anchors: Float[np.ndarray, "a 2"]
) -> Float[np.ndarray, " n"]:
    """The IoU of each box with the anchor that is most like it, both centered."""
    overlap = np.minimum(sizes[:, None], anchors[None]).prod(axis=2)
    union = sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - overlap
    return np.max(overlap / union, axis=1)
