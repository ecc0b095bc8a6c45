"""The ensemble: never above a longer run, the same in batches of any size, honest about hiding."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lectures_jax import input_optimization as io
from tests.input_optimization import attacked

KEY = jax.random.key(0)
X = attacked.make_inputs(count=40, shape=(4, 4, 1))
NETWORK = attacked.make_network(inputs=16)
LABELS = attacked.answers(NETWORK, X)
LABELS[:4] = (LABELS[:4] + 1) % attacked.CLASSES  # which are wrong as they are
FAST = {"steps": 20, "queries": 50}
EPSILON = 0.08


@pytest.fixture(scope="module")
def result():
    return io.robust_accuracy(KEY, NETWORK, X, LABELS, epsilon=EPSILON, **FAST)


def test_what_is_counted_as_fooled_is_fooled_within_the_budget(result):
    assert result.clean_accuracy == 0.9
    wrong = attacked.answers(NETWORK, result.inputs) != LABELS
    np.testing.assert_array_equal(result.robust, ~wrong)
    assert result.accuracy == np.mean(~wrong)
    assert 0.1 < result.accuracy < 0.8
    assert np.all(attacked.sizes(result.inputs, X, "linf") <= EPSILON)
    np.testing.assert_array_equal(result.inputs[:4], X[:4])
    remaining = list(result.remaining.values())
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[-1] == result.accuracy
    assert [name.partition(",")[0] for name in result.remaining] == ["Auto-PGD"] * 2 + ["Square"]


def test_the_batches_do_not_matter(result):
    other = io.robust_accuracy(KEY, NETWORK, X, LABELS, epsilon=EPSILON, **FAST, batch_size=7)
    np.testing.assert_array_equal(other.robust, result.robust)
    assert other.remaining == result.remaining


def test_it_is_never_above_a_longer_run(result):
    options = {"epsilon": EPSILON, "step_size": EPSILON / 10, "steps": 1000, "restarts": 5}
    longer = io.pgd(KEY, NETWORK, X, LABELS, **options)
    assert result.accuracy <= np.mean(attacked.answers(NETWORK, longer) == LABELS)


@pytest.mark.parametrize(("classes", "attacks"), [(2, 1), (3, 2)])
def test_few_classes_have_the_losses_that_they_allow(classes, attacks):
    weights = np.random.default_rng(0).normal(size=(12, classes)).astype(np.float32)
    network, x = Partial(attacked.linear, jnp.asarray(weights)), attacked.make_inputs(count=10)
    labels = attacked.answers(network, x)
    result = io.robust_accuracy(KEY, network, x, labels, epsilon=0.1, steps=10)
    gap = np.abs(weights[:, :1] - weights[:, 1:])
    assert len(result.remaining) == attacks
    if classes == 2:  # of which the answer is known
        logits = np.asarray(network(x))
        expected = np.mean(np.abs(logits[:, 0] - logits[:, 1]) > 0.1 * gap.sum())
        assert result.accuracy == expected


def test_scores_find_what_hidden_gradients_do_not():
    """Rounded logits are flat almost everywhere: no gradient, but other scores further away."""
    hidden = Partial(lambda network, x: jnp.round(4 * network(x)) / 4, NETWORK)
    labels = attacked.answers(hidden, X)
    result = io.robust_accuracy(KEY, hidden, X, labels, epsilon=0.15, steps=5, queries=200)
    *gradients, square = result.remaining.values()
    assert gradients[-1] > square + 0.2


def test_in_l2_the_squares_are_of_that_norm_and_see_what_hidden_gradients_do_not():
    hidden = Partial(lambda network, x: jnp.round(4 * network(x)) / 4, NETWORK)
    labels = attacked.answers(hidden, X)
    options = {"epsilon": 0.4, "norm": "l2", "steps": 5, "queries": 200}
    result = io.robust_accuracy(KEY, hidden, X, labels, **options)
    assert list(result.remaining)[-1] == "Square"
    *gradients, square = result.remaining.values()
    assert gradients[-1] > square + 0.2
    sizes = attacked.sizes(result.inputs, X, "l2")
    assert np.all(sizes <= 0.4)
    assert np.max(sizes) > 0.3


def test_what_is_wrong_is_one_line():
    given = (KEY, NETWORK, X, LABELS)
    with pytest.raises(ValueError, match="epsilon must be at least 0, got -1"):
        io.robust_accuracy(*given, epsilon=-1.0)
    with pytest.raises(ValueError, match="norm must be one of linf, l2, got 'l1'"):
        inspect.unwrap(io.robust_accuracy)(*given, epsilon=1.0, norm="l1")
    with pytest.raises(ValueError, match=r"labels must be in \[0, 4\], got 7"):
        io.robust_accuracy(KEY, NETWORK, X, np.full(40, 7), epsilon=1.0)
    with pytest.raises(ValueError, match="got values from 0 to 7"):
        io.robust_accuracy(KEY, NETWORK, 7 * np.round(X), LABELS, epsilon=1.0)
    last = np.arange(40) == 39  # not only the first example is looked at
    with pytest.raises(ValueError, match=r"labels must be in \[0, 4\], got -1"):
        io.robust_accuracy(KEY, NETWORK, X, np.where(last, -1, LABELS), epsilon=1.0)
    unknown = np.where(last[:, None, None, None], np.float32(np.nan), X)
    with pytest.raises(ValueError, match="got NaN"):
        io.robust_accuracy(KEY, NETWORK, unknown, LABELS, epsilon=1.0)
    with pytest.raises(ValueError, match="labels must be 40 integers"):
        io.robust_accuracy(KEY, NETWORK, X, LABELS[:4], epsilon=1.0)
