"""Cross-entropies: values by hand, optax, and logits far from zero."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lectures_jax import losses
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "torchvision_ops.npz")
LOGITS = np.array([[0.5, -1.0, 2.0, 0.1], [1.0, 0.0, -0.5, 0.3], [0.2, 0.4, 0.6, 0.8]], np.float32)
LABELS = np.array([2, 0, 3], np.int32)
TARGETS = np.array([0.0, 0.3, 1.0], np.float32)
FAR = np.array([-200.0, 200.0, 0.0], np.float32)

CONTRACT = {
    "cross_entropy": Contract([(LOGITS, LABELS)], edges=[(100 * LOGITS, LABELS)]),
    "binary_cross_entropy": Contract([(LOGITS[:, 0], TARGETS)], edges=[(FAR, TARGETS)]),
    "sigmoid_focal_loss": Contract([(LOGITS[:, 0], TARGETS)], edges=[(FAR, TARGETS)]),
    "sigmoid_focal_loss with a root": Contract(
        [(LOGITS[:, 0], TARGETS)],
        edges=[(FAR, TARGETS)],
        op=partial(losses.sigmoid_focal_loss, alpha=None, gamma=0.5),
    ),
}


def test_equal_logits_cost_the_logarithm_of_the_classes():
    loss = losses.cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))
    np.testing.assert_allclose(loss, [np.log(4)] * 2, rtol=1e-6)


def test_cross_entropies_equal_optax_s():
    np.testing.assert_allclose(
        losses.cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS)),
        optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        losses.binary_cross_entropy(jnp.asarray(LOGITS[:, 0]), jnp.asarray(TARGETS)),
        optax.sigmoid_binary_cross_entropy(LOGITS[:, 0], TARGETS),
        rtol=1e-6,
    )


@pytest.mark.parametrize(("logit", "target", "nats"), [(0, 1, np.log(2)), (50, 0, 50), (-50, 0, 0)])
def test_binary_cross_entropy_by_hand(logit, target, nats):
    loss = losses.binary_cross_entropy(jnp.float32(logit), jnp.float32(target))
    np.testing.assert_allclose(loss, nats, rtol=1e-6, atol=1e-9)


EXTREMES = [0.0, 1e-3, 15.0, 100.0, 3e38]


@pytest.mark.parametrize("logit", [*EXTREMES, *(-x for x in EXTREMES)])
@pytest.mark.parametrize("target", [0.0, 0.25, 1.0])
def test_binary_cross_entropy_is_exact_in_value_and_gradient_wherever_it_is(logit, target):
    x, y = np.float64([np.float32(logit), target])
    expected = y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
    with np.errstate(over="ignore"):
        gradient = (1 - y) / (1 + np.exp(-x)) - y / (1 + np.exp(x))
    loss = jax.value_and_grad(lambda x: losses.binary_cross_entropy(x, jnp.float32(target)))
    results = [float(r) for r in loss(jnp.float32(logit))]
    np.testing.assert_allclose(results, [expected, gradient], rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("margin", [*EXTREMES[:-1], *(-x for x in EXTREMES[:-1])])
def test_cross_entropy_is_exact_in_value_and_gradient_wherever_it_is(margin):
    """Three classes whose scores are `margin` below, or above, that of the label."""
    loss = lambda x: losses.cross_entropy(x, jnp.int32(1))
    x = jnp.float32([7, 7 + margin, 7]) if abs(margin) >= 1 else jnp.float32([0, margin, 0])
    rest = 2 * np.exp(np.float64(x[0]) - np.float64(x[1]))
    value, gradient = jax.value_and_grad(loss)(x)
    np.testing.assert_allclose(value, np.log1p(rest), rtol=1e-6, atol=1e-37)
    other = rest / (1 + rest)
    np.testing.assert_allclose(gradient, [other / 2, -other, other / 2], rtol=2e-6, atol=1e-37)


def test_cross_entropy_at_the_ends_of_float32_and_of_classes_that_are_ruled_out():
    far = jnp.float32([[3e38, -3e38], [-jnp.inf, 0], [0, -jnp.inf]])
    value, gradient = jax.vmap(jax.value_and_grad(losses.cross_entropy))(far, jnp.array([0, 1, 0]))
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)
    assert losses.cross_entropy(far, jnp.array([1, 0, 1])).tolist() == [np.inf] * 3
    assert losses.cross_entropy(jnp.full((1, 1), 9.0), jnp.array([0])) == 0


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_out_of_range_is_not_another_class(label):
    assert np.isnan(losses.cross_entropy(jnp.zeros((1, 4)), jnp.array([label])))[0]


FOCAL = {
    "usual": {},
    "no alpha": {"alpha": None},
    "gamma 0": {"alpha": 0.5, "gamma": 0.0},
    "root": {"alpha": 0.75, "gamma": 0.5},
}


@pytest.mark.parametrize("name", FOCAL)
def test_focal_loss_and_its_gradient_equal_torchvision_s(name):
    loss = partial(losses.sigmoid_focal_loss, **FOCAL[name])
    value, pull = jax.vjp(loss, jnp.asarray(GOLDEN["focal/logits"]), GOLDEN["focal/targets"])
    np.testing.assert_allclose(value, GOLDEN[f"focal/{name}"], rtol=2e-5, atol=1e-6)
    gradient, expected = np.asarray(pull(jnp.ones(24))[0]), GOLDEN[f"focal/{name}/dx"]
    assert np.isfinite(gradient).all()
    theirs = np.isfinite(expected)  # but where 1 − p_t is 0 there
    assert theirs.sum() >= 20
    np.testing.assert_allclose(gradient[theirs], expected[theirs], rtol=5e-5, atol=1e-6)


def test_focal_loss_by_hand():
    """p = ¼: an object there costs ¼ (¾)² log 4, none ¾ (¼)² log 4/3."""
    logit = jnp.log(jnp.float32(1 / 3))
    one, none = (losses.sigmoid_focal_loss(logit, jnp.float32(y)) for y in (1, 0))
    np.testing.assert_allclose(one, 0.25 * 0.75**2 * np.log(4), rtol=1e-6)
    np.testing.assert_allclose(none, 0.75 * 0.25**2 * np.log(4 / 3), rtol=1e-6)


def test_focal_loss_keeps_its_digits_where_the_example_is_easy():
    loss = losses.sigmoid_focal_loss(jnp.float32(-20), jnp.float32(0), alpha=None)
    np.testing.assert_allclose(loss, np.exp(-20.0) ** 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2.0}, r"alpha must be in \[0, 1\], got 2.0"),
        ({"gamma": -1}, "gamma must be at lea"),
    ],
)
def test_focal_loss_refuses_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        losses.sigmoid_focal_loss(jnp.zeros(2), jnp.zeros(2), **options)
