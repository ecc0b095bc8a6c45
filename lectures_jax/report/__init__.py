"""NumPy in, file out: curves, pictures with boxes, and one page that shows a whole run.

The dataclasses that a page is made of are in `lectures_jax.report.page`.
"""

try:
    from .anchors import anchors
    from .boxes import draw_boxes
    from .curves import curves, precision_recall
    from .images import grid
    from .page import page
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.report needs {error.name}: pip install 'lectures_jax[experiments]'"
    ) from error

__all__ = ["anchors", "curves", "draw_boxes", "grid", "page", "precision_recall"]
