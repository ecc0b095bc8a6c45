"""Darknet's two files: the reference's activations and boxes, round trips, and what is refused."""

import dataclasses
import inspect
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import metrics, weights
from lectures_jax.data.images import decode_image
from lectures_jax.models.darknet_boxes import find_objects
from lectures_jax.models.darknet_network import DarknetNetwork
from lectures_jax.models.darknet_yolo import yolo_config
from lectures_jax.models.yolo import Yolo
from lectures_jax.weights.darknet_image import (
    darknet_letterbox,
    darknet_stretch,
)
from tests.detectors import ANCHORS, TINY

PHOTOGRAPHS = ("dog", "eagle", "giraffe", "horses", "person")
PUBLISHED = {  # trainable parameters, bytes of the file
    "yolov3": (61_949_149, 248_007_048),
    "yolov3-tiny": (8_852_366, 35_434_956),
    "darknet53": (41_609_928, None),
    "yoloface-50k": (10_196, 45_012),
}
SMALL = """[net]
height=8
width=8
[convolutional]
filters=3
size=3
pad=1
batch_normalize=1
activation=leaky
[convolutional]
filters=6
activation=linear
[yolo]
anchors=4,4
classes=1
"""


@pytest.fixture(scope="module")
def fastest(shared_data):
    """The heads of Yolo-Fastest for five images, compiled once, and its two sets of numbers."""
    folder = shared_data / "yolo_fastest"
    files = folder / "yolo-fastest-1.1.cfg", folder / "yolo-fastest-1.1.weights"
    models = {e: weights.load_darknet(*files, epsilon=e, fold=True) for e in (1e-6, 1e-5)}
    structure, _ = nnx.split(models[1e-5])
    compiled = jax.jit(lambda state, images: nnx.merge(structure, state)(images))
    heads = {e: lambda x, m=m: compiled(nnx.state(m), x) for e, m in models.items()}
    return models[1e-5], heads


@pytest.mark.parametrize("name", ["dog", "horses", "person"])
def test_heads_equal_those_of_opencv(fastest, shared_data, name):
    reference = np.load(shared_data / "darknet_reference" / f"yolo-fastest-1.1__{name}.npz")
    image = reference["blob"].transpose(0, 2, 3, 1)
    for head, layer in zip(fastest[1][1e-6](np.repeat(image, 5, axis=0)), (120, 129), strict=True):
        expected = reference[f"conv_{layer}"].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(head[:1], expected, atol=1e-4)


def reference_boxes(path):
    """Darknet's rows of score, label and box on a canvas of 320², clipped as ours, by file."""
    rows = {}
    for image in json.loads(path.read_text()):
        rows[image["filename"]] = np.zeros((50, 6), np.float32)
        for row, one in enumerate(image["objects"]):
            x, y, w, h = one["relative_coordinates"].values()
            box = 320 * np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 1)
            rows[image["filename"]][row] = one["confidence"], one["class_id"], *box
    return rows


def test_boxes_equal_those_of_darknet(fastest, shared_data):
    """On five photographs: the same number, places to 1e-3 of the image, COCO's AP 1.

    Scores differ by the decoders of JPEG files, whose pixels differ in the last bits.
    """
    model, heads = fastest
    folder = shared_data / "yolo_fastest"
    rows = reference_boxes(folder / "darknet_reference_5images_thresh0.25.json")
    images = [decode_image(shared_data / "darknet_samples" / name) for name in rows]
    canvases = np.stack([darknet_stretch(image, (320, 320))[0] for image in images])
    options = {"max_outputs": 50, "score_threshold": 0.25, "iou_threshold": 0.45, "sigma": 0.5}
    detections = find_objects(
        heads[1e-5](canvases),
        list(model.config.heads.values()),
        model.strides,
        image_size=(320, 320),
        suppression="darknet",
        class_agnostic=False,
        **options,
    )
    boxes, scores, labels, valid = map(np.asarray, detections)
    reference = np.stack(list(rows.values()))
    true = reference[..., 0] > 0
    np.testing.assert_array_equal(valid.sum(axis=1), true.sum(axis=1))
    for image, row in zip(*np.nonzero(true), strict=True):
        score, label, *box = reference[image, row]
        same = valid[image] & (labels[image] == label)
        distance = np.abs(boxes[image, same] - box).max(axis=1) / 320
        assert distance.min() < 1e-3
        assert abs(scores[image, same][distance.argmin()] - score) < 0.01
    truth = reference[..., 2:], reference[..., 1].astype(np.int32), true
    result = metrics.coco_map(boxes, scores, labels, valid, *truth, num_classes=80)
    assert result.named()["AP"] == 1


def test_a_detector_of_faces_equals_opencv(shared_data):
    folder = shared_data / "darknet_cfg"
    files = folder / "yoloface-50k.cfg", folder / "yoloface-50k.weights"
    model = weights.load_darknet(*files, epsilon=1e-6)
    reference = np.load(shared_data / "darknet_reference" / "yoloface-50k__yoloface-50k-1.npz")
    structure, state = nnx.split(model)
    image = reference["blob"].transpose(0, 2, 3, 1)
    (head,) = jax.jit(lambda s, x: nnx.merge(structure, s)(x))(state, image)
    np.testing.assert_allclose(head, reference["conv_32"].transpose(0, 2, 3, 1), atol=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_bytes_are_those_published(shared_data, name):
    config = weights.read_darknet_config(shared_data / "darknet_cfg" / f"{name}.cfg")
    assert weights.parse_darknet_config(weights.darknet_config_text(config)) == config
    model = nnx.eval_shape(lambda: DarknetNetwork(config, rngs=nnx.Rngs(0)))
    trainable = sum(math.prod(x.shape) for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    everything = sum(
        math.prod(x.shape) for x in jax.tree.leaves(nnx.state(model, nnx.Not(nnx.RngState)))
    )
    parameters, size = PUBLISHED[name]
    assert trainable == parameters
    assert size in (None, 20 + 4 * everything)


def test_the_full_network_is_yolov3_layer_by_layer(shared_data):
    published = weights.read_darknet_config(shared_data / "darknet_cfg" / "yolov3.cfg")
    own = yolo_config(nnx.eval_shape(lambda: Yolo(80, rngs=nnx.Rngs(0))))
    assert own == dataclasses.replace(published, letterbox=True)


@pytest.fixture(scope="module")
def yolo():
    model = Yolo(2, anchors=ANCHORS, size=TINY, rngs=nnx.Rngs(0))
    state = nnx.state(model)
    key = jax.random.key(1)
    nnx.update(model, jax.tree.map(lambda x: x + 0.1 * jax.random.uniform(key, x.shape), state))
    return nnx.view(model, use_running_average=True)


def test_our_detector_comes_back_bit_for_bit_and_computes_the_same(tmp_path, yolo):
    weights.save_darknet(tmp_path / "a.weights", yolo, image_size=(64, 96))
    abstract = nnx.eval_shape(lambda: Yolo(2, anchors=ANCHORS, size=TINY, rngs=nnx.Rngs(2)))
    again = weights.load_darknet_weights(tmp_path / "a.weights", abstract)
    jax.tree.map(
        np.testing.assert_array_equal,
        nnx.to_pure_dict(nnx.state(again)),
        nnx.to_pure_dict(nnx.state(yolo)),
    )
    network = weights.load_darknet(tmp_path / "a.cfg", tmp_path / "a.weights")
    assert (network.anchors, network.strides) == (yolo.anchors, yolo.strides)
    images = jax.random.uniform(jax.random.key(0), (1, 64, 96, 3))
    run = jax.jit(lambda images: (network(images), yolo(images)))
    for a, b in zip(*run(images), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    weights.save_darknet(tmp_path / "b.weights", network)
    for kind in ("cfg", "weights"):
        assert (tmp_path / f"b.{kind}").read_bytes() == (tmp_path / f"a.{kind}").read_bytes()


@pytest.fixture
def files(tmp_path):
    """The configuration and the weights of a small detector, 16 bytes of header."""
    cfg, numbers = tmp_path / "a.cfg", tmp_path / "a.weights"
    cfg.write_text(SMALL)
    array = np.arange(1, 1 + 3 * 4 + 81 + 6 + 18, dtype="<f4")
    numbers.write_bytes(np.array([0, 1, 0, 7], "<i4").tobytes() + array.tobytes())
    return cfg, numbers


def test_numbers_lie_in_darknet_s_order(files):
    """Bias, scale, mean and variance, then the kernel by outputs, inputs, rows and columns."""
    first, last = weights.load_darknet(*files).convolutions
    norm: Any = first.norm
    parts = [norm.bias, norm.scale, norm.mean, norm.var]
    np.testing.assert_array_equal(np.concatenate([p[...] for p in parts]), np.arange(1, 13))
    kernel = first.conv.kernel[...]
    np.testing.assert_array_equal(kernel[0, :, 0, 0], [13, 14, 15])
    np.testing.assert_array_equal(kernel[:, 0, 0, 0], [13, 16, 19])
    np.testing.assert_array_equal(kernel[0, 0, :, 0], [13, 22, 31])
    np.testing.assert_array_equal(kernel[0, 0, 0], [13, 40, 67])
    bias: Any = last.conv.bias
    np.testing.assert_array_equal(bias[...], np.arange(94, 100))


def test_options_out_of_range_are_refused(files):
    unchecked = inspect.unwrap(weights.load_darknet)  # the suite checks annotations, users do not
    with pytest.raises(ValueError, match="added_to must be one of variance, deviation, got 'x'"):
        unchecked(*files, added_to="x")
    with pytest.raises(ValueError, match="epsilon must be at least 0, got -1"):
        weights.load_darknet(*files, epsilon=-1.0)


def test_a_deviation_s_epsilon_is_that_of_the_original(files):
    """`√v + ε` for ε = 0.5, at v = 4: 2.5, as a variance of 6.25 without its ε² of 0.25."""
    cfg, numbers = files
    content = bytearray(numbers.read_bytes())
    content[16 + 36 : 16 + 40] = np.array(4, "<f4").tobytes()
    numbers.write_bytes(content)
    model = weights.load_darknet(cfg, numbers, epsilon=0.5, added_to="deviation")
    norm: Any = model.convolutions[0].norm
    np.testing.assert_allclose(norm.var[0] + norm.epsilon, 2.5**2)


def changed(position, value):
    def change(content):
        content[position : position + 4] = np.array(value).tobytes()

    return change


WEIGHTS = {
    "short": (
        lambda c: c.__delitem__(slice(-4, None)),
        "size: expected 484 bytes .* got 480, an end in layer 1, kernel",
    ),
    "long": (lambda c: c.extend(b"1"), "size: .* got 485, all layers and more"),
    "empty": (lambda c: c.clear(), "header: expected major, minor and revision, got 0 bytes"),
    "of version 0.2": (changed(4, np.int32(2)), "size: expected 488 bytes"),
    "transposed": (changed(0, np.int32(1001)), "header: .* got major 1001"),
    "NaN": (changed(16 + 4 * 20, np.float32("nan")), "layer 0, kernel, number 8: expected finite"),
    "negative": (changed(16 + 4 * 10, np.float32(-1)), "layer 0, var, number 1: .* got -1.0"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_do_not_fit_are_refused(files, case):
    change, message = WEIGHTS[case]
    content = bytearray(files[1].read_bytes())
    change(content)
    files[1].write_bytes(content)
    with pytest.raises(ValueError, match=rf"a.weights: {message}") as error:
        weights.load_darknet(*files)
    assert "\n" not in str(error.value)


def test_what_does_not_fit_is_refused_before_memory_is_taken(files, monkeypatch):
    files[0].write_text(SMALL.replace("filters=3\nsize=3", "filters=60000\nsize=99"))
    monkeypatch.setattr(nnx, "eval_shape", lambda *_: pytest.fail("a network was built"))
    with pytest.raises(ValueError, match=r"expected 7,0.* numbers of 2 convolutions, got 484"):
        weights.load_darknet(*files)


def test_resizing_is_linear_between_the_corners_by_hand():
    image = np.array([[0, 255], [51, 102]], np.uint8)[..., None].repeat(3, axis=2)
    middle = np.array([[0, 0.5, 1], [0.1, 0.4, 0.7], [0.2, 0.3, 0.4]])
    np.testing.assert_allclose(darknet_stretch(image, (3, 3))[0][..., 1], middle, atol=1e-6)
    canvas, transform = darknet_letterbox(image[:1], (4, 4))
    np.testing.assert_allclose(canvas[:, 0, 0], [0.5, 0, 0, 0.5])
    assert transform == ((2, 2), (0, 1))


def test_a_network_is_saved_as_a_detector_of_our_own(files, tmp_path):
    model = weights.load_darknet(*files)
    settings = {
        "classes": ["face"],
        "image_size": [8, 8],
        "cfg": weights.darknet_config_text(model.config),
        "resize": "darknet_stretch",
    }
    weights.save_model(tmp_path / "m.safetensors", model, kind="darknet", settings=settings)
    detector = weights.load_detector(tmp_path / "m.safetensors")
    assert detector.model.config == model.config
    assert detector.fit is darknet_stretch
    image = jnp.zeros((1, 8, 8, 3))
    np.testing.assert_array_equal(detector.model(image)[0], model(image)[0])
    with pytest.raises(ValueError, match="classes must be 1 names as in the cfg, got 2"):
        weights.build_model("darknet", settings | {"classes": ["a", "b"]}, rngs=nnx.Rngs(0))
