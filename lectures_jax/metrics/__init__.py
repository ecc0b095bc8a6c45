"""Scores that need a whole data set: sums over batches, then a ratio."""

from lectures_jax.metrics.classification import (
    ClassScores,
    accuracy,
    class_scores,
    confusion_matrix,
    roc_auc,
)
from lectures_jax.metrics.coco import CocoResult, coco_map
from lectures_jax.metrics.detection import (
    Matches,
    PrecisionRecall,
    match_detections,
    precision_recall,
    voc_ap,
)
from lectures_jax.metrics.detection_counts import (
    DetectionCounts,
    F1Curve,
    detection_counts,
    f1_curve,
)
from lectures_jax.metrics.detection_errors import (
    ERROR_KINDS,
    DetectionErrors,
    detection_confusion,
    detection_errors,
)
from lectures_jax.metrics.disentanglement import (
    DciScores,
    dci,
    dci_of_importance,
    factor_vae_score,
    mutual_information_gap,
    separated_attributes,
)
from lectures_jax.metrics.generative import (
    ManifoldScores,
    ModeCoverage,
    class_histogram,
    frechet_distance,
    kernel_distance,
    manifold_scores,
    mode_coverage,
    nearest_neighbor_ratio,
)
from lectures_jax.metrics.image import high_frequency_energy, psnr
from lectures_jax.metrics.instances import InstanceCounts, instance_counts, instance_precision
from lectures_jax.metrics.intrinsic import intrinsic_dimension
from lectures_jax.metrics.latent import AggregateScores, active_units, aggregate_posterior
from lectures_jax.metrics.likelihood import effective_sample_size
from lectures_jax.metrics.segmentation import (
    boundary_f1,
    class_dice,
    class_iou,
    mean_accuracy,
    mean_dice,
    mean_iou,
    pixel_accuracy,
    pixel_confusion,
)

__all__ = [
    "ClassScores",
    "accuracy",
    "class_scores",
    "confusion_matrix",
    "roc_auc",
    "ERROR_KINDS",
    "CocoResult",
    "DetectionCounts",
    "DetectionErrors",
    "F1Curve",
    "Matches",
    "PrecisionRecall",
    "coco_map",
    "detection_confusion",
    "detection_counts",
    "detection_errors",
    "f1_curve",
    "match_detections",
    "precision_recall",
    "voc_ap",
    "boundary_f1",
    "class_dice",
    "class_iou",
    "mean_accuracy",
    "mean_dice",
    "mean_iou",
    "pixel_accuracy",
    "pixel_confusion",
    "InstanceCounts",
    "instance_counts",
    "instance_precision",
    "ManifoldScores",
    "ModeCoverage",
    "class_histogram",
    "frechet_distance",
    "intrinsic_dimension",
    "kernel_distance",
    "manifold_scores",
    "mode_coverage",
    "nearest_neighbor_ratio",
    "high_frequency_energy",
    "psnr",
    "AggregateScores",
    "active_units",
    "aggregate_posterior",
    "effective_sample_size",
    "mutual_information_gap",
    "separated_attributes",
    "DciScores",
    "dci",
    "dci_of_importance",
    "factor_vae_score",
]
