"""Batches of arrays, and the order of their rows: each row once an epoch, whatever the size."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from lectures_jax import data, objectives, train
from lectures_jax.data.order import Order
from lectures_jax.models.mlp import Mlp


def columns(n):
    return {"x": np.arange(n), "y": 10 * np.arange(n)}


def test_rows_stay_together_and_none_is_dropped():
    iterator = data.batches(columns(5), batch_size=2, seed=3)
    drawn = [next(iterator) for _ in range(5)]  # two epochs
    x, y = (np.concatenate([batch[name] for batch in drawn]) for name in ("x", "y"))
    np.testing.assert_array_equal(y, 10 * x)
    first, second = x[:5].tolist(), x[5:].tolist()
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4]
    assert first != second


@given(rows=st.integers(1, 12), batch_size=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_every_epoch_visits_every_row_once(rows, batch_size, seed):
    iterator = data.batches(columns(rows), batch_size=batch_size, seed=seed)
    seen = np.concatenate([next(iterator)["x"] for _ in range(3 * rows)])
    assert len(seen) == 3 * rows * batch_size
    for epoch in seen.reshape(-1, rows):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(rows))
    order = Order(rows, seed=seed)
    np.testing.assert_array_equal(seen, [order[i] for i in range(len(seen))])


def test_the_seed_alone_gives_the_order():
    one, same, other = (data.batches(columns(50), batch_size=50, seed=s) for s in (1, 1, 2))
    expected = next(one)["x"].tolist()
    assert expected == next(same)["x"].tolist() != next(other)["x"].tolist()


def test_orders_are_spread_evenly():
    counts = np.zeros((4, 4))
    for seed in range(30):
        for epoch in Order(4, seed=seed).span(0, 80).reshape(-1, 4):
            counts[np.arange(4), epoch] += 1
    # 600 epochs: a row is expected 150 times at each place, with a deviation of 10.6.
    assert np.abs(counts - 150).max() < 48


def test_batches_go_on_where_they_were():
    iterator, again = (data.batches(columns(7), batch_size=3) for _ in range(2))
    next(iterator)
    again.set_state(json.loads(json.dumps(iterator.get_state())))
    chex.assert_trees_all_equal(next(iterator), next(again))


@pytest.mark.parametrize("state", [None, {}, {"next_index": 3}, {"drawn": -1}, {"drawn": "2"}])
def test_the_position_of_another_iterator_is_refused(state):
    with pytest.raises(ValueError, match="state must be as get_state returns it, got"):
        data.batches(columns(7), batch_size=3).set_state(state)


def test_arrays_of_jax_come_as_numpy_s():
    batch = next(data.batches(data.two_moons(jax.random.key(0), count=4), batch_size=2))
    assert {type(array) for array in batch.values()} == {np.ndarray}


@pytest.mark.parametrize("cut", [data.batches, data.in_batches])
@pytest.mark.parametrize("examples", [{}, columns(0), {"x": np.zeros(3), "y": np.zeros(2)}])
def test_arrays_must_have_one_length(cut, examples):
    with pytest.raises(ValueError, match="examples must be arrays of one length, not empty"):
        cut(examples, batch_size=1)


@pytest.mark.parametrize("cut", [data.batches, data.in_batches])
def test_a_batch_must_have_a_row(cut):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        cut(columns(3), batch_size=0)


def test_a_seed_must_not_be_negative():
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        data.batches(columns(3), batch_size=1, seed=-1)


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_one_pass_has_every_row_once_and_in_order(batch_size, sizes):
    parts = data.in_batches(columns(5), batch_size=batch_size)
    assert [len(part["x"]) for part in parts] == sizes
    chex.assert_trees_all_equal(jax.tree.map(lambda *x: np.concatenate(x), *parts), columns(5))


def test_an_evaluation_in_batches_equals_that_of_the_whole_set():
    model = Mlp((2, 8, 2), rngs=nnx.Rngs(0))
    points = data.two_moons(jax.random.key(0), count=50)
    examples = {"image": points["x"], "labels": points["labels"]}
    whole = train.evaluate(model, objectives.classification, [examples])
    parts = data.in_batches(examples, batch_size=16)
    chex.assert_trees_all_close(
        train.evaluate(model, objectives.classification, parts), whole, rtol=1e-5
    )


def test_a_run_on_batches_of_arrays_resumes_bit_for_bit(tmp_path):
    points = data.two_moons(jax.random.key(0), count=50)
    examples = {"image": points["x"], "labels": points["labels"]}

    def fit(steps, out):
        return train.fit(
            jax.random.key(0),
            Mlp((2, 8, 2), rngs=nnx.Rngs(0)),
            objectives.classification,
            optax.adam(1e-2),
            data.batches(examples, batch_size=16),
            steps=steps,
            out=out,
        )[0]

    fit(5, tmp_path)
    chex.assert_trees_all_equal(*map(nnx.state, (fit(9, tmp_path), fit(9, None))))
    assert jnp.isfinite(fit(9, tmp_path)(points["x"])).all()
