"""How far boxes are from the true ones: 1 less the overlap, and what separates them."""

import jax
from jaxtyping import Array, Float

from lectures_jax.ops._overlap import aspect_difference, overlap_of, ratio
from lectures_jax.ops._precision import in_float32
from lectures_jax.ops.boxes import diou, giou
from lectures_jax.typing import checked


@checked
@in_float32
def giou_loss(boxes: Float[Array, "*b 4"], true_boxes: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Returns `1 − GIoU`, which also has a gradient where the boxes are disjoint.

    Args:
        boxes: corners of the predicted boxes.
        true_boxes: corners of the true ones.

    Returns:
        Values in [0, 2), 0 for equal boxes; 1 where neither has an area and they are one point.

    Source:
        Rezatofighi et al. (2019), algorithm 2.
    """
    return 1 - giou(boxes, true_boxes)


@checked
@in_float32
def diou_loss(boxes: Float[Array, "*b 4"], true_boxes: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Returns `1 − IoU + |center − true center|² / d²`, d the diagonal around both boxes.

    Args:
        boxes: corners of the predicted boxes.
        true_boxes: corners of the true ones.

    Returns:
        Values in [0, 2), 0 for equal boxes with an area.

    Source:
        Zheng et al. (2020), eq. 7.
    """
    return 1 - diou(boxes, true_boxes)


@checked
@in_float32
def ciou_loss(boxes: Float[Array, "*b 4"], true_boxes: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Returns the loss of `diou_loss` and α v more, by which the aspect ratios differ.

    `v = 4/π² (atan(w/h) − atan(w*/h*))²` and `α = v / (1 − IoU + v)`. The weight α is taken for a
    constant, as in training code: the gradient is not that of `1 − ops.ciou`, the value is.

    Args:
        boxes: corners of the predicted boxes.
        true_boxes: corners of the true ones.

    Returns:
        Values of at least 0, 0 for equal boxes with an area.

    Source:
        Zheng et al. (2020), eq. 8 to 11.
    """
    v = aspect_difference(boxes, true_boxes)
    alpha = ratio(v, 1 - overlap_of(boxes, true_boxes).iou + v)
    return diou_loss(boxes, true_boxes) + jax.lax.stop_gradient(alpha) * v
