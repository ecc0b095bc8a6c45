"""NumPy in, file out: curves, pictures with boxes, and one page that shows a whole run.

The dataclasses that a page is made of are in `lectures_jax.report.page`.
"""

try:
    from .anchors import anchors
    from .boxes import draw_boxes
    from .classification import confusion, worst_mistakes
    from .curves import curves, precision_recall
    from .detection import precision_recall_by_class, predictions, worst_errors
    from .images import grid
    from .latent import latent_plane, latent_units
    from .page import page
    from .training import configuration, timing, training
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.report needs {error.name}: pip install 'lectures_jax[experiments]'"
    ) from error

__all__ = [
    "anchors",
    "configuration",
    "confusion",
    "curves",
    "draw_boxes",
    "grid",
    "latent_plane",
    "latent_units",
    "page",
    "precision_recall",
    "precision_recall_by_class",
    "predictions",
    "timing",
    "training",
    "worst_errors",
    "worst_mistakes",
]
