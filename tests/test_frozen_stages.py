"""Frozen stages: what is taken over, what stays as it is, and what changes."""

import jax
import numpy as np
import pytest

from tests.test_experiments import ROOT, load

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def frozen():
    return load(ROOT / "experiments" / "ch3_vision" / "frozen_stages.py")


@pytest.fixture(scope="module")
def config(frozen):
    return frozen.Config(channels=(2, 3, 2), batch_size=8)


def same(a, b):
    """Whether all arrays of two trees are equal."""
    return jax.tree.all(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a, b))


@pytest.mark.parametrize("stages", [(), (0, 1), (2,)], ids=str)
def test_frozen_stages_stay_as_they_are_and_all_else_is_trained(frozen, config, stages):
    images = RNG.random((20, 24, 24, 1)).astype(np.float32)
    examples = {"image": images, "labels": np.arange(20, dtype=np.int32) % 10}
    structure, before = frozen.build(config, 0)
    after = frozen.fit(config, before, examples, frozen=stages, steps=3, seed=0)
    for number in range(3):
        unchanged = same(before.params["stages"][number], after.params["stages"][number])
        assert unchanged == (number in stages)
    assert not same(before.params["classify"], after.params["classify"])
    assert structure == frozen.build(config, 1)[0]


def test_stages_are_taken_over_with_their_averages_and_the_rest_is_not(frozen, config):
    (_, own), (_, other) = (frozen.build(config, seed) for seed in (0, 1))
    other = jax.tree.map(lambda x: x + 1, other)
    mixed = frozen.with_stages(own, other, (1, 2))
    for part, mine, taken in zip(mixed, own, other, strict=True):
        assert same(part["stages"][0], mine["stages"][0])
        assert same(part["stages"][1], taken["stages"][1])
        assert same(part["stages"][2], taken["stages"][2])
    assert same(mixed.params["classify"], own.params["classify"])


def test_there_are_so_many_examples_of_each_class(frozen):
    labels = RNG.permutation(np.repeat(np.arange(10, dtype=np.int32), 9))
    examples = {"image": labels[:, None], "labels": labels}
    chosen = frozen.choose(RNG, examples, 4)
    np.testing.assert_array_equal(np.bincount(chosen["labels"]), [4] * 10)
    np.testing.assert_array_equal(chosen["image"][:, 0], chosen["labels"])


def test_the_average_is_over_tasks_and_seeds(frozen):
    one, two = ({("first random", 1): np.array(values)} for values in ([0.5, 0.7], [0.2, 0.2]))
    assert frozen.average({"a": one, "b": two}, "first random", 1) == pytest.approx(0.4)
