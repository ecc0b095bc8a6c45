"""Non-maximum suppression, round by round, as a section of a page."""

import numpy as np
from jaxtyping import Float, Num

from lectures_jax.report.boxes import BoxGroup, draw_box_groups
from lectures_jax.report.page import Figure, Section
from lectures_jax.report.theme import color

KEPT, SUPPRESSED, WAITING = color(2), color(7), color(0)
"""Colors of the boxes that stay, go, and are not decided yet."""


def suppression_rounds(
    image: Num[np.ndarray, "h w *c"],
    boxes: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    overlap: Float[np.ndarray, "n n"],
    *,
    threshold: float,
    shown: int = 4,
    scale: int = 3,
) -> Section:
    """Draws hard suppression of one image's boxes: a figure for each round in which most boxes go.

    Args:
        image: gray or RGB, float in [0, 1] or uint8.
        boxes: xyxy in pixels, by falling score.
        scores: of the boxes.
        overlap: IoU of each box with each.
        threshold: IoU above which the box of the lower score goes.
        shown: number of rounds that are drawn.
        scale: factor by which the image is enlarged.
    """
    rounds = _rounds(overlap, threshold)
    drawn = set(sorted(range(len(rounds)), key=lambda i: -len(rounds[i][1]))[:shown])

    def figure(caption: str, *groups: BoxGroup) -> Figure:
        return Figure(draw_box_groups(image, groups, scale=scale), caption)

    figures = [figure(f"{len(boxes)} boxes before suppression.", BoxGroup(boxes, WAITING, 1))]
    kept, waiting = [], np.arange(len(boxes))
    for i, (best, gone) in enumerate(rounds):
        waiting = waiting[~np.isin(waiting, [best, *gone])]
        if i in drawn:
            caption = f"Round {i + 1}: the best box left stays; {len(gone)} suppressed by it."
            groups = (
                BoxGroup(boxes[waiting], WAITING, 1, opacity=0.6),
                BoxGroup(boxes[kept], KEPT, 1),
                BoxGroup(boxes[gone], SUPPRESSED, 1),
                BoxGroup(boxes[[best]], KEPT, 3, labels=[f"{scores[best]:.2f}".lstrip("0")]),
            )
            figures.append(figure(caption, *groups))
        kept.append(best)
    last = f"After {len(rounds)} rounds: {len(kept)} boxes."
    return Section(
        "Hard suppression, round by round",
        "Blue boxes wait. In each round the one with the highest score stays (green, with its "
        f"score), and those whose IoU with it is above {threshold} go (red). Shown are the "
        f"{len(drawn)} rounds in which most boxes go.",
        figures=[*figures, figure(last, BoxGroup(boxes[kept], KEPT))],
    )


def _rounds(overlap: Float[np.ndarray, "n n"], threshold: float) -> list[tuple[int, list[int]]]:
    """The box kept in each round, and the boxes that it suppresses."""
    waiting, rounds = list(range(len(overlap))), []
    while waiting:
        best, *others = waiting
        gone = [i for i in others if overlap[best, i] > threshold]
        rounds.append((best, gone))
        waiting = [i for i in others if i not in gone]
    return rounds
