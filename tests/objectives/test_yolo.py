"""The objective: the sum of its terms, padding and crowds left out, and a loss that falls."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import objectives, train
from lectures_jax.models.yolo import Yolo
from tests.detectors import ANCHORS, TINY


@pytest.fixture(scope="module")
def model():
    return Yolo(2, anchors=ANCHORS, size=TINY, rngs=nnx.Rngs(0))


def batch(**changes):
    return {
        "image": jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3)), jnp.float32),
        "boxes": jnp.array([[[4.0, 4, 16, 16], [0, 0, 0, 0]], [[2, 2, 26, 26], [20, 20, 26, 26]]]),
        "labels": jnp.array([[0, 1], [1, 0]]),
        "valid": jnp.array([[True, False], [True, True]]),
        **changes,
    }


@pytest.fixture(scope="module")
def measure(model):
    structure, state = nnx.split(model)
    objective = partial(objectives.yolo, box_weight=2.0, overlap_weight=3.0)

    @jax.jit
    def measure(batch):
        return objective(nnx.merge(structure, state, copy=True), batch, jax.random.key(0))

    return measure


def test_the_loss_is_the_weighted_sum_of_its_terms(measure):
    loss, metrics = measure(batch())
    terms = 2 * metrics["box"] + 3 * metrics["overlap"] + metrics["objectness"] + metrics["classes"]
    np.testing.assert_allclose(loss, terms, rtol=1e-6)
    assert metrics["collided"] == 0
    assert all(metrics[name] > 0 for name in ("box", "overlap", "objectness", "classes"))


def test_what_padding_holds_does_not_matter(measure):
    boxes = batch()["boxes"].at[0, 1].set(jnp.array([1.0, 1, 30, 30]))
    np.testing.assert_array_equal(measure(batch())[0], measure(batch(boxes=boxes))[0])


def test_a_crowd_is_left_out(measure):
    crowd = jnp.array([[False, False], [False, True]])
    marked = measure(batch(crowd=crowd))[0]
    removed = measure(batch(valid=batch()["valid"] & ~crowd, crowd=crowd))[0]
    np.testing.assert_array_equal(marked, removed)
    assert marked != measure(batch())[0]


def test_training_on_one_batch_makes_the_loss_fall(model):
    optimizer = optax.adam(1e-2)
    structure, state = train.init(jax.random.key(0), model, optimizer)
    step = train.make_step(structure, partial(objectives.yolo, anchor_iou=0.3), optimizer)
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch())
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.3 * losses[0]


def test_a_term_without_weight_cannot_reach_the_gradient():
    """A box of infinite size, in a slot that is responsible, has no overlap with anything."""
    example = batch()

    class Heads:
        anchors, strides, num_classes = ANCHORS, (32, 16, 8), 2

        def __init__(self, heads):
            self.heads = heads

        def __call__(self, image, *, key):
            return self.heads

    shapes = [(2, 32 // stride, 32 // stride, 7 * len(ANCHORS[0])) for stride in Heads.strides]

    @jax.jit
    @jax.value_and_grad
    def loss(heads):
        weights = {"box_weight": 0.0, "overlap_weight": 0.0}
        return objectives.yolo(Heads(heads), example, jax.random.key(0), **weights)[0]

    for size in (90.0, 1e20):
        value, grads = loss([jnp.zeros(shape).at[..., 2::7].set(size) for shape in shapes])
        assert np.isfinite(value), size
        assert all(np.isfinite(g).all() for g in grads), size
