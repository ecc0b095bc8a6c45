"""Attacks by scores: what they may see, how often they ask, and what they find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import input_optimization as io
from tests.input_optimization import attacked

KEY = jax.random.key(0)
SHAPE = (6, 6, 2)
X = attacked.make_inputs(count=12, shape=SHAPE)
NETWORK = attacked.make_network(inputs=72)
LABELS = attacked.answers(NETWORK, X)
ATTACKS = {
    "square": lambda *a, **k: io.square_attack(*a, **{"queries": 200} | k),
    "square, l2": lambda *a, **k: io.square_attack(*a, **{"queries": 200, "norm": "l2"} | k),
    "nes": lambda *a, **k: io.nes_attack(*a, **{"step_size": 0.03, "steps": 12} | k),
}
EPSILONS = {"square": 0.15, "square, l2": 0.8, "nes": 0.15}


@pytest.mark.parametrize("name", list(ATTACKS))
@pytest.mark.parametrize("targeted", [False, True])
def test_most_are_fooled_within_the_budget(name, targeted):
    labels = (LABELS + targeted) % attacked.CLASSES
    epsilon = np.linspace(0.9, 1.1, len(X)) * EPSILONS[name]
    result = ATTACKS[name](KEY, NETWORK, X, labels, epsilon=epsilon, targeted=targeted)
    right = attacked.answers(NETWORK, result.inputs) == labels
    np.testing.assert_array_equal(result.fooled, right if targeted else ~right)
    assert np.mean(result.fooled) > 0.7
    norm = "l2" if "l2" in name else "linf"
    assert np.all(attacked.sizes(result.inputs, X, norm) <= epsilon)
    assert result.inputs.min() >= 0
    assert result.inputs.max() <= 1


@pytest.mark.parametrize("name", list(ATTACKS))
def test_a_ball_of_radius_0_leaves_every_bit_and_all_queries_are_used(name):
    result = ATTACKS[name](KEY, NETWORK, X, LABELS, epsilon=0)
    np.testing.assert_array_equal(result.inputs, X)
    assert not np.any(result.fooled)
    np.testing.assert_array_equal(result.queries, 12 * 51 if name == "nes" else 200)


def asked(function, images):
    """A network that counts the images that it is asked about, on the host."""
    counts = []

    def network(x):
        jax.debug.callback(lambda: counts.append(len(x)))
        return function(x)

    return network, counts


@pytest.mark.parametrize("name", list(ATTACKS))
def test_queries_are_the_images_that_the_network_was_asked_about(name):
    network, counts = asked(NETWORK, X)
    result = ATTACKS[name](KEY, network, X[:1], LABELS[:1], epsilon=0.1)
    jax.effects_barrier()
    assert sum(counts) == int(result.queries[0])


@pytest.mark.parametrize("name", list(ATTACKS))
def test_the_result_for_an_example_is_the_same_in_any_batch(name):
    whole = ATTACKS[name](KEY, NETWORK, X, LABELS, epsilon=EPSILONS[name])
    alone = ATTACKS[name](KEY, NETWORK, X[4:6], LABELS[4:6], epsilon=EPSILONS[name])
    np.testing.assert_allclose(alone.inputs, whole.inputs[4:6], atol=1e-6)
    np.testing.assert_array_equal(alone.queries, whole.queries[4:6])


def test_estimated_gradients_point_where_the_gradient_does():
    """On a linear network one step of many samples takes almost every sign of the gradient."""
    network = attacked.make_linear(inputs=72)
    x = np.full((1, 72), 0.5, np.float32)
    labels = attacked.answers(network, x)
    options = {"epsilon": 0.01, "step_size": 0.01, "steps": 1, "samples": 2000}
    result = io.nes_attack(KEY, network, x, labels, **options).inputs
    expected = io.fgsm(network, x, labels, epsilon=0.01)
    assert np.mean(np.isclose(result, expected)) > 0.9


# Evolution.


def brightness_of_the_left(x):
    return jnp.mean(x[:, :, :3], axis=(1, 2, 3)) - jnp.mean(x[:, :, 3:], axis=(1, 2, 3))


def test_evolution_raises_the_score_and_never_lowers_it():
    first = attacked.make_inputs(7, count=20, shape=SHAPE)
    result = io.evolve(KEY, brightness_of_the_left, first, generations=150)
    assert np.all(np.diff(result.history) >= 0)
    assert result.history[0] == pytest.approx(np.max(brightness_of_the_left(first)))
    assert result.history[-1] > 0.9  # of 1, which is black and white
    np.testing.assert_allclose(result.scores, brightness_of_the_left(result.inputs), atol=1e-6)
    assert np.all(np.diff(result.scores) <= 0)
    assert result.inputs.min() >= 0
    assert result.inputs.max() <= 1


def test_evolution_counts_its_queries():
    network, counts = asked(brightness_of_the_left, X)
    result = io.evolve(KEY, network, X, generations=5, elite=3)
    jax.effects_barrier()
    assert sum(counts) == result.queries == 12 + 5 * 9


def test_without_mutation_children_have_the_pixels_of_their_parents():
    result = io.evolve(KEY, brightness_of_the_left, X, generations=20, strength=0.0)
    pixels = np.asarray(result.inputs)[:, None] == X[None]
    assert np.all(pixels.all(axis=-1).any(axis=1))
    assert not np.any(np.all(np.asarray(result.inputs[0]) == X, axis=(1, 2, 3)))


@pytest.mark.parametrize("pixels", [1, 3])
def test_only_so_many_pixels_change(pixels):
    options = {"pixels": pixels, "population": 30, "generations": 20}
    result = io.few_pixel_attack(KEY, NETWORK, X, LABELS, **options)
    changed = np.any(np.asarray(result.inputs) != X, axis=-1).sum(axis=(1, 2))
    assert changed.max() <= pixels
    fooled = attacked.answers(NETWORK, result.inputs) != LABELS
    np.testing.assert_array_equal(result.fooled, fooled)
    assert np.mean(fooled) >= {1: 0.2, 3: 0.6}[pixels]
    assert np.all(np.asarray(result.queries)[~fooled] == 30 * 21)
    assert np.all(np.asarray(result.queries) % 30 == 0)
    alone = io.few_pixel_attack(KEY, NETWORK, X[5:6], LABELS[5:6], **options)
    np.testing.assert_allclose(alone.inputs[0], result.inputs[5], atol=1e-6)


def test_one_pixel_finds_what_trying_all_places_finds():
    """A network of which one pixel decides: the search must find it among 36."""
    network = lambda x: jnp.stack([x[:, 4, 2, 0], jnp.full(len(x), 0.5)], axis=1)
    x = np.full((1, 6, 6, 1), 0.2, np.float32)
    result = io.few_pixel_attack(KEY, network, x, np.array([1]), population=50)
    assert result.fooled[0]
    assert np.argwhere(np.asarray(result.inputs[0, ..., 0]) != x[0, ..., 0]).tolist() == [[4, 2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[:1]}, "x must have the shape .* population of 2 at least, got"),
        ({"elite": 12}, r"elite must be in \[1, 11\], got 12"),
        ({"mutations": 1.5}, r"mutations must be in \[0, 1\], got 1.5"),
        ({"score_fn": NETWORK}, r"score_fn must give 12 scores, one for each, got shape \(12, 5\)"),
        ({"x": 2 * X}, r"x must be floats in \[0, 1\]"),
    ],
)
def test_what_is_wrong_with_an_argument_of_evolution_is_one_line(change, message):
    given = {"score_fn": brightness_of_the_left, "x": X, "generations": 1} | change
    with pytest.raises(ValueError, match=message):
        io.evolve(KEY, **given)
