"""What a trained model is asked, whether it is built from its file or exported."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from lectures_jax import ops, train, weights
from lectures_jax.nn.detection import Detections
from lectures_jax.nn.image_sizes import ImageSizes
from lectures_jax.recipes import diffusion, flow, gan, segmenter, vae
from lectures_jax.recipes.overlap_tiles import join_tiles, tile_of
from lectures_jax.recipes.segmentation_scores import Segmented, with_objects
from lectures_jax.recipes.stylizer import MOST_PIXELS, MULTIPLE, paint
from lectures_jax.typing import Key
from lectures_jax.weights import Artifact, SavedModel

SAMPLERS = {
    "vae": vae.sample,
    "gan": gan.sample,
    "flow": flow.sample,
    "diffusion": diffusion.sample,
}
"""`(model, settings, key, count) -> images` by kind."""

CHUNK = 100  # samples that an exported model draws at once


class Use(NamedTuple):
    """A model that is ready to be asked.

    Attributes:
        kind: of the model.
        settings: of the model, such as the names of its classes.
        answer: of a classifier `images -> probabilities`; of a segmenter `image -> Segmented`; of a
            stylizer `image -> image`; of a generative model `(key, count) -> images`; of a detector
            the `Detector` itself.
    """

    kind: str
    settings: dict[str, Any]
    answer: Any


def of_model(saved: SavedModel) -> Use:
    """Returns the use of a saved model.

    Args:
        saved: from `weights.load_model`.

    Raises:
        ValueError: if the model is of a kind that has no prediction.
    """
    model, settings = saved.model, saved.settings
    match saved.kind:
        case "classifier":
            answer = partial(train.predict, model, function=_probabilities)
        case "segmenter":
            instances = settings.get("instances", False)
            answer = partial(segmenter.predict, model, instances=instances)
        case "stylizer":
            answer = partial(paint, model)
        case "detector" | "darknet":
            answer = weights.detector_of(saved)
        case "vae" | "gan" | "flow" | "diffusion":
            answer = partial(SAMPLERS[saved.kind], model, settings)
        case _:
            raise ValueError(
                "RUN_DIR: expected a detector, classifier, stylizer, segmenter or generative model "
                f"({', '.join(SAMPLERS)}), got one of kind {saved.kind!r}."
            )
    return Use(saved.kind, settings, answer)


def of_artifact(artifact: Artifact) -> Use:
    """Returns the use of an exported model, with the answers of the model itself.

    Args:
        artifact: from `weights.load_artifact`, written by `ljx export`.
    """
    settings = artifact.settings
    match artifact.kind:
        case "classifier":
            answer = partial(_classify, artifact)
        case "segmenter":
            answer = partial(_segment, artifact)
        case "stylizer":
            answer = partial(_paint, artifact)
        case "detector" | "darknet":
            saved = SavedModel(_Exported(artifact), artifact.kind, settings)
            answer = weights.detector_of(saved)
        case _:
            answer = partial(_sample, artifact)
    return Use(artifact.kind, settings, answer)


def _probabilities(model: Any, images: Array) -> Array:
    return jax.nn.softmax(model(images))


def _classify(artifact: Artifact, images: np.ndarray) -> np.ndarray:
    return np.asarray(artifact(images=images)["probabilities"])


def _segment(artifact: Artifact, image: np.ndarray) -> Segmented:
    settings = artifact.settings
    sizes = ImageSizes(**settings["sizes"])
    side = sizes.fit(tile_of(image.shape[:2], sizes))

    def compute(tile: np.ndarray) -> np.ndarray:
        return np.asarray(artifact(images=tile[None])["classes"])[0]

    pixels = np.divide(image, 255, dtype=np.float32)
    classes = join_tiles(pixels, compute, sizes=sizes, tile=(side, side))
    return with_objects(classes, instances=settings.get("instances", False))


def _paint(artifact: Artifact, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if height * width > MOST_PIXELS:
        got = f"{height}×{width}"
        raise ValueError(f"image must have at most {MOST_PIXELS:,} pixels, got {got}.")
    ends = [(0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)]
    whole = np.pad(image, ends, mode="symmetric")
    return np.asarray(artifact(images=whole[None])["images"])[0, :height, :width]


class _Exported:
    """A network with the `predict` of `Yolo`, as it was exported."""

    def __init__(self, artifact: Artifact):
        self.artifact = artifact

    def predict(
        self,
        images: Array,
        *,
        max_outputs: int,
        score_threshold: float,
        iou_threshold: float,
        **options: Any,
    ) -> Detections:
        """Returns what the program detects, the best boxes of it."""
        settings = self.artifact.settings
        if max_outputs > settings["max_outputs"]:
            most = settings["max_outputs"]
            raise ValueError(f"--max-boxes: expected at most {most}, got {max_outputs}.")
        for name, value in options.items():
            if value != settings[name]:
                raise ValueError(f"{name} must be {settings[name]}, as exported, got {value}.")
        outputs = self.artifact(
            images=images, score_threshold=score_threshold, iou_threshold=iou_threshold
        )
        return Detections(**{name: x[:, :max_outputs] for name, x in outputs.items()})


def _sample(artifact: Artifact, key: Key, count: int) -> np.ndarray:
    """Images of the numbers and labels that the model itself would draw."""
    inputs = {name: np.asarray(x) for name, x in _draw(artifact, key, count).items()}
    size, parts = min(CHUNK, count), []
    for start in range(0, count, size):
        rows = np.arange(start, start + size)  # of one number, so that one program is compiled
        some = {name: x.take(rows, axis=0, mode="clip") for name, x in inputs.items()}
        parts.append(np.asarray(artifact(**some)["images"]))
    return np.concatenate(parts)[:count]


def _draw(artifact: Artifact, key: Key, count: int) -> dict[str, Any]:
    settings = artifact.settings
    match artifact.kind:
        case "diffusion":
            key_noise, _ = jax.random.split(key)
            noise = ops.per_sample_normal(key_noise, (count, *settings["shape"]))
            labels = np.resize(np.arange(len(settings["classes"])), count)
            drawn = {"noise": noise, "labels": labels.astype(np.int32)}
        case "flow":
            drawn = flow.draw_codes(key, count, settings)
        case _:
            drawn = {"codes": jax.random.normal(key, (count, settings["latent"]))}
    return {name: drawn[name] for name in artifact.inputs}
