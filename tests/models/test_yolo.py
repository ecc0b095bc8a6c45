"""YOLOv3: the published size, its grids and maps, and the detections of heads set by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.yolo import FULL, SMALL, Yolo
from tests.detectors import ANCHORS, TINY


def count(model):
    return sum(np.prod(p.shape) for p in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.fixture(scope="module")
def tiny():
    model = Yolo(3, anchors=ANCHORS, size=TINY, rngs=nnx.Rngs(0))
    return nnx.view(model, use_running_average=True)


def test_the_full_network_has_the_published_parameters_and_grids():
    model = nnx.eval_shape(lambda: Yolo(80, size=FULL, rngs=nnx.Rngs(0)))
    assert count(model) == 61_949_149
    structure, state = nnx.split(model)
    images = jax.ShapeDtypeStruct((1, 416, 416, 3), jnp.float32)
    heads = jax.eval_shape(lambda state, x: nnx.merge(structure, state)(x), state, images)
    assert [head.shape for head in heads] == [(1, n, n, 255) for n in (13, 26, 52)]


def test_the_backbone_alone_is_darknet_53():
    """52 convolutions; the 53rd layer is the classifier that a detector does not have."""
    model = nnx.eval_shape(lambda: Yolo(80, size=FULL, rngs=nnx.Rngs(0)))
    convolutions = [m for _, m in nnx.iter_modules(model.backbone) if isinstance(m, nnx.Conv)]
    assert len(convolutions) == 52
    classifier = 1024 * 1000 + 1000
    assert count(model.backbone) + classifier == 41_609_928


def test_the_small_network_has_less_than_a_million_parameters():
    assert count(nnx.eval_shape(lambda: Yolo(10, size=SMALL, rngs=nnx.Rngs(0)))) == 802_331


def test_features_are_named_and_halve(tiny):
    structure, state = nnx.split(tiny)
    images = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    maps = jax.eval_shape(lambda s, x: nnx.merge(structure, s).features(x), state, images)
    stages = {"stem", "stage1", "stage2", "stage3", "stage4"}
    assert set(maps) == stages | {"neck32", "neck16", "neck8"}
    assert maps["stem"].shape == (2, 32, 48, 4)
    assert maps["neck32"].shape == (2, 2, 3, 8)
    assert maps["neck8"].shape == (2, 8, 12, 4)


def plant(model, *, scores):
    """Sets the coarsest head to `scores` everywhere, and the others to no object."""
    model = nnx.clone(model)
    nothing = [0, 0, 0, 0, -20, -20, -20, -20]
    for head, raw in zip(model.heads, (scores, nothing, nothing), strict=True):
        head.predict.kernel[...] = jnp.zeros_like(head.predict.kernel[...])
        head.predict.bias[...] = jnp.array(raw, jnp.float32)
    return model


def test_a_box_may_carry_two_classes_unless_asked_otherwise(tiny):
    model = plant(tiny, scores=[0, 0, -9, -9, 4, 4, 3, -20])
    images = jnp.zeros((1, 32, 32, 3))
    both = model.predict(images, max_outputs=8, score_threshold=0.3)
    assert sorted(both.labels[0][both.valid[0]].tolist()) == [0, 1]
    one = model.predict(images, max_outputs=8, score_threshold=0.3, class_agnostic=True)
    assert one.labels[0][one.valid[0]].tolist() == [0]
    expected = 1 / (1 + np.exp(-4)) ** 2
    np.testing.assert_allclose(one.scores[0, 0], expected, rtol=1e-5)
    assert not one.boxes[~one.valid].any()


def test_boxes_lie_inside_the_image(tiny):
    model = plant(tiny, scores=[0, 0, 0, 0, 4, 4, -20, -20])
    detections = model.predict(jnp.zeros((1, 32, 64, 3)), max_outputs=4)
    boxes = np.asarray(detections.boxes[detections.valid])
    assert len(boxes)
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 64
    assert boxes[:, 3].max() <= 32


def test_an_untrained_network_predicts_that_almost_every_slot_is_empty(tiny):
    heads = tiny(jnp.full((1, 64, 64, 3), 0.5))
    objectness = jnp.concatenate([head.reshape(-1, 8)[:, 4] for head in heads])
    assert jax.nn.sigmoid(objectness).mean() < 0.1


def test_sizes_and_anchors_that_do_not_fit_are_refused(tiny):
    with pytest.raises(ValueError, match="multiples of 32"):
        tiny(jnp.zeros((1, 60, 64, 3)))
    with pytest.raises(ValueError, match="three heads"):
        Yolo(3, anchors=ANCHORS[:2], size=SMALL, rngs=nnx.Rngs(0))
