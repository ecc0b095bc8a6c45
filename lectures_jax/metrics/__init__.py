"""Scores that need a whole data set: sums over batches, then a ratio."""

from .coco import CocoResult, coco_map
from .detection import Matches, PrecisionRecall, match_detections, precision_recall, voc_ap

__all__ = [
    "CocoResult",
    "Matches",
    "PrecisionRecall",
    "coco_map",
    "match_detections",
    "precision_recall",
    "voc_ap",
]
