"""Losses of boxes: by hand, torchvision's values and gradients, and finite at every edge."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, ops
from tests.contract import Contract
from tests.ops.test_boxes import EDGES, A, B

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "torchvision_ops.npz")
LOSSES = {"giou": losses.giou_loss, "diou": losses.diou_loss, "ciou": losses.ciou_loss}

CONTRACT = {
    "giou_loss": Contract([(A, B)], edges=EDGES),
    "diou_loss": Contract([(A, B)], edges=EDGES),
    # The weight of the aspect ratio is a constant to the gradient: no differences of values.
    "ciou_loss": Contract([(A, B)], differentiable=False),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_equal_torchvision_s(name):
    a, b = (jnp.asarray(GOLDEN[f"loss/{x}"]) for x in "ab")
    value, pull = jax.vjp(LOSSES[name], a, b)
    np.testing.assert_allclose(value, GOLDEN[f"loss/{name}"], rtol=1e-5, atol=1e-6)
    for gradient, side in zip(pull(jnp.asarray(GOLDEN["loss/g"])), "ab", strict=True):
        expected = GOLDEN[f"loss/{name}/d{side}"]
        rows = slice(1, None)  # the first two boxes are equal: the minimum of two equal numbers
        np.testing.assert_allclose(gradient[rows], expected[rows], rtol=1e-4, atol=1e-6)


def test_two_shifted_squares_by_hand():
    """Intersection 1, union 7, hull 3×3; the centers are √2 apart, the diagonal is √18."""
    boxes = jnp.array([0.0, 0, 2, 2]), jnp.array([1.0, 1, 3, 3])
    np.testing.assert_allclose(losses.giou_loss(*boxes), 6 / 7 + 2 / 9, rtol=1e-6)
    np.testing.assert_allclose(losses.diou_loss(*boxes), 6 / 7 + 1 / 9, rtol=1e-6)
    np.testing.assert_allclose(losses.ciou_loss(*boxes), 6 / 7 + 1 / 9, rtol=1e-6)


def test_the_complete_loss_has_the_value_of_ciou_and_a_constant_weight():
    a, b = jnp.asarray(A), jnp.asarray(B)
    np.testing.assert_allclose(losses.ciou_loss(a, b), 1 - ops.ciou(a, b), rtol=1e-6)
    loss, whole = (jax.grad(lambda x, f=f: f(x, b).sum()) for f in (losses.ciou_loss, ops.ciou))
    assert not np.allclose(loss(a), -whole(a), rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_at_every_edge(name):
    for a, b in EDGES:
        grads = jax.grad(lambda *x: LOSSES[name](*x).sum(), argnums=(0, 1))(
            *map(jnp.asarray, (a, b))
        )
        assert all(np.isfinite(g).all() for g in grads)
