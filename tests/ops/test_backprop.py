"""The δ recursion: by hand, `jax.grad`, the course's shapes, and weights that are shared."""

import inspect
from functools import partial
from itertools import cycle, pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, ops
from lectures_jax.ops.activation import ACTIVATIONS
from tests.contract import Contract

RNG = np.random.default_rng(0)
SIZES = (3, 5, 4, 2)


def network(sizes, dtype=np.float32):
    return [
        {
            "kernel": RNG.normal(size=(n, m)).astype(dtype) / n**0.5,
            "bias": RNG.normal(size=m).astype(dtype) / 3,
        }
        for n, m in pairwise(sizes)
    ]


PARAMS = network(SIZES)
X = RNG.normal(size=(7, 3)).astype(np.float32)
Y = RNG.uniform(size=(7, 2)).astype(np.float32)
LABELS = RNG.integers(0, 2, 7).astype(np.int32)
IMAGE = RNG.normal(size=(2, 7, 6, 3)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 2, 3, 4)).astype(np.float32)
DELTA = RNG.normal(size=(2, 4, 4, 4)).astype(np.float32)
STRIDED = partial(ops.conv2d_backward, stride=2, padding=1)
TARGETS = {"squared_error": Y, "cross_entropy": LABELS, "binary_cross_entropy": Y}

CONTRACT = {
    "backprop": Contract([(PARAMS, X, Y)]),
    "backprop cross_entropy": Contract(
        [(PARAMS, X, LABELS)], op=partial(ops.backprop, activation="gelu", loss="cross_entropy")
    ),
    "linear_backward": Contract([(X, RNG.normal(size=(3, 2)).astype(np.float32), Y)]),
    "conv2d_backward": Contract([(IMAGE[:, :5], KERNEL[:2, :1], DELTA[:, :3])], op=STRIDED),
}


def mean_loss(params, x, y, *, activation, loss):
    """The same network by the library's functions, for `jax.grad`."""
    for i, layer in enumerate(params):
        x = ops.linear(x, layer["kernel"], layer["bias"])
        x = ACTIVATIONS[activation].value(x) if i < len(params) - 1 else x
    value = getattr(losses, loss)(x, y)
    return jnp.mean(jnp.sum(value, axis=1) if value.ndim == 2 else value)


def relative_error(got, expected):
    scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(expected))
    differences = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), got, expected)
    return max(jax.tree.leaves(differences)) / scale


def test_one_neuron_by_hand():
    # z = 2·0.5 + 0 = 1, a = tanh 1, output 3 a; (3 a − 1)² has δ₂ = 2 (3 a − 1)
    params = [
        {"kernel": jnp.array([[0.5]]), "bias": jnp.array([0.0])},
        {"kernel": jnp.array([[3.0]]), "bias": jnp.array([0.0])},
    ]
    first, second = ops.backprop(params, jnp.array([[2.0]]), jnp.array([[1.0]]))
    a = np.tanh(1.0)
    delta2 = 2 * (3 * a - 1)
    delta1 = delta2 * 3 * (1 - a**2)
    np.testing.assert_allclose(second["kernel"], [[delta2 * a]], rtol=1e-6)
    np.testing.assert_allclose(second["bias"], [delta2], rtol=1e-6)
    np.testing.assert_allclose(first["kernel"], [[delta1 * 2]], rtol=1e-6)
    np.testing.assert_allclose(first["bias"], [delta1], rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "loss"), list(zip(ACTIVATIONS, cycle(TARGETS), strict=False))
)
def test_any_activation_and_loss_equal_jax_grad(activation, loss):
    options = {"activation": activation, "loss": loss}

    @jax.jit
    def both(*arguments):
        expected = jax.grad(partial(mean_loss, **options))(*arguments)
        return ops.backprop(*arguments, **options), expected

    with jax.enable_x64(True):
        for dtype, tolerance in ((jnp.float32, 1e-6), (jnp.float64, 1e-12)):
            kind = {np.dtype(np.float32): dtype}
            arguments = jax.tree.map(
                lambda a, kind=kind: jnp.asarray(a, kind.get(a.dtype)), (PARAMS, X, TARGETS[loss])
            )
            assert relative_error(*both(*arguments)) < tolerance


@pytest.mark.parametrize("depth", [1, 2, 12])
def test_any_depth_equals_jax_grad(depth):
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, network((3, *[6] * (depth - 1), 2), np.float64))
        x, y = jnp.asarray(X, jnp.float64), jnp.asarray(Y, jnp.float64)
        options = {"activation": "tanh", "loss": "squared_error"}
        expected = jax.grad(partial(mean_loss, **options))(params, x, y)
        assert relative_error(ops.backprop(params, x, y, **options), expected) < 1e-12


def test_the_course_s_columns_are_these_rows_transposed():
    w1, w2 = (layer["kernel"].T.astype(np.float64) for layer in network((3, 4, 2)))  # [out, in]
    x, y = X.T.astype(np.float64), Y.T.astype(np.float64)  # one example per column
    a1 = np.tanh(w1 @ x)
    delta2 = 2 * (w2 @ a1 - y) / x.shape[1]
    delta1 = (w2.T @ delta2) * (1 - a1**2)
    with jax.enable_x64(True):
        params = [{"kernel": jnp.asarray(w.T), "bias": jnp.zeros(len(w))} for w in (w1, w2)]
        first, second = ops.backprop(params, jnp.asarray(x.T), jnp.asarray(y.T))
    np.testing.assert_allclose(first["kernel"].T, delta1 @ x.T, rtol=1e-12)
    np.testing.assert_allclose(second["kernel"].T, delta2 @ a1.T, rtol=1e-12)


def convolution(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * 2,
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_the_convolution_s_backward_pass_equals_jax_s(stride, padding):
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(IMAGE, jnp.float64), jnp.asarray(KERNEL, jnp.float64)
        y, pullback = jax.vjp(partial(convolution, stride=stride, padding=padding), x, kernel)
        delta = jnp.sin(jnp.arange(y.size, dtype=jnp.float64)).reshape(y.shape)
        back = ops.conv2d_backward(x, kernel, delta, stride=stride, padding=padding)
        expected = *pullback(delta), delta.sum((0, 1, 2))
        assert relative_error(tuple(back), expected) < 1e-12


def test_cells_that_share_a_weight_add_their_updates():
    # a convolution along a row of 5, as the 5×3 matrix whose cells (i + u, i) all hold kernel[u]
    kernel, x, delta = (
        np.array([2.0, -1.0, 0.5]),
        np.array([1.0, 4, 2, 3, 5]),
        np.array([1.0, 3, 2]),
    )
    rows, columns = np.arange(3)[:, None] + np.arange(3), np.broadcast_to(np.arange(3), (3, 3))
    matrix = np.zeros((5, 3))
    matrix[rows, columns] = kernel[:, None]
    dense = ops.linear_backward(
        jnp.asarray(x[None], jnp.float32),
        jnp.asarray(matrix, jnp.float32),
        jnp.asarray(delta[None], jnp.float32),
    )
    shared = ops.conv2d_backward(
        jnp.asarray(x.reshape(1, 1, 5, 1), jnp.float32),
        jnp.asarray(kernel.reshape(1, 3, 1, 1), jnp.float32),
        jnp.asarray(delta.reshape(1, 1, 3, 1), jnp.float32),
    )
    cells = np.asarray(dense.kernel)[rows, columns]  # the gradient of each cell of the matrix
    by_hand = [1 * 1 + 4 * 3 + 2 * 2, 4 * 1 + 2 * 3 + 3 * 2, 2 * 1 + 3 * 3 + 5 * 2]
    np.testing.assert_allclose(shared.kernel.ravel(), by_hand)
    np.testing.assert_allclose(cells.sum(axis=1), by_hand)  # and cells.mean would be a third
    np.testing.assert_allclose(shared.x.ravel(), dense.x[0], rtol=1e-6)


FLOAT = jnp.zeros((2, 3))
LAYER = {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], FLOAT, FLOAT), {}, "params must hold at least one layer"),
        (([LAYER], FLOAT[:0], FLOAT[:0]), {}, "x must hold at least one example"),
        (([LAYER, LAYER], FLOAT, FLOAT), {}, r"params\[1\] must have a kernel \[2, m\]"),
        (
            ([LAYER], FLOAT, FLOAT),
            {},
            r"y must have shape \(2, 2\) for squared_error, got \(2, 3\)",
        ),
        (([LAYER], FLOAT, FLOAT), {"loss": "cross_entropy"}, r"y must have shape \(2,\)"),
        (([LAYER], FLOAT, FLOAT), {"loss": "hinge"}, "loss must be one of .*, got 'hinge'"),
        (([LAYER], FLOAT, FLOAT), {"activation": "cube"}, "activation must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(ops.backprop)(*arguments, **options)


def test_an_error_map_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"delta must be of height and width \(5, 5\), got \(4, 4\)"
    ):
        ops.conv2d_backward(jnp.asarray(IMAGE), jnp.asarray(KERNEL), jnp.asarray(DELTA))
