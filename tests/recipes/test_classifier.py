"""A classifier trained the usual way, saved, and trained only once where it is cached."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from lectures_jax import data, weights
from lectures_jax.recipes import classifier
from lectures_jax.recipes.classifier import Settings

SETTINGS = Settings(steps=2, batch_size=4, channels=2, augmentation="shift", dropout=0.25)


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    """Eight images of 4×4 pixels in three classes."""
    images = np.random.default_rng(0).uniform(size=(8, 4, 4, 1)).astype(np.float32)
    examples = {"image": images, "labels": np.arange(8, dtype=np.int32) % 3}
    return data.Splits(examples, examples, ("a", "b", "c"), 256)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def trained(splits, run_folder) -> classifier.Trained:
    return classifier.train(SETTINGS, splits, run_folder)


@pytest.fixture
def trainings(monkeypatch, trained):
    """Settings and seed of each training that was asked for; each has the same result."""
    calls = []

    def train(settings, splits, *, seed):
        calls.append((settings, seed))
        return trained

    monkeypatch.setattr(classifier, "train", train)
    return calls


def logits(model, splits) -> np.ndarray:
    return classifier.probabilities(model, splits.test["image"])


def test_what_depends_on_the_data_has_a_default():
    digits = classifier.with_defaults(Settings(), "digits")
    assert (digits.steps, digits.augmentation) == (600, "shift")
    letters = classifier.with_defaults(Settings(), "idx")
    assert (letters.steps, letters.augmentation) == (3000, "shift")
    photographs = classifier.with_defaults(Settings(), "images")
    assert (photographs.steps, photographs.augmentation) == (3000, "flip")


def test_what_was_chosen_stays():
    assert classifier.with_defaults(SETTINGS, "idx") == SETTINGS


def test_a_number_of_steps_that_is_zero_is_no_default():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        classifier.with_defaults(Settings(steps=0), "digits")


def test_settings_without_their_defaults_are_refused(splits):
    with pytest.raises(ValueError, match="steps must be set"):
        classifier.train(Settings(), splits)


def test_the_saved_model_is_the_trained_one(splits, trained, run_folder):
    model, history = trained
    assert history[-1]["step"] == 2
    assert history[-1]["test_accuracy"] == classifier.accuracy(model, splits.test)
    saved = weights.load_model(run_folder / "model.safetensors")
    np.testing.assert_array_equal(logits(saved.model, splits), logits(model, splits))
    assert saved.kind == "classifier"
    assert saved.settings["classes"] == ["a", "b", "c"]
    assert saved.settings["image_size"] == [4, 4]
    assert saved.settings["channels"] == [[2], [4, 4], [8, 8]]


def test_the_mean_over_shifts_is_that_of_five_images(splits, trained):
    images = splits.test["image"]
    up, down, left, right = (np.zeros_like(images) for _ in range(4))
    up[:, :-1], down[:, 1:] = images[:, 1:], images[:, :-1]
    left[:, :, :-1], right[:, :, 1:] = images[:, :, 1:], images[:, :, :-1]
    each = [classifier.probabilities(trained.model, x) for x in (images, up, down, left, right)]
    mean = classifier.probabilities(trained.model, images, mean_of_shifts=True)
    np.testing.assert_allclose(mean, np.mean(each, axis=0), atol=1e-6)
    assert not np.allclose(mean, each[0], atol=1e-6)


@pytest.mark.parametrize("network", ["cnn", "resnet", "xception"])
def test_each_network_is_built_from_its_settings(splits, network):
    settings = classifier.model_settings(Settings(model=network), splits)
    shape = nnx.eval_shape(lambda: weights.build_model("classifier", settings, rngs=nnx.Rngs(0)))
    assert shape.classify.out_features == 3


def test_the_same_settings_and_images_are_trained_once(splits, tmp_path, trainings, trained):
    first = classifier.cached(SETTINGS, splits, folder=tmp_path)
    again = classifier.cached(SETTINGS, splits, folder=tmp_path)
    assert trainings == [(SETTINGS, 0)]
    np.testing.assert_array_equal(logits(first, splits), logits(trained.model, splits))
    np.testing.assert_array_equal(logits(again, splits), logits(trained.model, splits))


def changed(splits: data.Splits) -> data.Splits:
    images = splits.train["image"].copy()
    images[3, 2, 1, 0] += 0.25
    return splits._replace(train={**splits.train, "image": images})


@pytest.mark.parametrize("change", ["setting", "seed", "image", "label", "class", "version"])
def test_whatever_changes_is_trained_anew(splits, tmp_path, trainings, monkeypatch, change):
    settings, seed = SETTINGS, 0
    classifier.cached(settings, splits, folder=tmp_path)
    match change:
        case "setting":
            settings = dataclasses.replace(settings, smoothing=0.1)
        case "seed":
            seed = 1
        case "image":
            splits = changed(splits)
        case "label":
            labels = (splits.train["labels"] + 1) % 3
            splits = splits._replace(train={**splits.train, "labels": labels})
        case "class":
            splits = splits._replace(classes=("a", "b", "d"))
        case "version":
            monkeypatch.setattr("lectures_jax.__version__", "0.0.0")
    classifier.cached(settings, splits, seed=seed, folder=tmp_path)
    assert trainings[1:] == [(settings, seed)]


def test_other_test_images_change_nothing(splits, tmp_path, trainings):
    classifier.cached(SETTINGS, splits, folder=tmp_path)
    classifier.cached(SETTINGS, splits._replace(test=changed(splits).train), folder=tmp_path)
    assert len(trainings) == 1


def test_a_damaged_file_is_trained_again_with_a_warning(splits, tmp_path, trainings):
    classifier.cached(SETTINGS, splits, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.warns(RuntimeWarning, match="trained again"):
        again = classifier.cached(SETTINGS, splits, folder=tmp_path)
    later = classifier.cached(SETTINGS, splits, folder=tmp_path)
    assert len(trainings) == 2
    np.testing.assert_array_equal(logits(again, splits), logits(later, splits))


def test_a_folder_that_cannot_be_written_only_warns(splits, tmp_path, trainings):
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="not kept"):
        model = classifier.cached(SETTINGS, splits, folder=tmp_path / "file" / "cache")
    assert logits(model, splits).shape == (8, 3)


def test_the_cache_is_the_users(splits, tmp_path, trainings, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    classifier.cached(SETTINGS, splits)
    (file,) = (tmp_path / "lectures_jax" / "models").iterdir()
    assert file.name == f"{classifier.fingerprint(SETTINGS, splits)}.safetensors"
