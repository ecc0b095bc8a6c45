"""Pure array functions, in the order of the course: no parameters, no Flax."""

from .boxes import (
    box_area,
    ciou,
    clip_boxes,
    cxcywh_to_xyxy,
    diou,
    giou,
    iou,
    pairwise_iou,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)
from .normalization import Moments, batch_moments, batch_norm
from .yolo import (
    Predictions,
    YoloTarget,
    shape_iou,
    split_head,
    yolo_boxes,
    yolo_decode,
    yolo_encode,
)

__all__ = [
    "Moments",
    "batch_moments",
    "batch_norm",
    "Predictions",
    "YoloTarget",
    "shape_iou",
    "split_head",
    "yolo_boxes",
    "yolo_decode",
    "yolo_encode",
    "box_area",
    "ciou",
    "clip_boxes",
    "cxcywh_to_xyxy",
    "diou",
    "giou",
    "iou",
    "pairwise_iou",
    "xywh_to_xyxy",
    "xyxy_to_cxcywh",
    "xyxy_to_xywh",
]
