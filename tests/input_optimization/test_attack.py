"""Attacks by the gradient: closed forms, an independent PGD pixel by pixel, budgets kept."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from lectures_jax import input_optimization as io
from tests.input_optimization import attacked

KEY = jax.random.key(0)
X = attacked.make_inputs()
NETWORK = attacked.make_network()
LABELS = attacked.answers(NETWORK, X)
BUDGETS = {"linf": 0.05, "l2": 0.2, "l1": 0.5}

# Two classes, whose logits differ by a plane's equation.
WEIGHTS = np.random.default_rng(1).normal(size=(12, 2)).astype(np.float32)
GAP = (WEIGHTS[:, 0] - WEIGHTS[:, 1]).astype(np.float64)
PLANE = Partial(attacked.linear, jnp.asarray(WEIGHTS))


def attacks(epsilon, *, x=X, network=NETWORK, labels=LABELS, targeted=False):
    """Each attack in L∞, by name."""
    given, aim = (network, x, labels), {"epsilon": epsilon, "targeted": targeted}
    small = {"step_size": 0.06, "steps": 8}
    return {
        "fgsm": lambda: io.fgsm(*given, **aim),
        "bim": lambda: io.bim(*given, **aim, **small),
        "mi_fgsm": lambda: io.mi_fgsm(*given, **aim, **small),
        "pgd": lambda: io.pgd(KEY, *given, **aim, **small, restarts=2),
        "apgd": lambda: io.apgd(KEY, *given, **aim, steps=25),
    }


@pytest.mark.parametrize("name", list(attacks(0.0)))
@pytest.mark.parametrize("targeted", [False, True])
def test_on_a_linear_network_the_corner_of_the_ball_is_best(name, targeted):
    x = np.full((1, 12), 0.5, np.float32)
    label = np.array([1 if targeted else 0], np.int32)
    result = attacks(0.1, x=x, network=PLANE, labels=label, targeted=targeted)[name]()
    np.testing.assert_allclose(result, x - 0.1 * np.sign(GAP), atol=1e-6)


@pytest.mark.parametrize("name", list(attacks(0.0)))
def test_a_linear_network_is_fooled_from_the_epsilon_on_that_the_formula_says(name):
    x = attacked.make_inputs(3, count=20) * 0.4 + 0.3  # far from 0 and 1
    labels = attacked.answers(PLANE, x)
    least = np.abs(x @ GAP) / np.abs(GAP).sum()
    assert least.max() < 0.2
    for factor, fooled in [(0.999, False), (1.001, True)]:
        epsilon = jnp.asarray(factor * least, jnp.float32)
        result = attacks(epsilon, x=x, network=PLANE, labels=labels)[name]()
        np.testing.assert_array_equal(attacked.answers(PLANE, result) != labels, fooled)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_in_double_precision_pgd_equals_an_independent_one_at_every_pixel(norm, targeted):
    with jax.enable_x64(True):
        network = attacked.make_network(2, inputs=48, dtype=np.float64)
        x = attacked.make_inputs(4, count=12, shape=(4, 4, 3), dtype=np.float64)
        labels = (attacked.answers(network, x) + targeted) % attacked.CLASSES
        options = {"steps": 40, "norm": norm, "targeted": targeted}
        options |= {"epsilon": 8 / 255, "step_size": 2 / 255}
        if norm == "l2":
            options |= {"epsilon": 0.5, "step_size": 0.1}
        result = io.pgd(KEY, network, x, labels, random_start=False, **options)
        result = np.asarray(result)
        assert result.dtype == np.float64
        params = jax.tree.map(np.asarray, network.args[0])
        expected = attacked.hand_pgd(params, x.reshape(12, -1), labels, **options)
    assert np.abs(result.reshape(12, -1) - expected).max() < 1e-9
    assert np.abs(result - x).max() > 0.01


def test_momentum_sums_the_gradients_divided_by_their_size():
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), NETWORK.args[0])
    at, velocity = X.astype(np.float64), np.zeros(X.shape)
    best, lowest = at.copy(), np.full(len(X), np.inf)
    for number in range(6):
        margin = attacked.hand_margin(attacked.hand_logits(params, at), LABELS, False)
        best[margin < lowest] = at[margin < lowest]
        lowest = np.minimum(lowest, margin)
        if number < 5:
            gradient = attacked.hand_gradient(params, at, LABELS)
            velocity = 0.9 * velocity + gradient / np.abs(gradient).sum(axis=1, keepdims=True)
            at = np.clip(at + 0.02 * np.sign(velocity), np.maximum(X - 0.05, 0), X + 0.05)
            at = np.minimum(at, 1)
    options = {"epsilon": 0.05, "step_size": 0.02, "steps": 5, "momentum": 0.9}
    np.testing.assert_allclose(io.mi_fgsm(NETWORK, X, LABELS, **options), best, atol=1e-6)


@pytest.mark.parametrize("name", list(attacks(0.0)))
def test_no_result_leaves_its_own_budget_or_the_range(name):
    epsilon = np.linspace(0, 0.2, len(X))
    result = attacks(epsilon)[name]()
    assert np.all(attacked.sizes(result, X, "linf") <= epsilon)
    assert np.all(attacked.sizes(result, X, "linf")[1:] > 0.9 * epsilon[1:])
    chex.assert_trees_all_equal(result[0], X[0])
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_larger_ball_fools_more_and_a_ball_of_radius_0_nothing(norm):
    options = {"steps": 20, "norm": norm, "restarts": 2}
    short = []
    for scale in (0, 1, 3):
        epsilon = scale * BUDGETS[norm]
        result = io.pgd(
            KEY, NETWORK, X, LABELS, epsilon=epsilon, step_size=BUDGETS[norm] / 4, **options
        )
        assert np.all(attacked.sizes(result, X, norm) <= epsilon)
        short.append(attacked.hand_margin(np.asarray(NETWORK(result)), LABELS, False))
        if scale == 0:
            chex.assert_trees_all_equal(np.asarray(result), X)
    assert np.all(short[1] < short[0])
    assert np.all(short[2] < short[1])
    assert np.mean(short[2] < 0) > 0.8


def test_more_restarts_and_more_steps_are_never_worse():
    def margins(**options):
        result = io.pgd(KEY, NETWORK, X, LABELS, epsilon=0.1, step_size=0.03, **options)
        return attacked.hand_margin(np.asarray(NETWORK(result)), LABELS, False)

    few = margins(steps=2)
    assert np.all(margins(steps=6) <= few)
    assert np.all(margins(steps=2, restarts=4) <= few)
    assert np.any(margins(steps=2, restarts=4) < few)


@pytest.mark.parametrize("name", list(attacks(0.0)))
def test_the_result_for_an_example_is_the_same_in_any_batch(name):
    whole = np.asarray(attacks(0.1)[name]())
    for part in (slice(2, 3), slice(3, 7)):
        alone = attacks(0.1, x=X[part], labels=LABELS[part])[name]()
        np.testing.assert_allclose(alone, whole[part], atol=1e-6)


def test_examples_may_have_keys_of_their_own():
    keys = jax.random.split(KEY, len(X))
    options = {"epsilon": 0.1, "step_size": 0.03, "steps": 0}
    whole = io.pgd(keys, NETWORK, X, LABELS, **options)
    alone = io.pgd(keys[3], NETWORK, X[3:4], LABELS[3:4], **options)
    np.testing.assert_allclose(alone[0], whole[3], atol=1e-7)
    moves = np.asarray(whole) - X
    assert np.abs(moves[0] - moves[1]).max() > 0.01
    shared = np.asarray(io.pgd(KEY, NETWORK, 0 * X + 0.5, LABELS, **options))
    np.testing.assert_array_equal(shared, np.broadcast_to(shared[:1], shared.shape))


def test_batches_budgets_labels_and_weights_are_arguments_of_one_program():
    traces = []

    class Network(nnx.Module):
        def __init__(self, seed):
            self.dense = nnx.Linear(12, 5, rngs=nnx.Rngs(seed))

        def __call__(self, x):
            traces.append(1)
            return self.dense(x)

    def run(seed):
        network, x = Network(seed), attacked.make_inputs(seed)
        for attack in attacks(0.1 * seed, x=x, network=network, labels=LABELS).values():
            attack()

    run(0)
    before = len(traces)
    run(1)
    run(2)
    assert len(traces) == before


def test_a_flat_network_leaves_no_nan():
    flat = Partial(attacked.linear, jnp.zeros((12, 5)))
    for norm, epsilon in BUDGETS.items():
        options = {"epsilon": epsilon, "step_size": epsilon / 2, "steps": 3, "norm": norm}
        result = io.pgd(KEY, flat, X, LABELS, **options, random_start=False)
        chex.assert_trees_all_equal(np.asarray(result), X)


def test_the_looks_of_auto_pgd_are_those_of_the_paper():
    from lectures_jax.input_optimization.attack_adaptive import _checkpoints

    assert _checkpoints(100) == [22, 41, 58, 70, 80, 87, 93, 99]


def test_auto_pgd_comes_as_far_as_pgd_with_a_tuned_step():
    network = attacked.make_network(5)
    x = attacked.make_inputs(5, count=40)
    labels = attacked.answers(network, x)

    def accuracy(result):
        return np.mean(attacked.answers(network, result) == labels)

    for norm, epsilon in {"linf": 0.08, "l2": 0.2}.items():
        options = {"epsilon": epsilon, "norm": norm}
        steps = {"step_size": epsilon / 5, "steps": 60, "restarts": 3}
        tuned = accuracy(io.pgd(KEY, network, x, labels, **options, **steps))
        for loss in ("ce", "dlr"):
            result = io.apgd(KEY, network, x, labels, **options, steps=60, loss=loss)
            assert np.all(attacked.sizes(result, x, norm) <= epsilon)
            assert accuracy(result) <= tuned + 0.025  # one example
        assert 0 < tuned < 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -0.1}, r"epsilon must be at least 0, got -0.1"),
        ({"epsilon": np.ones(3)}, r"epsilon must be a number or one for each of 8"),
        ({"step_size": -1.0}, r"step_size must be at least 0"),
        ({"labels": LABELS + 5}, r"labels must be in \[0, 4\], got \d"),
        ({"labels": LABELS[:3]}, r"labels must be 8 integers, one for each example"),
        ({"labels": X[:, 0]}, r"labels must be 8 integers, .* got float32"),
        ({"x": 255 * X}, r"x must be floats in \[0, 1\], .* got values from"),
        ({"x": (255 * X).astype(np.uint8)}, r"got uint8: x / 255 makes floats"),
        ({"x": X[0]}, r"x must be floats in \[0, 1\], .* got shape \(12,\)"),
        ({"norm": "l3"}, r"norm must be one of linf, l2, l1, got 'l3'"),
        ({"steps": -1}, r"steps must be at least 0, got -1"),
        ({"restarts": 0}, r"restarts must be at least 1, got 0"),
        ({"logits_fn": lambda x: x[:, 0]}, r"logits_fn must give logits of shape \(8, classes\)"),
    ],
)
def test_what_is_wrong_with_an_argument_is_one_line(change, message):
    given = {"logits_fn": NETWORK, "x": X, "labels": LABELS, "epsilon": 0.1, "step_size": 0.1}
    pgd = inspect.unwrap(io.pgd)  # the tests' type checks would be first
    with pytest.raises(ValueError, match=message) as error:
        pgd(KEY, **({**given, "steps": 1} | change))
    assert "\n" not in str(error.value)


def test_gray_images_for_a_network_of_color_images_are_refused_by_the_network():
    from lectures_jax.models.cnn import Cnn

    network = nnx.eval_shape(lambda: Cnn(3, channels=((2,),), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="makes color images of gray ones"):
        io.fgsm(network, np.zeros((1, 8, 8, 1), np.float32), np.zeros(1, np.int32), epsilon=0.1)
