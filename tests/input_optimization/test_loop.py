"""The loop: Optax's own steps, a projection, the best of all steps, and one program."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.tree_util import Partial

from lectures_jax.input_optimization import as_argument, descend, optimize_inputs

KEY = jax.random.key(0)
START = {"x": np.array([3.0, -2.0], np.float32), "y": np.array([[1.0], [4.0]], np.float32)}


def squares(inputs, key):
    return jnp.sum(inputs["x"] ** 2) + jnp.sum((inputs["y"] - 1) ** 2)


def clip(inputs):
    return jax.tree.map(lambda x: jnp.clip(x, -1.5, 2), inputs)


def test_steps_are_those_of_optax_with_a_projection_after_each():
    result = optimize_inputs(KEY, squares, START, steps=4, learning_rate=0.3, project=clip)
    optimizer, inputs, losses = optax.adam(0.3), clip(START), []
    state = optimizer.init(inputs)
    for _ in range(4):
        value, gradient = jax.value_and_grad(squares)(inputs, KEY)
        updates, state = optimizer.update(gradient, state)
        inputs = clip(optax.apply_updates(inputs, updates))
        losses.append(value)
    chex.assert_trees_all_close(result.inputs, inputs, rtol=1e-6)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-6)


def test_a_search_along_the_line_ends_at_the_minimum_of_a_parabola():
    result = optimize_inputs(KEY, squares, START, steps=3, learning_rate=1.0, optimizer=optax.lbfgs)
    np.testing.assert_allclose(result.inputs["x"], 0, atol=1e-4)
    np.testing.assert_allclose(result.inputs["y"], 1, atol=1e-4)


def test_a_callback_comes_at_intervals_and_at_the_end():
    seen = []
    result = optimize_inputs(
        *(KEY, squares, START),
        steps=5,
        learning_rate=0.1,
        every=2,
        callback=lambda step, inputs: seen.append((step, float(squares(inputs, KEY)))),
    )
    whole = optimize_inputs(KEY, squares, START, steps=5, learning_rate=0.1)
    assert [step for step, _ in seen] == [2, 4, 5]
    assert seen[-1][1] == pytest.approx(float(squares(result.inputs, KEY)))
    chex.assert_trees_all_close(result, whole, rtol=1e-6)


def test_each_step_has_a_key_of_its_own():
    def noise(inputs, key):
        return jax.random.normal(key) + 0 * jnp.sum(inputs)

    result = optimize_inputs(KEY, noise, jnp.zeros(2), steps=6, learning_rate=0.1, every=3)
    assert len(np.unique(result.losses)) == 6


def test_the_best_inputs_of_each_example_are_kept():
    def objective(x, key):  # overshoots: the second example is best at the beginning
        return (x[:, 0] - jnp.array([1.0, 0.0])) ** 2

    start = jnp.array([[0.0], [0.1]])
    move = optax.stateless(lambda updates, _: jax.tree.map(lambda g: -0.45 * jnp.sign(g), updates))
    result = descend(KEY, objective, start, move, steps=3, project=lambda x: x)
    np.testing.assert_allclose(result.inputs, [[0.9], [0.1]], atol=1e-6)
    np.testing.assert_allclose(result.losses.min(0), [0.01, 0.01], atol=1e-6)
    assert result.losses.shape == (4, 2)
    none = descend(KEY, objective, start, move, steps=0, project=lambda x: x)
    np.testing.assert_array_equal(none.inputs, start)


def test_networks_targets_and_rates_are_arguments_of_one_program():
    traces = []

    def distance(network, target, inputs, key):
        traces.append(1)
        return jnp.sum((network(inputs) - target) ** 2)

    for seed in range(3):
        network = nnx.Linear(2, 3, rngs=nnx.Rngs(seed))
        objective = Partial(distance, as_argument(network), jnp.full(3, float(seed)))
        optimize_inputs(KEY, objective, jnp.ones(2), steps=2, learning_rate=0.1 * (seed + 1))
        bound = Partial(distance, as_argument(network.__call__), jnp.full(3, float(seed)))
        assert jax.tree.leaves(bound)
    assert len(traces) == 1


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 2, "every": 0}])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        optimize_inputs(KEY, squares, START, learning_rate=0.1, **wrong)


def test_the_best_may_be_those_of_another_rank_than_the_loss():
    def objective(x, key):
        return (x[:, 0] - 1) ** 2, jnp.abs(x[:, 0] - 0.5)

    result = descend(
        KEY, objective, jnp.zeros((1, 1)), optax.sgd(0.1), steps=9, project=lambda x: x
    )
    np.testing.assert_allclose(result.inputs, [[1 - 0.8**3]], rtol=1e-6)  # 0.488, nearest to 0.5
    np.testing.assert_allclose(result.ranks, [0.8**3 - 0.5], rtol=1e-4)
    np.testing.assert_allclose(result.losses[:, 0], 0.64 ** np.arange(10), rtol=1e-5)
