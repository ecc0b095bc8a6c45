"""What a trained model is used for, as one pure function of it: what `ljx export` writes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax import ops
from lectures_jax.recipes.diffusion import predictor, signal_ratios
from lectures_jax.recipes.stylizer import MULTIPLE
from lectures_jax.weights import ArraySpec, Detector, SavedModel, detector_of


class Program(NamedTuple):
    """A use of a model.

    Attributes:
        function: `(model, *inputs) -> arrays by name`.
        inputs: what it takes besides the model, by name.
        settings: of the use, to be kept beside those of the model.
    """

    function: Callable[..., dict[str, Array]]
    inputs: dict[str, ArraySpec]
    settings: dict[str, Any]


def program_of(saved: SavedModel, *, max_outputs: int = 100) -> Program:
    """Returns what a saved model is used for.

    Images are RGB or gray in [0, 1]. Of a classifier the probabilities of its classes; of a
    detector its boxes, in pixels of the canvas, with scores and labels, after suppression; of a
    segmenter the class of each pixel; of a stylizer the repainted images; of a generative model the
    images of normal numbers, and of labels where it has classes.

    Args:
        saved: the model.
        max_outputs: most boxes of an image.

    Raises:
        ValueError: if the model is of a kind that has no such use.
    """
    settings, model = saved.settings, saved.model
    match saved.kind:
        case "classifier":
            images = _images(settings["image_size"], settings["inputs"])
            return Program(_classify, {"images": images}, {})
        case "detector" | "darknet":
            options = {"max_outputs": max_outputs, "suppression": "hard", "class_agnostic": True}
            inputs = {"images": _images(settings["image_size"], 3)}
            inputs |= dict.fromkeys(("score_threshold", "iou_threshold"), ArraySpec("", "float32"))
            return Program(partial(_detect, detector_of(saved), options), inputs, options)
        case "segmenter":
            sizes = model.sizes
            rest = f" + {sizes.least - sizes.factor}" if sizes.least > sizes.factor else ""
            sides = [f"{sizes.factor}*{name}{rest}" for name in "hw"]
            inputs = {"images": _images(sides, settings["inputs"])}
            return Program(_segment, inputs, {"sizes": sizes._asdict()})
        case "stylizer":
            return Program(
                _repaint, {"images": _images([f"{MULTIPLE}*{name}" for name in "hw"], 3)}, {}
            )
        case "vae" | "gan":
            codes = ArraySpec(f"b, {settings['latent']}", "float32")
            return Program(_decode if saved.kind == "vae" else _generate, {"codes": codes}, {})
        case "flow":
            inputs = {"codes": ArraySpec(f"b, {math.prod(settings['shape'])}", "float32")}
            invert = partial(_invert, settings["levels"])
            return Program(invert, inputs | _labels(settings["classes"]), {})
        case "diffusion":
            shape = ", ".join(map(str, settings["shape"]))
            inputs = {"noise": ArraySpec(f"b, {shape}", "float32")}
            return Program(partial(_denoise, settings), inputs | _labels(settings["classes"]), {})
        case _:
            raise ValueError(f"model: expected one that ljx predict uses, got a {saved.kind}.")


def _images(size: Sequence[int | str], channels: int) -> ArraySpec:
    return ArraySpec(f"b, {size[0]}, {size[1]}, {channels}", "float32")


def _labels(classes: list[str]) -> dict[str, ArraySpec]:
    return {"labels": ArraySpec("b", "int32")} if classes else {}


def _classify(model: Any, images: Array) -> dict[str, Array]:
    return {"probabilities": jax.nn.softmax(model(images))}


def _detect(
    detector: Detector,
    options: dict[str, Any],
    model: Any,
    images: Array,
    score_threshold: Array,
    iou_threshold: Array,
) -> dict[str, Array]:
    detections = replace(detector, model=model).detect(
        images, score_threshold=score_threshold, iou_threshold=iou_threshold, **options
    )
    return detections._asdict()


def _segment(model: Any, images: Array) -> dict[str, Array]:
    return {"classes": jnp.argmax(model(images), axis=-1).astype(jnp.uint8)}


def _repaint(model: Any, images: Array) -> dict[str, Array]:
    return {"images": model(images)}


def _decode(model: Any, codes: Float[Array, "b z"]) -> dict[str, Array]:
    return {"images": model.decode(codes)}


def _generate(model: Any, codes: Float[Array, "b z"]) -> dict[str, Array]:
    return {"images": model.generator(codes)}


def _invert(
    levels: int, model: Any, codes: Float[Array, "b n"], labels: Int[Array, " b"] | None = None
) -> dict[str, Array]:
    return {"images": ops.quantize(model.inverse(codes, labels)[0], levels=levels)}


def _denoise(
    settings: dict[str, Any],
    model: Any,
    noise: Float[Array, "b h w c"],
    labels: Int[Array, " b"] | None = None,
) -> dict[str, Array]:
    prediction = settings.get("prediction", "velocity")  # as in files that do not say
    ratios = signal_ratios(settings["schedule_steps"], prediction=prediction)
    schedule = ops.sampling_schedule(ratios, steps=settings["sampling_steps"])
    x = ops.solve_dpm(predictor(model, labels, prediction=prediction), noise, schedule)
    return {"images": jnp.clip((x + 1) / 2, 0, 1)}
