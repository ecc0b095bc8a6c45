"""A saved detector is used in one call, on files and arrays of any size."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from lectures_jax import data, weights
from tests.weights.test_saved import DETECTOR, small


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run whose detector answers at random, but surely."""
    folder = tmp_path_factory.mktemp("run")
    model = weights.build_model("detector", DETECTOR, rngs=nnx.Rngs(0))
    for head in model.heads:
        head.predict.bias[...] = head.predict.bias[...].reshape(1, -1).at[:, 4].set(2.0).ravel()
    weights.save_model(folder / "model.safetensors", model, kind="detector", settings=DETECTOR)
    return folder


@pytest.fixture(scope="module")
def detector(run):
    return weights.load_detector(run)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)


def test_a_file_and_an_array_give_the_same_objects(run, detector, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "a.png")
    once = weights.load_detector(run / "model.safetensors")(tmp_path / "a.png")
    for other in (
        detector(str(tmp_path / "a.png")),
        detector(image),
        detector(image / 255),
        detector(jnp.asarray(image, jnp.float32) / 255),
        detector(Image.fromarray(image)),
    ):
        for ours, theirs in zip(once, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_boxes_are_those_of_the_model_in_the_image_s_pixels(detector, image):
    objects = detector(image, score_threshold=0.0, iou_threshold=0.9)
    assert (
        0 < len(objects.boxes) == len(objects.scores) == len(objects.labels) == len(objects.names)
    )
    assert objects.names == [DETECTOR["classes"][label] for label in objects.labels]
    assert (np.diff(objects.scores) <= 0).all()
    canvas, transform = data.letterbox(image, image_size=(64, 96))
    assert transform.scale == pytest.approx((0.48, 0.48), abs=0.01)
    predicted = detector.model.predict(
        jnp.asarray(canvas[None], jnp.float32) / 255,
        score_threshold=0.0,
        iou_threshold=0.9,
        class_agnostic=True,
    )
    boxes, scores, _, valid = (np.asarray(array)[0] for array in predicted)
    np.testing.assert_array_equal(objects.scores, scores[valid])
    middle = (boxes[valid] - np.tile(transform.shift, 2)) / np.tile(transform.scale, 2)
    np.testing.assert_allclose(objects.boxes, np.clip(middle, 0, (200, 90) * 2), atol=1e-3)
    assert not len(detector(image, score_threshold=0.999).boxes)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 5), np.uint8), r"got uint8\[5, 5\]: np\.stack\(\[gray\] \* 3, -1\) makes co"),
        (np.zeros((5, 5, 1)), r"np\.stack"),
        (np.zeros((1, 5, 5, 3)), r"got float64\[1, 5, 5, 3\]: one image at a time"),
        (np.zeros((0, 5, 3), np.uint8), "one image at a time"),
        (np.full((5, 5, 3), 255.0), r"got float64\[5, 5, 3\] from 255 to 255: image / 255"),
        (np.full((5, 5, 3), np.nan), "from nan to nan"),
        (np.zeros((5, 5, 3), np.int64), r"image\.astype\(np\.uint8\) makes bytes"),
        (None, "image must be a file, bytes"),
    ],
)
def test_other_arrays_are_refused_with_what_to_do(detector, image, message):
    with pytest.raises(ValueError, match=message) as error:
        detector(image)
    assert "\n" not in str(error.value)


def test_another_kind_and_a_missing_file_are_named(tmp_path):
    model, kind, settings = small()
    weights.save_model(tmp_path / "model.safetensors", model, kind=kind, settings=settings)
    with pytest.raises(ValueError, match="expected a detector, got a model of kind 'classifier'"):
        weights.load_detector(tmp_path)
    with pytest.raises(FileNotFoundError):
        weights.load_detector(tmp_path / "none")
