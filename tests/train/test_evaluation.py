import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import train
from tests.train.nets import Affine, Net, arrays, assert_same, points, squared


def whole_loss(model, batches):
    x, y = (np.concatenate([batch[name] for batch in batches]) for name in ("x", "y"))
    kernel, bias = np.asarray(model.linear.kernel[...]), np.asarray(model.linear.bias[...])
    return np.mean(((x @ kernel)[:, 0] + bias[0] - y) ** 2)


def test_every_example_counts_the_same_in_batches_of_any_size():
    model = Affine(rngs=nnx.Rngs(0))
    batches = [*points(2, size=8), *points(1, size=3, seed=1)]
    found = train.evaluate(model, squared, iter(batches))
    np.testing.assert_allclose(found["loss"], whole_loss(model, batches), rtol=1e-5)
    assert found.keys() == {"loss", "bias"}


def test_examples_that_are_not_present_do_not_count():
    model = Affine(rngs=nnx.Rngs(0))
    full, last = points(2)
    cut = {name: x[:3] for name, x in last.items()}
    padded = {name: x.copy() for name, x in last.items()}
    padded["x"][3:] = np.nan
    batches = [
        {**full, "present": np.ones(8, bool)},
        {**padded, "present": np.arange(8) < 3},
    ]
    found = train.evaluate(model, squared, batches)
    np.testing.assert_allclose(found["loss"], whole_loss(model, [full, cut]), rtol=1e-5)


def test_the_model_is_left_as_it_is_and_used_without_dropout():
    model = Net(rngs=nnx.Rngs(0))
    before, batches = arrays(model), list(points(2))
    assert train.evaluate(model, squared, batches) == train.evaluate(model, squared, batches)
    assert_same(before, arrays(model))
    assert not model.norm.use_running_average
    assert not model.dropout.deterministic


def test_an_objective_that_draws_gets_the_same_numbers_each_time():
    def noisy(model, batch, key):
        return jax.random.normal(key), {}

    batches = list(points(3))
    model = Affine(rngs=nnx.Rngs(0))
    first = train.evaluate(model, noisy, batches)
    assert first == train.evaluate(model, noisy, batches)
    assert first != train.evaluate(model, noisy, batches[:1])


def test_evaluations_of_one_network_are_traced_once():
    traces = []

    def objective(model, batch, key):
        traces.append(1)
        return squared(model, batch, key)

    for seed in range(3):
        structure, state = train.init(
            jax.random.key(0), Net(rngs=nnx.Rngs(seed)), optax.sgd(0.1), ema=True
        )
        train.evaluate(train.rebuild(structure, state), objective, points(2))
    assert len(traces) == 1


@pytest.mark.parametrize("present", [[], [False]])
def test_no_examples_are_an_error(present):
    batches = [
        {"x": jnp.zeros((1, 3)), "y": jnp.zeros(1), "present": np.array([p])} for p in present
    ]
    with pytest.raises(ValueError, match="at least one example"):
        train.evaluate(Affine(rngs=nnx.Rngs(0)), squared, batches)


@pytest.mark.parametrize("batch_size", [3, 7, 10])
def test_predictions_come_for_every_example_whatever_the_parts(batch_size):
    model = Affine(rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    expected = x @ np.asarray(model.linear.kernel[...]) + np.asarray(model.linear.bias[...])
    found = train.predict(model, x, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def half_and_call(model, x):
    return {"half": x / 2, "answer": model(x)}


def test_a_function_of_the_model_may_answer_with_several_arrays():
    net = Net(rngs=nnx.Rngs(0))
    x = next(points(1))["x"]
    found = train.predict(net, x, function=half_and_call, batch_size=5)
    np.testing.assert_array_equal(found["half"], x / 2)
    again = train.predict(net, x)  # no dropout, no batch statistics
    np.testing.assert_allclose(found["answer"], again, rtol=1e-5)


def test_predictions_want_examples_and_a_size():
    model = Affine(rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="inputs must hold at least one example, got none"):
        train.predict(model, np.zeros((0, 3)))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        train.predict(model, np.zeros((1, 3)), batch_size=0)
