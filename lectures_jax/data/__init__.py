"""Sources, readers, augmentation and the loader: everything up to the batch."""

from typing import TYPE_CHECKING, Any

from lectures_jax.data.arrays import batches, in_batches
from lectures_jax.data.augmentation import affine_transform, augment_detection, color_jitter
from lectures_jax.data.classification_augmentation import augment_classification
from lectures_jax.data.crops import crops
from lectures_jax.data.download import fetch
from lectures_jax.data.idx import read_idx
from lectures_jax.data.records import stack
from lectures_jax.data.segmentation_augmentation import augment_segmentation
from lectures_jax.data.sprites import factor_sprites
from lectures_jax.data.toys import (
    checkerboard,
    gaussian_grid,
    grid_modes,
    repeat,
    two_moons,
    two_moons_log_prob,
    xor,
)

try:
    from lectures_jax.data.classified import Splits, read_classified, read_idx_splits
    from lectures_jax.data.coco import read_coco, read_coco_ids
    from lectures_jax.data.digit_scenes import digit_scenes
    from lectures_jax.data.digits import digits
    from lectures_jax.data.inspection import (
        Inspection,
        Split,
        inspect_splits,
        split_of_dataset,
        split_of_examples,
        splits_of_class_folders,
    )
    from lectures_jax.data.instances import (
        border_weights,
        connected_components,
        split_instances,
        touching,
    )
    from lectures_jax.data.letterbox import (
        letterbox,
        letterbox_boxes,
        letterbox_mask,
        unletterbox_boxes,
    )
    from lectures_jax.data.loader import in_memory, loader
    from lectures_jax.data.mask_folders import MaskSplits, read_mask_folders
    from lectures_jax.data.mask_inspection import inspect_masks
    from lectures_jax.data.masks import read_masks
    from lectures_jax.data.photographs import photographs
    from lectures_jax.data.selective_search import graph_segmentation, selective_search
    from lectures_jax.data.voc import read_voc
    from lectures_jax.data.yolo_txt import find_yolo_split, read_yolo
except ModuleNotFoundError as _error:
    if not TYPE_CHECKING:
        _missing = _error.name

        def __getattr__(name: str) -> Any:
            """Says what the readers of files lack, for which the core install has no package."""
            if name in __all__:
                raise ImportError(
                    f"lectures_jax.data.{name} needs {_missing}: "
                    "pip install 'lectures_jax[experiments]'"
                )
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Inspection",
    "MaskSplits",
    "Split",
    "Splits",
    "affine_transform",
    "augment_classification",
    "augment_detection",
    "augment_segmentation",
    "batches",
    "border_weights",
    "checkerboard",
    "color_jitter",
    "connected_components",
    "crops",
    "digit_scenes",
    "digits",
    "factor_sprites",
    "fetch",
    "find_yolo_split",
    "gaussian_grid",
    "graph_segmentation",
    "grid_modes",
    "in_batches",
    "in_memory",
    "inspect_masks",
    "inspect_splits",
    "letterbox",
    "letterbox_boxes",
    "letterbox_mask",
    "loader",
    "photographs",
    "read_classified",
    "read_coco",
    "read_coco_ids",
    "read_idx",
    "read_idx_splits",
    "read_mask_folders",
    "read_masks",
    "read_voc",
    "read_yolo",
    "repeat",
    "selective_search",
    "split_instances",
    "split_of_dataset",
    "split_of_examples",
    "splits_of_class_folders",
    "stack",
    "touching",
    "two_moons",
    "two_moons_log_prob",
    "unletterbox_boxes",
    "xor",
]
