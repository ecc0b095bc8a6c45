import numpy as np
import pytest

from lectures_jax import data, report
from lectures_jax.recipes.evaluator import Evaluator, evaluator
from lectures_jax.train.session import Session


@pytest.fixture(scope="module")
def scorer() -> Evaluator:
    """An evaluator of the digits that has hardly been trained."""
    return evaluator("digits", None, None, steps=2, most=64)


def test_it_is_trained_once_for_the_same_data(scorer):
    assert evaluator("digits", None, None, steps=2, most=64) is scorer
    assert scorer.count == 64


def test_features_of_the_training_images_are_white(scorer):
    images = data.digits(split="train")["image"]
    chosen = np.random.default_rng(0).permutation(len(images))[:64]
    features = scorer.features(images[chosen])
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    assert np.linalg.matrix_rank(features) > 32


def test_scores_have_the_names_that_reports_show(scorer):
    images = data.digits(split="test")["image"][:64]
    scores = scorer.scores(images)
    assert set(scores) == set(report.SAMPLE_SCORES)
    assert 0 <= scorer.accuracy <= 1


def test_noise_is_further_from_the_images_than_other_images_are(scorer):
    images = data.digits(split="test")["image"][:64]
    noise = np.random.default_rng(0).uniform(size=images.shape).astype(np.float32)
    assert scorer.scores(noise)["frechet"] > scorer.scores(images)["frechet"]


def test_copies_are_given_away_by_their_neighbors(scorer):
    ratios = {name: scores["neighbor_ratio"] for name, scores in scorer.baselines.items()}
    assert set(ratios) == {
        *("real against real", "copies with noise", "Gaussian mixture", "probabilistic PCA"),
    }
    assert ratios["copies with noise"] < 0.5
    assert ratios["copies with noise"] < min(
        value for name, value in ratios.items() if name != "copies with noise"
    )


def test_shares_of_the_classes_add_up_to_one(scorer):
    shares = scorer.class_shares(data.digits(split="test")["image"][:64])
    assert shares.shape == (10,)
    assert shares.sum() == pytest.approx(1)


def test_a_folder_keeps_its_training(tmp_path, monkeypatch):
    """Built again, as another process does, it takes no step and has the same features."""
    images = data.digits(split="test")["image"][:64]
    splits = data.read_classified("digits")
    first = Evaluator(splits, steps=2, most=64, out=tmp_path).features(images)
    monkeypatch.setattr(Session, "advance", lambda *_: pytest.fail("a step was taken"))
    again = Evaluator(splits, steps=2, most=64, out=tmp_path).features(images)
    np.testing.assert_array_equal(again, first)
