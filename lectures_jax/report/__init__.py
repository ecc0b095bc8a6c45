"""NumPy in, file out: curves, images with boxes, and one page that shows a whole run.

The dataclasses that a page is made of are in `lectures_jax.report.page`.
"""

try:
    from lectures_jax.report.anchors import anchors
    from lectures_jax.report.boxes import draw_box_groups, draw_boxes
    from lectures_jax.report.classification import confusion, worst_mistakes
    from lectures_jax.report.comparison import (
        compared_curves,
        compared_results,
        compared_settings,
    )
    from lectures_jax.report.curves import curves, curves_by_run, precision_recall_curves
    from lectures_jax.report.dataset import dataset
    from lectures_jax.report.detection import precision_recall_by_class, predictions, worst_errors
    from lectures_jax.report.detection_errors import (
        detection_confusion,
        error_examples,
        errors_by_kind,
        f1_by_threshold,
        scores_by_size,
    )
    from lectures_jax.report.excerpt import excerpts
    from lectures_jax.report.generative import (
        SAMPLE_SCORES,
        class_shares,
        copies_remark,
        latent_space,
        likelihood_bounds,
        sample_scores,
        samples,
    )
    from lectures_jax.report.images import enlarge, grid, sheet
    from lectures_jax.report.latent import latent_plane, latent_units
    from lectures_jax.report.masks import (
        draw_instances,
        draw_mask,
        mask_colors,
        mask_legend,
        pixel_classes,
        segmentations,
    )
    from lectures_jax.report.page import page
    from lectures_jax.report.seeds import best_by_seeds, mean_and_deviation, scores_by_seed
    from lectures_jax.report.suppression import suppression_rounds
    from lectures_jax.report.training import configuration, seconds_of, timing, training
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.report needs {error.name}: pip install 'lectures_jax[experiments]'"
    ) from error

__all__ = [
    "SAMPLE_SCORES",
    "anchors",
    "best_by_seeds",
    "class_shares",
    "compared_curves",
    "compared_results",
    "compared_settings",
    "configuration",
    "copies_remark",
    "confusion",
    "curves",
    "curves_by_run",
    "dataset",
    "detection_confusion",
    "draw_box_groups",
    "draw_boxes",
    "error_examples",
    "errors_by_kind",
    "f1_by_threshold",
    "draw_instances",
    "draw_mask",
    "enlarge",
    "excerpts",
    "grid",
    "latent_plane",
    "latent_space",
    "latent_units",
    "likelihood_bounds",
    "mask_colors",
    "mask_legend",
    "mean_and_deviation",
    "page",
    "pixel_classes",
    "precision_recall_curves",
    "precision_recall_by_class",
    "predictions",
    "sample_scores",
    "samples",
    "scores_by_seed",
    "scores_by_size",
    "seconds_of",
    "segmentations",
    "sheet",
    "suppression_rounds",
    "timing",
    "training",
    "worst_errors",
    "worst_mistakes",
]
