"""A saved detector in one call: an image of any size in, boxes in its pixels out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from lectures_jax import data
from lectures_jax.data.images import decode_image
from lectures_jax.data.letterbox import Letterbox
from lectures_jax.models.darknet_boxes import find_objects
from lectures_jax.models.darknet_network import DarknetNetwork, evaluated
from lectures_jax.models.yolo import Yolo
from lectures_jax.nn import detection
from lectures_jax.nn.detection import Detections
from lectures_jax.weights.darknet_image import darknet_letterbox, darknet_stretch
from lectures_jax.weights.saved import SavedModel, load_model


class Objects(NamedTuple):
    """The objects of one image, by falling score.

    Attributes:
        boxes: float32 [n, 4], xyxy in the image's pixels.
        scores: float32 [n].
        labels: int32 [n], indices of the detector's `classes`.
        names: of the classes, one for each object.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: list[str]


Fit = Callable[[np.ndarray, tuple[int, int]], tuple[np.ndarray, Letterbox]]
"""`(image, image_size) -> (canvas, transform)`; the canvas is of bytes, or of floats in [0, 1]."""


def _letterboxed(image: np.ndarray, image_size: tuple[int, int]) -> tuple[np.ndarray, Letterbox]:
    """The image on a canvas as detectors here are trained."""
    return data.letterbox(image, image_size=image_size)


FITS: dict[str, Fit] = {
    "letterbox": _letterboxed,
    "darknet_letterbox": darknet_letterbox,
    "darknet_stretch": darknet_stretch,
}
"""How an image gets the network's size, by the name in the settings."""


@dataclass(frozen=True)
class Detector:
    """A trained detector: `detector(image)` gives the objects in it.

    Attributes:
        model: a network with the `predict` of `Yolo`, in evaluation mode.
        classes: their names, in the order of the labels.
        image_size: height and width of the canvas that images are fitted into.
        fit: how they are.
    """

    model: Any
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    fit: Fit = _letterboxed

    def __call__(
        self,
        image: Any,
        *,
        score_threshold: float = 0.3,
        iou_threshold: float = 0.45,
        suppression: str = "hard",
        class_agnostic: bool = True,
    ) -> Objects:
        """Returns the objects in one image; compiled once.

        Args:
            image: a file, which is read upright, or an array [h, w, 3]: bytes, or floats in [0, 1].
            score_threshold: boxes with a lower score are dropped.
            iou_threshold: boxes whose IoU with a box of higher score is larger are suppressed.
            suppression: as for the `predict` of the model.
            class_agnostic: each box has its best class only, and suppresses those of any class.

        Raises:
            ValueError: if the file is no image, or the array not as above.
            FileNotFoundError: if there is no file.
        """
        pixels = decode_image(Path(image)) if isinstance(image, str | Path) else _bytes(image)
        canvas, transform = self.fit(pixels, self.image_size)
        detections = self.detect(
            canvas[None],
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            suppression=suppression,
            class_agnostic=class_agnostic,
        )
        return self.in_image(detections, 0, transform, pixels.shape[:2])

    def detect(self, canvases: np.ndarray | Array, **options: Any) -> Detections:
        """Returns the objects on a batch of canvases, in their pixels.

        Args:
            canvases: [b, h, w, 3] of `image_size`, as `fit` makes them.
            options: of the model's `predict`.
        """
        images = jnp.asarray(canvases, jnp.float32)
        images = images / 255 if canvases.dtype == np.uint8 else images
        if self._heads is None:
            return self.model.predict(images, **options)
        size = {"image_size": self.image_size}
        raw, anchors, strides = self._heads(images), self.model.anchors, self.model.strides
        if isinstance(self.model, Yolo):
            return detection.detect(raw, anchors, strides, **size, **options)
        heads = tuple(self.model.config.heads.values())
        return find_objects(raw, heads, strides, **size, **options)

    @cached_property
    def _heads(self) -> Callable[[Array], Any] | None:
        """The raw heads of a network of ours, compiled, with the arrays of its first use.

        The network is taken apart once: for a hundred layers that takes longer than an image.
        """
        if not isinstance(self.model, Yolo | DarknetNetwork):
            return None
        structure, state = nnx.split(evaluated(self.model))
        heads = jax.jit(lambda state, images: nnx.merge(structure, state)(images))
        return lambda images: heads(state, images)

    def in_image(
        self, detections: Detections, row: int, transform: Letterbox, size: tuple[int, ...]
    ) -> Objects:
        """Returns the objects of one canvas, in the pixels of its image.

        Args:
            detections: what `detect` returned.
            row: of the batch.
            transform: from the image to the canvas.
            size: height and width of the image.
        """
        boxes, scores, labels, valid = (np.asarray(array)[row] for array in detections)
        height, width = size
        boxes = np.clip(data.unletterbox_boxes(boxes[valid], transform), 0, (width, height) * 2)
        names = [self.classes[label] for label in labels[valid]]
        return Objects(boxes.astype(np.float32), scores[valid], labels[valid], names)


def detector_of(saved: SavedModel) -> Detector:
    """Returns the detector of a saved model.

    Args:
        saved: of the kind "detector" or "darknet".
    """
    height, width = saved.settings["image_size"]
    fit = FITS[saved.settings.get("resize", "letterbox")]
    return Detector(saved.model, tuple(saved.settings["classes"]), (height, width), fit)


def load_detector(path: Path | str) -> Detector:
    """Returns the detector of a `model.safetensors`, ready for images of any size.

    Args:
        path: the file, or the folder of the run that has written it.

    Raises:
        ValueError: if the file is not a detector's, or as for `load_model`.
        FileNotFoundError: if there is no file.
    """
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    saved = load_model(file)
    if saved.kind not in ("detector", "darknet"):
        raise ValueError(f"{file}: expected a detector, got a model of kind {saved.kind!r}.")
    return detector_of(saved)


def _bytes(image: Any) -> np.ndarray:
    """An array as the reader of files gives it."""
    array = np.asarray(image)
    got = f"{array.dtype}{list(array.shape)}"
    expected = "image must be a file, bytes [h, w, 3] or floats [h, w, 3] in [0, 1]"
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        gray = array.ndim == 2 or array.shape[2:] == (1,)
        advice = "np.stack([gray] * 3, -1) makes color of gray" if gray else "one image at a time"
        raise ValueError(f"{expected}, got {got}: {advice}.")
    if array.dtype == np.uint8:
        return array
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{expected}, got {got}: image.astype(np.uint8) makes bytes.")
    least, most = float(array.min()), float(array.max())
    if not (least >= 0 and most <= 1):
        raise ValueError(f"{expected}, got {got} from {least:.4g} to {most:.4g}: image / 255.")
    return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
