"""The Square attack: sizes, and in L2 a query worked pixel by pixel, and how near it comes."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import input_optimization as io
from lectures_jax.input_optimization.square import (
    _bumps,
    _square_in_l2,
    _square_sides,
    _tiles,
    _two_squares,
)
from tests.input_optimization import attacked

KEY = jax.random.key(0)
SHAPE = (9, 8, 2)
X = attacked.make_inputs(count=6, shape=SHAPE)
NETWORK = attacked.make_network(inputs=9 * 8 * 2)
LABELS = attacked.answers(NETWORK, X)


def hand_bump(h1, h2):
    """Eq. 2 of the paper, which counts rows and columns from 1."""
    n = max(h1, h2) // 2
    bump = np.zeros((h1, h2))
    for r in range(1, h1 + 1):
        for s in range(1, h2 + 1):
            rings = n - max(abs(r - h1 // 2 - 1), abs(s - h2 // 2 - 1))
            bump[r - 1, s - 1] = sum(1 / (n + 1 - k) ** 2 for k in range(rings + 1))
    return bump


def hand_square(side):
    return np.concatenate([hand_bump(side // 2, side), -hand_bump(side - side // 2, side)])


def hand_query(image, x, epsilon, drawn, eta):
    """Algorithm 3 for one image, channel by channel, before the range cuts."""
    nu = (image - x).astype(np.float64)
    first, second = (np.asarray(mask)[..., 0] for mask in drawn[:2])
    unused = max(epsilon**2 - np.sum(nu**2), 0)
    result = nu.copy()
    for channel in range(x.shape[-1]):
        own = nu[..., channel]
        change = eta[..., channel] / np.linalg.norm(eta[..., channel])
        change = change + own * first / max(np.linalg.norm(own * first), 1e-30)
        available = np.sqrt(np.sum(own[first | second] ** 2) + unused / x.shape[-1])
        result[second, channel] = 0
        result[first, channel] = (change * available / np.linalg.norm(change))[first]
    return x + result


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8])
def test_bumps_are_those_of_the_formula(side):
    bumps = _bumps(*jnp.indices((side, side)), side, jnp.float32)
    np.testing.assert_allclose(bumps, hand_square(side), atol=1e-6)


def test_a_bump_of_five_by_five_worked_by_hand():
    """Rings around the center: 1 + 1/4 + 1/9, 1/4 + 1/9, 1/9; the half above it has two rows."""
    bumps = np.asarray(_bumps(*jnp.indices((5, 5)), 5, jnp.float32))
    np.testing.assert_allclose(bumps[1], [1 / 9, 13 / 36, 49 / 36, 13 / 36, 1 / 9], rtol=1e-5)
    np.testing.assert_allclose(bumps[3], -bumps[1], rtol=1e-5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("side", [3, 4, 6])
def test_a_query_in_l2_is_algorithm_3(side, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.3, 0.7, SHAPE).astype(np.float32)
    image = (x + rng.uniform(-0.01, 0.01, SHAPE)).astype(np.float32)
    key, epsilon = jax.random.key(seed), 0.3
    drawn = _two_squares(SHAPE, jnp.array(side), jnp.float32, key)
    rows, columns, _ = np.nonzero(np.asarray(drawn.first))
    assert len(rows) == np.sum(drawn.second) == side**2
    eta = np.zeros(SHAPE)
    corner = np.s_[rows[0] : rows[0] + side, columns[0] : columns[0] + side]
    change = np.asarray(drawn.change)
    turned = np.sign(change[rows[0], columns[0] + side - 1]) == np.sign(
        -change[rows[0], columns[0]]
    )
    square = hand_square(side).T if turned.all() else hand_square(side)
    eta[corner] = square[..., None] * np.sign(change[rows[0], columns[0]])
    np.testing.assert_allclose(change, eta / np.linalg.norm(eta[..., 0]), atol=1e-6)
    given = jnp.asarray(image[None]), jnp.asarray(x[None]), jnp.full((1, 1, 1, 1), epsilon)
    result = np.asarray(_square_in_l2(key, jnp.array(side), *given))[0]
    expected = hand_query(image, x, epsilon, drawn, eta)
    np.testing.assert_allclose(result, expected, atol=2e-6)
    assert np.linalg.norm(result - x) == pytest.approx(epsilon, rel=1e-5)


def test_squares_are_turned_half_of_the_time_and_reach_every_edge():
    def draws(key):
        return _two_squares(SHAPE, jnp.array(4), jnp.float32, key)

    drawn = jax.vmap(draws)(jax.random.split(KEY, 400))
    upright = np.ptp(np.sign(drawn.change), axis=2).max(axis=(1, 2)) < 2  # of one sign in each row
    assert 0.4 < np.mean(upright) < 0.6
    for mask in drawn[:2]:
        assert np.all(np.any(mask, axis=0))
    assert np.mean(np.all(drawn.first == drawn.second, axis=(1, 2, 3))) < 0.1


@pytest.mark.parametrize("shape", [(11, 12, 3), (5, 9, 1), (1, 4, 2), (28, 28, 1)])
def test_the_beginning_in_l2_is_tiles_of_bumps_and_dents(shape):
    change = np.asarray(_tiles(shape, jnp.float32, KEY), np.float64)
    assert np.sum(change**2) == pytest.approx(1, rel=1e-5)
    side = max(min(shape[:2]) // 5, 1)
    square = hand_square(side)
    known = [sign * form for sign in (1, -1) for form in (square, square.T)]
    top, left = (size % side // 2 for size in shape[:2])
    inside = change[top : top + shape[0] // side * side, left : left + shape[1] // side * side]
    assert np.sum(inside**2) == pytest.approx(1, rel=1e-5)
    scale = np.abs(inside).max() / np.abs(square).max()
    for row in range(0, inside.shape[0], side):
        for column in range(0, inside.shape[1], side):
            tile = inside[row : row + side, column : column + side] / scale
            for channel in np.moveaxis(tile, -1, 0):
                assert min(np.abs(channel - form).max() for form in known) < 1e-5


def hand_search(params, x, label, *, epsilon, queries, rng):
    """The whole search for one image, with draws of its own; returns the margin at its end."""

    def shortfall(image):
        logits = attacked.hand_logits(params, image.reshape(1, -1))
        return attacked.hand_margin(logits, label[None], False)[0]

    best = x + np.asarray(_tiles(SHAPE, jnp.float32, jax.random.key(rng.integers(100)))) * epsilon
    lowest = shortfall(best)
    for side in _square_sides(queries, *SHAPE[:2], least=3)[1:]:
        masks, eta = np.zeros((2, *SHAPE[:2], 1), bool), np.zeros(SHAPE)
        corners = rng.integers(0, np.array(SHAPE[:2]) - side + 1, (2, 2))
        places = [np.s_[r : r + side, c : c + side] for r, c in corners]
        masks[0][places[0]] = masks[1][places[1]] = True
        square = hand_square(side) if rng.random() < 0.5 else hand_square(side).T
        eta[places[0]] = square[..., None] * rng.choice([-1, 1], SHAPE[2])
        image = hand_query(best, x, epsilon, masks, eta)
        if (margin := shortfall(image)) < lowest:
            best, lowest = image, margin
    return lowest


def test_it_comes_as_far_as_a_search_in_plain_numpy():
    """Shares of what the gradient gains, at a radius at which nothing fools the network."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), NETWORK.args[0])
    x = 0.4 + 0.2 * attacked.make_inputs(5, count=12, shape=SHAPE)
    labels = attacked.answers(NETWORK, x)
    options, queries = {"epsilon": 0.02, "norm": "l2"}, 400

    def margins(images):
        return attacked.hand_margin(np.asarray(NETWORK(jnp.asarray(images))), labels, False)

    steepest = io.pgd(KEY, NETWORK, x, labels, **options, step_size=0.006, steps=20)
    gain = np.mean(margins(x) - margins(steepest))
    keys = jax.random.split(KEY, len(x))
    result = io.square_attack(keys, NETWORK, x, labels, **options, queries=queries)
    assert not np.any(result.fooled)
    ours = np.mean(margins(x) - margins(result.inputs)) / gain
    rng = np.random.default_rng(0)
    reached = [
        hand_search(params, image, label, epsilon=0.02, queries=queries, rng=rng)
        for image, label in zip(x.astype(np.float64), labels, strict=True)
    ]
    by_hand = np.mean(margins(x) - reached) / gain
    assert ours == pytest.approx(by_hand, abs=0.05)
    assert 0.5 < ours < 1


def test_squares_shrink_as_in_the_paper():
    sides = _square_sides(10_000, 224, 224, least=1)
    assert sides[0] == round(np.sqrt(0.8) * 224)
    assert sides[11] == round(np.sqrt(0.4) * 224)
    assert sides[9000] == round(np.sqrt(0.8 / 2**9) * 224)
    assert np.all(np.diff(sides) <= 0)
    assert _square_sides(5, 1, 1, least=1).tolist() == [1] * 5
    assert _square_sides(10_000, 8, 8, least=3)[-1] == 3
    assert _square_sides(5, 2, 3, least=3).tolist() == [1] * 5


def test_only_images_have_squares():
    with pytest.raises(ValueError, match=r"x must be images .*, got \(6, 144\)"):
        io.square_attack(KEY, NETWORK, X.reshape(6, -1), LABELS, epsilon=0.1)
    with pytest.raises(ValueError, match="queries must be at least 1, got 0"):
        io.square_attack(KEY, NETWORK, X, LABELS, epsilon=0.1, queries=0)
    with pytest.raises(ValueError, match="norm must be one of linf, l2, got 'l1'"):
        inspect.unwrap(io.square_attack)(KEY, NETWORK, X, LABELS, epsilon=0.1, norm="l1")
