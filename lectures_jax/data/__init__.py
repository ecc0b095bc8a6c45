"""Sources, readers, augmentation and the loader: everything up to the batch."""

try:
    from .augmentation import augment_detection, place, recolour
    from .classified import Splits, read_classified
    from .coco import read_coco
    from .digits import digit_scenes, digits
    from .folder import read_image_folder
    from .idx import read_idx
    from .letterbox import letterbox, letterbox_boxes, letterbox_mask, unletterbox_boxes
    from .loader import batches, in_memory, loader
    from .masks import read_masks
    from .records import stack
    from .sprites import factor_sprites
    from .toys import (
        checkerboard,
        gaussian_grid,
        grid_modes,
        repeat,
        two_moons,
        two_moons_log_prob,
        xor,
    )
    from .voc import read_voc
    from .yolo_txt import read_yolo
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.data needs {error.name}: pip install 'lectures_jax[experiments]'"
    ) from error

__all__ = [
    "Splits",
    "augment_detection",
    "batches",
    "checkerboard",
    "digit_scenes",
    "digits",
    "gaussian_grid",
    "grid_modes",
    "factor_sprites",
    "in_memory",
    "letterbox",
    "letterbox_boxes",
    "letterbox_mask",
    "loader",
    "place",
    "read_classified",
    "read_coco",
    "read_idx",
    "read_image_folder",
    "read_masks",
    "read_voc",
    "read_yolo",
    "recolour",
    "repeat",
    "stack",
    "two_moons",
    "two_moons_log_prob",
    "unletterbox_boxes",
    "xor",
]
