"""Scores of disentanglement: perfect and useless codes, values by hand, and rotations between."""

from functools import partial

import jax
import numpy as np
import pytest

from lectures_jax import data, metrics

RNG = np.random.default_rng(0)
FACTORS = data.factor_sprites()["factors"]
PERFECT = FACTORS[:, [2, 0, 3, 1]] * np.float32([-1, 5, 0.1, 2]) + np.float32(0.5)
KEY = jax.random.key(0)
SCORES = {
    "mig": metrics.mutual_information_gap,
    "sap": metrics.separated_attributes,
    "factor_vae": partial(metrics.factor_vae_score, KEY),
    "disentanglement": lambda codes, factors: metrics.dci(KEY, codes, factors).disentanglement,
    "completeness": lambda codes, factors: metrics.dci(KEY, codes, factors).completeness,
}


@pytest.mark.parametrize("name", ["mig", "sap", "factor_vae"])
def test_one_unit_for_each_factor_scores_one(name):
    np.testing.assert_allclose(SCORES[name](PERFECT, FACTORS), 1, atol=1e-6)


def test_forests_find_the_unit_of_each_factor():
    result = metrics.dci(KEY, PERFECT, FACTORS)
    np.testing.assert_allclose(result[:2], [1, 1], atol=0.01)
    assert result.informativeness == 1
    assert result.importance.argmax(axis=0).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize(("name", "most"), [("mig", 0.05), ("sap", 0.02)])
def test_codes_that_know_nothing_score_nothing(name, most):
    codes = RNG.normal(size=(len(FACTORS), 4)).astype(np.float32)
    assert 0 <= SCORES[name](codes, FACTORS) < most


@pytest.mark.parametrize("name", ["mig", "sap"])
def test_two_units_that_know_the_same_score_nothing(name):
    np.testing.assert_allclose(SCORES[name](np.tile(PERFECT, 2), FACTORS), 0, atol=1e-9)


@pytest.mark.parametrize("name", ["mig", "sap", "disentanglement", "completeness"])
def test_a_rotation_mixes_what_was_apart(name):
    rotation = np.linalg.qr(RNG.normal(size=(4, 4)))[0].astype(np.float32)
    standard = (PERFECT - PERFECT.mean(axis=0)) / PERFECT.std(axis=0)
    assert SCORES[name](standard @ rotation, FACTORS) < 0.6 * SCORES[name](PERFECT, FACTORS)


def test_the_gap_by_hand():
    # unit 1 equals the factor: I = log 2 = H; unit 2 agrees in 3 of 4 cases
    factors = np.array([[0], [0], [1], [1]])
    codes = np.float32([[0, 0], [0, 0], [1, 0], [1, 1]])
    joint, apart = np.array([0.5, 0.25, 0.25]), np.array([0.375, 0.375, 0.125])
    second = np.sum(joint * np.log(joint / apart)) / np.log(2)
    np.testing.assert_allclose(SCORES["mig"](codes, factors), 1 - second, rtol=1e-6)
    np.testing.assert_allclose(SCORES["sap"](codes, factors), 1 - 1 / 3, rtol=1e-6)  # R² by hand


@pytest.mark.parametrize(
    ("importance", "expected"),
    [
        (np.eye(3), (1, 1)),
        (np.ones((3, 3)), (0, 0)),
        (np.array([[1.0, 1], [0, 0]]), (0, 1)),  # one unit does everything: complete, entangled
        (np.array([[1.0, 0], [1, 0], [0, 2]]), (1, 1 - 0.5 * np.log(2) / np.log(3))),
        (np.zeros((2, 2)), (0, 0)),
    ],
)
def test_importances_by_hand(importance, expected):
    np.testing.assert_allclose(metrics.dci_of_importance(importance), expected, atol=1e-9)


def test_votes_are_a_coin_where_one_unit_is_all_there_is():
    one = np.column_stack([RNG.normal(size=len(FACTORS)), np.zeros(len(FACTORS))])
    assert 0.15 < SCORES["factor_vae"](one.astype(np.float32), FACTORS) < 0.35  # of four factors


@pytest.mark.parametrize("name", SCORES)
def test_a_single_unit_has_no_second(name):
    with pytest.raises(ValueError, match="codes must be"):
        SCORES[name](PERFECT[:, :1], FACTORS)


def test_sprites_are_every_combination_once():
    sprites = data.factor_sprites()
    assert len(np.unique(sprites["factors"], axis=0)) == len(sprites["image"]) == 2 * 4 * 8 * 8
    assert sprites["image"].shape == (512, 16, 16, 1)
    square = sprites["image"][0, ..., 0]  # half side 2 around (4.5, 4.5): 16 cells' worth
    np.testing.assert_allclose(square.sum(), 16)
    np.testing.assert_allclose(square[3:6, 3:6], 1)


def test_a_sprite_moves_by_one_cell_per_level():
    sprites = data.factor_sprites()
    images = sprites["image"].reshape(2, 4, 8, 8, 16, 16)
    np.testing.assert_array_equal(images[1, 2, 4, 5], np.roll(images[1, 2, 3, 5], 1, axis=1))
    np.testing.assert_array_equal(images[1, 2, 4, 5], np.roll(images[1, 2, 4, 4], 1, axis=0))


@pytest.mark.parametrize("name", ["mig", "sap"])
def test_a_factor_of_one_level_tells_nothing_and_does_not_count(name):
    codes = RNG.normal(size=(200, 3)).astype(np.float32)
    assert SCORES[name](codes, np.full((200, 2), 7)) == 0
    constant = np.full((len(FACTORS), 1), 7)
    beside = np.concatenate([constant, FACTORS, constant], axis=1)
    np.testing.assert_allclose(SCORES[name](PERFECT, beside), 1, atol=1e-6)
    np.testing.assert_allclose(SCORES["factor_vae"](PERFECT, beside), 1, atol=1e-6)


def test_forests_leave_a_factor_of_one_level_out():
    constant = np.full((len(FACTORS), 1), 7)
    beside = np.concatenate([constant, FACTORS], axis=1)
    expected, result = metrics.dci(KEY, PERFECT, FACTORS), metrics.dci(KEY, PERFECT, beside)
    np.testing.assert_array_equal(result[:3], expected[:3])
    np.testing.assert_array_equal(result.importance[:, 0], 0)
    np.testing.assert_array_equal(result.importance[:, 1:], expected.importance)
    nothing = metrics.dci(KEY, PERFECT, constant)
    assert nothing[:3] == (0, 0, 0)
    np.testing.assert_array_equal(nothing.importance, np.zeros((4, 1)))


@pytest.mark.parametrize("number", [0.0, 0.1, 1e4])
def test_collapsed_codes_have_the_score_of_chance(number):
    collapsed = np.full_like(PERFECT, number)
    assert SCORES["factor_vae"](collapsed, FACTORS) == 1 / FACTORS.shape[1]
    assert SCORES["factor_vae"](collapsed, FACTORS[:, :1] * 0) == 0
    np.testing.assert_allclose(SCORES["mig"](collapsed, FACTORS), 0, atol=1e-12)
    assert SCORES["sap"](collapsed, FACTORS) == 0
    assert SCORES["disentanglement"](collapsed, FACTORS) == 0
    assert SCORES["completeness"](collapsed, FACTORS) == 0


def test_collapsed_units_beside_others_are_not_chosen():
    one = np.full_like(PERFECT, 0.1)
    one[:, 1] = PERFECT[:, 1]
    assert SCORES["sap"](one, FACTORS) == pytest.approx(0.25)  # one factor of four


@pytest.mark.parametrize("name", SCORES)
def test_codes_that_are_not_numbers_are_refused(name):
    codes = PERFECT.copy()
    codes[3, 1] = np.nan
    with pytest.raises(ValueError, match="codes must be finite, got 1 that are not"):
        SCORES[name](codes, FACTORS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.mutual_information_gap(PERFECT, FACTORS, bins=0), "bins must be at least"),
        (lambda: metrics.dci(KEY, PERFECT, FACTORS, trees=0), "trees must be at least 1, got 0"),
        (
            lambda: metrics.factor_vae_score(KEY, PERFECT, FACTORS, votes=1),
            "votes must be at",
        ),
        (
            lambda: metrics.factor_vae_score(KEY, PERFECT, FACTORS, group=0),
            "group must be at",
        ),
        (lambda: metrics.dci_of_importance(-np.ones((2, 2))), "importance must be finite and"),
    ],
)
def test_numbers_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
