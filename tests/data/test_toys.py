import numpy as np

from lectures_jax import data


def test_exclusive_or_is_one_where_exactly_one_input_is():
    batch = data.xor()
    np.testing.assert_array_equal(batch["y"], batch["x"].sum(axis=1) == 1)
    assert len(np.unique(batch["x"], axis=0)) == 4


def test_repeat_gives_the_same_batch_each_step():
    batch = data.xor()
    assert [b is batch for b in data.repeat(batch, 3)] == [True] * 3
