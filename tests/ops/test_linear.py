"""The dense layer and the perceptron: gates by hand, the training rule, and Novikoff's bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 2)).astype(np.float32)
BIAS = np.array([0.5, -1.0], np.float32)
ANSWERS = np.array([0, 1, 1, 0], np.float32)
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)

CONTRACT = {
    "linear": Contract(
        [(X, KERNEL, BIAS), (X, KERNEL)],
        edges=[(np.ones((600, 700), np.float32), np.ones((700, 2), np.float32), BIAS)],
    ),
    "perceptron": Contract([(X, KERNEL[:, 0], np.float32(0.3))]),
    "train_perceptron": Contract([(X, ANSWERS)], differentiable=False),
}


def test_linear_by_hand_and_as_flax():
    y = ops.linear(jnp.array([[1.0, 2]]), jnp.array([[3.0, 0], [1, -1]]), jnp.array([10.0, 20]))
    np.testing.assert_allclose(y, [[1 * 3 + 2 * 1 + 10, 2 * -1 + 20]])
    layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    with jax.numpy_dtype_promotion("standard"):
        theirs = layer(jnp.asarray(X))
    np.testing.assert_allclose(
        ops.linear(jnp.asarray(X), layer.kernel[...], layer.bias[...]), theirs, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("weights", "bias", "gate"),
    [
        ((1.0, 1.0), -2.0, [0, 0, 0, 1]),  # AND: at (1, 1) the sum is exactly 0, which counts as 1
        ((1.0, 1.0), -1.0, [0, 1, 1, 1]),  # OR
        ((-1.0, -1.0), 1.0, [1, 1, 1, 0]),  # NAND
    ],
)
def test_a_perceptron_is_a_gate(weights, bias, gate):
    got = ops.perceptron(jnp.asarray(CORNERS), jnp.array(weights), jnp.float32(bias))
    np.testing.assert_array_equal(got, gate)


def by_the_book(x, y, passes):
    """The rule, written as a loop."""
    w, b, mistakes = np.zeros(x.shape[1], x.dtype), x.dtype.type(0), 0
    for _ in range(passes):
        before = mistakes
        for point, answer in zip(x, y, strict=True):
            step = answer - (w @ point + b >= 0)
            w, b, mistakes = w + step * point, b + step, mistakes + (step != 0)
        if mistakes == before:
            break
    return w, b, mistakes, mistakes == before


@pytest.mark.parametrize("gate", [[1, 1, 1, 0], [0, 1, 1, 0]], ids=["NAND", "XOR"])
def test_the_rule_equals_a_loop_and_says_whether_it_ended(gate):
    y = np.array(gate, np.float32)
    fit = ops.train_perceptron(jnp.asarray(CORNERS), jnp.asarray(y), max_passes=20)
    weights, bias, mistakes, separated = by_the_book(CORNERS, y, 20)
    np.testing.assert_array_equal(fit.weights, weights)
    assert (fit.bias, fit.updates, fit.separated) == (bias, mistakes, separated)
    assert separated == (gate == [1, 1, 1, 0])


def test_mistakes_keep_novikoff_s_bound():
    true = np.array([0.6, -0.8, 0.0], np.float32)  # w and b of norm 1
    x = RNG.uniform(-1, 1, (400, 2)).astype(np.float32)
    distance = x @ true[:2] + true[2]
    x, y = x[np.abs(distance) > 0.05], (distance > 0)[np.abs(distance) > 0.05]
    fit = ops.train_perceptron(jnp.asarray(x), jnp.asarray(y, jnp.float32))
    radius = np.max(np.hypot(np.linalg.norm(x, axis=1), 1))
    gamma = np.min(np.abs(x @ true[:2] + true[2]))
    assert fit.separated
    assert 0 < int(fit.updates) <= (radius / gamma) ** 2
    np.testing.assert_array_equal(ops.perceptron(jnp.asarray(x), fit.weights, fit.bias), y)


def test_no_pass_is_refused():
    with pytest.raises(ValueError, match="max_passes must be at least 1, got 0"):
        ops.train_perceptron(jnp.asarray(CORNERS), jnp.zeros(4), max_passes=0)


@pytest.mark.parametrize(
    ("kernel", "bias", "message"),
    [
        (
            (4, 2),
            (2,),
            r"kernel must be floats of shape \(n, m\) beside x float32\[5,3\], got float32\[4,2\]",
        ),
        ((3,), (2,), "kernel must be"),
        ((3, 2), (3,), r"bias must be .* got float32\[3\]"),
    ],
)
def test_sizes_that_do_not_fit_are_named(kernel, bias, message):
    with pytest.raises(ValueError, match=message):
        ops.linear(jnp.ones((5, 3)), jnp.ones(kernel), jnp.ones(bias))
