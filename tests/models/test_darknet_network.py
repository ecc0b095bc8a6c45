"""Darknet's layers against loops and by hand; its networks folded, and for other classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import objectives, weights
from lectures_jax.models.darknet_boxes import find_objects
from lectures_jax.models.darknet_config import DarknetConfig, LayerError
from lectures_jax.models.darknet_edit import fold_batch_norm, with_classes
from lectures_jax.models.darknet_layers import (
    Convolutional,
    Head,
    MaxPool,
    Reorg,
    Route,
    Shortcut,
    Softmax,
    Upsample,
)
from lectures_jax.models.darknet_network import ACTIVATIONS, DarknetNetwork, evaluated

ANCHORS = ((4.0, 4.0), (8.0, 6.0))
DETECTOR = """
[net]
width=16
height=16
[convolutional]
filters=4
size=3
stride=2
pad=1
batch_normalize=1
activation=leaky
[convolutional]
filters=4
groups=4
size=3
pad=1
batch_normalize=1
activation=mish
[dropout]
probability=0.25
[shortcut]
from=-3
activation=relu
[convolutional]
filters=14
activation=linear
[yolo]
mask=0,1
anchors=4,4,8,6
num=2
classes=2
[route]
layers=-3
groups=2
group_id=1
[maxpool]
size=2
stride=2
[convolutional]
filters=14
activation=linear
[yolo]
mask=0,1
anchors=4,4,8,6
num=2
classes=2
"""


@pytest.fixture(scope="module")
def detector():
    """A network none of whose numbers has the value that it is built with."""
    model = DarknetNetwork(weights.parse_darknet_config(DETECTOR), rngs=nnx.Rngs(0))
    key = jax.random.key(1)
    state = nnx.state(model, nnx.Not(nnx.RngState))
    shift = lambda x: x + 0.5 * jax.random.uniform(key, x.shape)
    nnx.update(model, jax.tree.map(shift, state))
    return model


def network(*layers, size=(7, 9, 3)):
    return DarknetNetwork(DarknetConfig(size[0], size[1], size[2], tuple(layers)), rngs=nnx.Rngs(0))


def images(size=(7, 9, 3)):
    return jax.random.uniform(jax.random.key(0), (2, *size))


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (2, 2), (3, 1), (4, 2), (5, 1)])
def test_max_pooling_pads_as_darknet_does(size, stride):
    """A window starts at `stride · i − (size − 1) // 2`, and cells outside do not count."""
    (y,), x = network(MaxPool(size, stride, size - 1))(images()), np.asarray(images())
    rows, columns = ((n - 1) // stride + 1 for n in x.shape[1:3])
    assert y.shape == (2, rows, columns, 3)
    for i in range(rows):
        for j in range(columns):
            top, left = (stride * k - (size - 1) // 2 for k in (i, j))
            window = x[:, max(top, 0) : top + size, max(left, 0) : left + size]
            np.testing.assert_array_equal(y[:, i, j], window.max(axis=(1, 2)))


def test_routes_and_sums_by_hand():
    half, both = Route((0,), groups=2, group_id=1), Route((1, 0))
    model = network(Route((-1, -1)), half, both, Shortcut((2, 2)), Upsample(2, 0.5))
    maps, x = model.features(images()), images()
    doubled = jnp.concatenate([x, x], axis=-1)
    np.testing.assert_array_equal(maps["layer1"], doubled[..., 3:])
    joined = jnp.concatenate([doubled[..., 3:], doubled], axis=-1)
    np.testing.assert_allclose(maps["layer3"], 3 * joined, rtol=1e-6)
    np.testing.assert_allclose(maps["layer4"][:, 1::2, ::2], 1.5 * joined, rtol=1e-6)


def test_blocks_become_channels_by_darknet_s_arithmetic():
    """Its loop over channels k, rows j and columns i, on a map with the channels first."""
    stride, (h, w, c) = 2, (4, 6, 8)
    x = np.asarray(images((h, w, c)))
    flat = np.moveaxis(x, -1, 1).reshape(2, -1)
    expected = np.empty_like(flat)
    planes = c // stride**2
    for k in range(c):
        for j in range(h):
            for i in range(w):
                row, column = divmod(k // planes, stride)
                row, column = j * stride + row, i * stride + column
                source = column + w * stride * (row + h * stride * (k % planes))
                expected[:, i + w * (j + h * k)] = flat[:, source]
    (got,) = network(Reorg(stride), size=(h, w, c))(jnp.asarray(x))
    assert got.shape == (2, h // 2, w // 2, 4 * c)
    np.testing.assert_array_equal(np.moveaxis(got, -1, 1).reshape(2, -1), expected)
    with pytest.raises(LayerError, match="rows and columns in multiples of 2, channels of 4"):
        network(Reorg(2), size=(4, 4, 3))


def test_maps_of_different_depth_share_their_first_channels():
    model = network(Route((-1,)), Route((0, 0)), Shortcut((0,)), Route((0,)), Shortcut((2,)))
    maps, x = model.features(images()), images()
    doubled = jnp.concatenate([x, x], axis=-1)
    np.testing.assert_allclose(maps["layer2"], doubled.at[..., :3].multiply(2), rtol=1e-6)
    np.testing.assert_allclose(maps["layer4"], 3 * x, rtol=1e-6)


def test_a_width_that_is_not_positive_is_refused_also_under_compilation():
    model = DarknetNetwork(DarknetConfig(8, 8, 14, (Head(ANCHORS, 2),)), rngs=nnx.Rngs(0))
    raw = images((8, 8, 14))
    options: Any = {"sigma": 0.0, "suppression": "soft"}
    with pytest.raises(ValueError, match="sigma must be positive, got 0"):
        model.predict(raw, **options)
    with pytest.raises(ValueError, match="sigma must be positive, got 0"):
        find_objects((raw,), (Head(ANCHORS, 2),), (1,), image_size=(8, 8), **options)


def test_softmax_by_hand():
    (y,) = network(Softmax(2, 0.5), size=(1, 1, 4))(jnp.array([[[[0.0, 1.0, 2.0, 2.0]]]]))
    share = 1 / (1 + np.exp(2))
    np.testing.assert_allclose(y[0, 0, 0], [share, 1 - share, 0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("leaky", [-0.3, -0.1, 2.0]),
        ("relu6", [0.0, 0.0, 2.0]),
        ("hard_mish", [0.0, -0.5, 2.0]),
        ("logistic", [0.04742587, 0.26894142, 0.88079708]),
        ("swish", [-0.14227762, -0.26894142, 1.76159416]),
        ("mish", [-0.14564745, -0.30340147, 1.94395896]),  # x · tanh(log(1 + exp x))
    ],
)
def test_activations_by_hand(name, expected):
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.array([-3.0, -1.0, 2.0])), expected, rtol=1e-5)


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(LayerError, match="layer 0 must have groups that divide 3 channels"):
        network(Convolutional(4, groups=2))
    with pytest.raises(LayerError, match="maps of one height and width, got 4×5×4 and 7×9×4"):
        network(Convolutional(4), MaxPool(2, 2, 1), Shortcut((0,)))
    with pytest.raises(LayerError, match=r"14 channels before it, 2 anchors times 5 .* got 3"):
        network(Head(ANCHORS, 2))
    with pytest.raises(ValueError, match="must have a head to predict boxes"):
        network(MaxPool()).predict(images())


def test_images_of_another_size_are_refused(detector):
    with pytest.raises(ValueError, match="multiples of 4 pixels"):
        detector(jnp.zeros((1, 18, 16, 3)))


def test_folding_leaves_the_outputs(detector):
    folded, x = fold_batch_norm(detector), images((16, 16, 3))
    assert not any(layer.batch_normalize for layer in folded.config.convolutions.values())
    for a, b in zip(folded(x), evaluated(detector)(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_other_classes_keep_all_layers_but_the_last_of_each_head(detector):
    new = with_classes(detector, 5, rngs=nnx.Rngs(2))
    assert (new.num_classes, new.anchors, new.strides) == (5, detector.anchors, (2, 4))
    x = images((16, 16, 3))
    (fine, coarse), maps = evaluated(new)(x), evaluated(new).features(x)
    assert (fine.shape, coarse.shape) == ((2, 8, 8, 20), (2, 4, 4, 20))
    np.testing.assert_array_equal(maps["layer3"], evaluated(detector).features(x)["layer3"])
    last: Any = new.convolutions[-1].conv
    bias = last.bias[...].reshape(2, 10)
    np.testing.assert_array_equal(bias[:, 4], -5)


def test_a_head_of_new_coordinates_becomes_a_plain_one():
    """Its convolution ends in a sigmoid, of which YOLOv3's loss would take another one."""
    layers = Convolutional(14), Head(ANCHORS, 2, scale_x_y=2.0, new_coords=True)
    new = with_classes(network(*layers, size=(8, 8, 3)), 3, rngs=nnx.Rngs(0))
    assert new.config.layers[0] == Convolutional(16, activation="linear")
    assert new.config.layers[1] == Head(ANCHORS, 3)


def test_a_network_trains_with_the_objective_of_yolo(detector):
    """The gradient reaches the first kernel, and the moving averages move."""
    model = nnx.view(detector, deterministic=False, use_running_average=False)
    structure, params, buffers = nnx.split(model, nnx.Param, ...)
    boxes = jnp.array([[[2.0, 2.0, 6.0, 7.0]]] * 2)
    batch = {
        "image": images((16, 16, 3)),
        "boxes": boxes,
        "labels": jnp.ones((2, 1), jnp.int32),
        "valid": jnp.ones((2, 1), bool),
    }

    def loss_of(params):
        merged = nnx.merge(structure, params, buffers, copy=True)
        loss, _ = objectives.yolo(merged, batch, jax.random.key(0))
        return loss, nnx.state(merged, nnx.BatchStat)

    grads, changed = jax.jit(jax.grad(loss_of, has_aux=True))(params)
    first = nnx.to_pure_dict(grads)["convolutions"][0]["conv"]["kernel"]
    assert jnp.isfinite(first).all()
    assert jnp.abs(first).max() > 0
    before = detector.convolutions[0].norm.mean[...]
    assert not jnp.array_equal(nnx.to_pure_dict(changed)["convolutions"][0]["norm"]["mean"], before)


def heads(offsets, objectness, classes):
    """One cell of 32 pixels with two anchors."""
    slots = [[0.0, 0.0, *t, objectness, *c] for t, c in zip(offsets, classes, strict=True)]
    return [jnp.array(slots, jnp.float32).reshape(1, 1, 1, -1)]


def detect(head, raw, **options):
    defaults = {"max_outputs": 3, "score_threshold": 0.25, "iou_threshold": 0.45, "sigma": 0.5}
    options = {"class_agnostic": False, **defaults, **options}
    return find_objects(raw, [head], [32], image_size=(32, 32), **options)


def test_a_head_with_softmax_gives_a_box_one_class():
    head = Head(((8.0, 8.0), (16.0, 4.0)), 2, softmax=True)
    raw = heads([(0, 0), (0, np.log(2))], 20.0, [(0, np.log(3)), (30, 0)])
    result = detect(head, raw)
    np.testing.assert_allclose(result.scores[0], [1, 0.75, 0], atol=1e-6)
    np.testing.assert_array_equal(result.labels[0], [0, 1, -1])
    np.testing.assert_allclose(result.boxes[0, 0], [8, 12, 24, 20], atol=1e-5)


def test_new_coordinates_are_read_as_they_are():
    """Center (2 · 0.75 − 0.5) · 32 = 32 and 16, size (2 · 0.5)² · 8 = 8 and (2 · 1)² · 2 = 8."""
    head = Head(((8.0, 2.0),), 2, scale_x_y=2.0, new_coords=True)
    raw = [jnp.array([0.75, 0.5, 0.5, 1, 0.8, 0.5, 1]).reshape(1, 1, 1, 7)]
    result = detect(head, raw)
    np.testing.assert_allclose(result.boxes[0, :2], [[28, 12, 32, 20]] * 2, atol=1e-5)
    np.testing.assert_allclose(result.scores[0], [0.8, 0.4, 0], atol=1e-6)
    np.testing.assert_array_equal(result.labels[0], [1, 0, -1])


def test_darknet_s_suppression_spares_boxes_whose_centers_are_apart():
    """IoU 1/2, centers 4 apart, diagonal √512: 0.5 − (16 / 512)^0.6 = 0.375."""
    raw = heads([(0, 0), (0, 0)], 20.0, [(3,), (2,)])
    raw = [raw[0].at[..., 7].set(jnp.log(3 / 5))]  # σ = 3/8: the second box 4 pixels higher
    for power, expected in ((None, 1), (0.6, 2)):
        head = Head(((16.0, 16.0), (16.0, 8.0)), 1, distance_power=power)
        result = detect(head, raw, suppression="darknet")
        assert result.valid.sum() == expected
    np.testing.assert_allclose(result.boxes[0, 1], [8, 8, 24, 16], atol=1e-5)
    assert detect(head, raw, suppression="darknet", iou_threshold=0.37).valid.sum() == 1
