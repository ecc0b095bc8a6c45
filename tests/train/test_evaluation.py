import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import train
from lectures_jax.train.evaluation import mean_row
from lectures_jax.typing import Ratio
from tests.train.nets import Affine, Net, arrays, assert_same, points, squared


def whole_loss(model, batches):
    x, y = (np.concatenate([batch[name] for batch in batches]) for name in ("x", "y"))
    kernel, bias = np.asarray(model.linear.kernel[...]), np.asarray(model.linear.bias[...])
    return np.mean(((x @ kernel)[:, 0] + bias[0] - y) ** 2)


def test_every_example_counts_the_same_in_batches_of_any_size():
    model = Affine(rngs=nnx.Rngs(0))
    batches = [*points(2, size=8), *points(1, size=3, seed=1)]
    result = train.evaluate(model, squared, iter(batches))
    np.testing.assert_allclose(result["loss"], whole_loss(model, batches), rtol=1e-5)
    assert result.keys() == {"loss", "bias"}


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
    result = train.evaluate(model, squared, batches)
    np.testing.assert_allclose(result["loss"], whole_loss(model, [full, cut]), rtol=1e-5)


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
    result = train.predict(model, x, batch_size=batch_size)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def half_and_call(model, x):
    return {"half": x / 2, "answer": model(x)}


def test_a_function_of_the_model_may_answer_with_several_arrays():
    net = Net(rngs=nnx.Rngs(0))
    x = next(points(1))["x"]
    result = train.predict(net, x, function=half_and_call, batch_size=5)
    np.testing.assert_array_equal(result["half"], x / 2)
    again = train.predict(net, x)  # no dropout, no batch statistics
    np.testing.assert_allclose(result["answer"], again, rtol=1e-5)


def test_predictions_want_examples_and_a_size():
    model = Affine(rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="inputs must hold at least one example, got none"):
        train.predict(model, np.zeros((0, 3)))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        train.predict(model, np.zeros((1, 3)), batch_size=0)


def counted(model, batch, key):
    """A ratio of sums, a matrix, and a number."""
    right = (model(batch["x"])[:, 0] > 0) == (batch["y"] > 0)
    heavy = jnp.abs(batch["y"]) > 1
    joint = jax.nn.one_hot(2 * heavy + right, 4).reshape(-1, 2, 2)
    ratio = Ratio(jnp.sum(right & heavy, dtype=jnp.float32), jnp.sum(heavy, dtype=jnp.float32))
    never = Ratio(jnp.zeros(()), jnp.zeros(()))
    return jnp.zeros(()), {"right_if_heavy": ratio, "joint": joint.mean(axis=0), "never": never}


@pytest.mark.parametrize("padded", [False, True])
def test_sums_are_added_over_batches_and_divided_once(padded):
    model, batches = Affine(rngs=nnx.Rngs(0)), list(points(3, size=5))
    x, y = (np.concatenate([b[name] for b in batches])[:12] for name in ("x", "y"))
    right, heavy = (np.asarray(model(x))[:, 0] > 0) == (y > 0), np.abs(y) > 1
    if padded:
        batches[2]["x"][2:] = np.nan
        present = [np.ones(5, bool), np.ones(5, bool), np.arange(5) < 2]
        batches = [{**b, "present": p} for b, p in zip(batches, present, strict=True)]
    else:
        batches[2] = {name: v[:2] for name, v in batches[2].items()}
    result = train.evaluate(model, counted, batches)
    np.testing.assert_allclose(result["right_if_heavy"], right[heavy].mean(), rtol=1e-6)
    table = [[np.sum((heavy == h) & (right == r)) for r in (0, 1)] for h in (0, 1)]
    np.testing.assert_allclose(result["joint"], np.array(table) / 12, rtol=1e-6)
    assert np.isnan(result["never"])
    assert isinstance(result["loss"], float)


def test_rows_of_training_add_ratios_and_leave_arrays_out():
    steps = [
        {"dice": Ratio(np.float32(1), np.float32(2)), "loss": np.float32(1), "m": np.ones((2, 2))},
        {"dice": Ratio(np.float32(3), np.float32(8)), "loss": np.float32(2), "m": np.ones((2, 2))},
    ]
    assert mean_row(steps) == {"dice": pytest.approx(0.4), "loss": 1.5}


def test_counts_of_many_pixels_do_not_overflow():
    def objective(model, batch, key):
        right = Ratio(jnp.sum(batch["right"]), jnp.sum(batch["all"]))
        return jnp.float32(0), {"dice": right}

    batch = {name: np.full(4, 2**n, np.int32) for name, n in (("right", 27), ("all", 28))}
    assert train.evaluate(Affine(rngs=nnx.Rngs(0)), objective, 3 * [batch])["dice"] == 0.5
