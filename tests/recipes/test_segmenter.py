"""A segmenter trained the usual way, its data, and its scores at full resolution."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from lectures_jax import weights
from lectures_jax.data.records import Dataset, Record
from lectures_jax.recipes import segmentation_data, segmentation_scores, segmenter
from lectures_jax.recipes.segmentation_data import Splits
from lectures_jax.recipes.segmentation_scores import Segmented
from lectures_jax.recipes.segmenter import Settings
from tests.data.files import image_file
from tests.data.test_mask_folders import listed

# The step of the experiment's two-step run, so that it is compiled once.
SETTINGS = segmenter.with_defaults(
    Settings(steps=2, batch_size=2, crop=16, channels=(4, 4)), "digits"
)
IDS = np.zeros((20, 26), np.uint8)
IDS[2:8, 2:10], IDS[8:14, 2:10], IDS[4:12, 14:24] = 1, 2, 3


@pytest.fixture(scope="module")
def splits() -> Splits:
    """Two small scenes to train on, two to measure on."""
    key = jax.random.split(jax.random.key(0), 3)[0]
    return segmentation_data.draw_scenes(key, count=2, test_count=2, size=32)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def trained(splits, run_folder) -> segmenter.Trained:
    return segmenter.train(SETTINGS, splits, run_folder)


def of_objects() -> Splits:
    """One image on each side, with three objects, two of which touch."""
    record = Record("a", np.repeat(IDS[..., None] * 80, 3, axis=2), mask=IDS)
    dataset = Dataset((record,), ("background", "object"))
    return Splits(dataset, dataset, ("background", "object", "border"), instances=True)


def test_what_depends_on_the_data_has_a_default():
    digits, files = (segmenter.with_defaults(Settings(), kind) for kind in ("digits", "masks"))
    assert (digits.orientation, digits.elastic) == ("fixed", 0.0)
    assert files.orientation == "any"
    assert files.elastic > 0
    chosen = replace(SETTINGS, elastic=3.0, steps=7)
    assert segmenter.with_defaults(chosen, "digits") == chosen


@pytest.mark.parametrize("missing", ["steps", "crop", "orientation", "elastic"])
def test_settings_without_their_defaults_are_refused(splits, missing):
    with pytest.raises(ValueError, match=f"{missing} must be set"):
        segmenter.train(replace(SETTINGS, **{missing: None}), splits)


def test_a_crop_that_the_network_does_not_take_is_refused(splits):
    with pytest.raises(ValueError, match=r"crop must have sides of 2 \+ 2 n pixels, got 15×15"):
        segmenter.train(replace(SETTINGS, crop=15), splits)


def test_training_goes_on_from_another_network_of_the_same_arrays(trained, splits):
    slow = replace(SETTINGS, steps=1, learning_rate=1e-12, scale=(1.0, 1.0))
    begun = segmenter.train(slow, splits, seed=1, start=trained.model).model
    kernels = [m.classify.kernel[...] for m in (begun, trained.model)]
    np.testing.assert_allclose(*kernels, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected .*, got "):
        segmenter.train(replace(slow, channels=(4, 8)), splits, start=trained.model)


def test_scenes_have_a_class_for_each_pixel(splits):
    assert splits.classes == ("background", *"0123456789")
    for record in (*splits.train, *splits.test):
        assert record.mask.shape == record.image.shape[:2] == (32, 32)
        assert set(np.unique(record.mask)) - {0} == set(record.labels + 1)


def test_training_measures_on_the_test_split(trained, splits):
    assert [row["step"] for row in trained.history] == [1, 2]
    row, names = trained.history[-1], ("mean_iou", "mean_dice", "pixel_accuracy")
    assert {name: row[name] for name in names} == segmenter.score(trained.model, splits)


def test_the_saved_model_is_the_trained_one(trained, splits, run_folder):
    saved = weights.load_model(run_folder / "model.safetensors")
    assert saved.kind == "segmenter"
    assert tuple(saved.settings["classes"]) == splits.classes
    assert saved.settings["instances"] is False
    own, read = (segmenter.segment(model, splits) for model in (trained.model, saved.model))
    jax.tree.map(np.testing.assert_array_equal, read, own)


@pytest.mark.parametrize("size", [(16, 16), (13, 30), (1, 1)])
def test_an_image_of_any_size_has_a_class_for_each_pixel(trained, size):
    result = segmenter.predict(trained.model, np.full((*size, 3), 128, np.uint8))
    assert result.classes.shape == size
    assert result.classes.dtype == np.uint8
    assert result.instances is None


def test_perfect_predictions_have_perfect_scores(splits):
    perfect = [Segmented(np.asarray(record.mask)) for record in splits.test]
    assert segmentation_scores.measure(perfect, splits) == pytest.approx(
        dict.fromkeys(("mean_iou", "mean_dice", "pixel_accuracy"), 1.0)
    )
    counts = segmentation_scores.confusion(perfect, splits)
    assert counts.sum() == 2 * 32 * 32 == counts.trace()


def test_boundaries_that_are_met_or_missed(splits):
    perfect = [Segmented(np.asarray(record.mask)) for record in splits.test]
    assert segmentation_scores.boundary_f1(perfect, splits) == 1
    nothing = [Segmented(np.zeros_like(record.mask)) for record in splits.test]
    assert segmentation_scores.boundary_f1(nothing, splits) == 0
    shifted = [Segmented(np.roll(np.asarray(record.mask), 1, axis=1)) for record in splits.test]
    assert segmentation_scores.boundary_f1(shifted, splits) > 0.9  # within the tolerance of a pixel
    objects = of_objects()
    classes = segmentation_data.class_mask(objects.test[0], instances=True)
    inside = [Segmented(np.minimum(classes, 1))]  # a border belongs to its object
    assert segmentation_scores.boundary_f1(inside, objects) == 1
    record = objects.test[0]
    flat = replace(record, mask=np.zeros_like(record.mask))
    empty = objects._replace(test=replace(objects.test, records=(flat,)))
    assert np.isnan(segmentation_scores.boundary_f1([Segmented(0 * classes)], empty))


def test_boundaries_by_hand():
    """The object begins in column 3: one column more is within the tolerance, three are not."""
    true = np.zeros((8, 12), np.uint8)
    true[:, 3:] = 1
    record = Record("a", np.zeros((8, 12, 3), np.uint8), mask=true)
    dataset = Dataset((record,), ("background", "object"))
    splits = Splits(dataset, dataset, ("background", "object"))
    for first, expected in ((3, 1.0), (4, 1.0), (6, 0.0)):
        predicted = np.zeros((8, 12), np.uint8)
        predicted[:, first:] = 1
        assert segmentation_scores.boundary_f1([Segmented(predicted)], splits) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": 0.0}, "clip must be positive, got 0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, got -1"),
        ({"border_weight": -1.0}, "border_weight must be at least 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(splits, change, message):
    with pytest.raises(ValueError, match=message):
        segmenter.train(replace(SETTINGS, **change), splits)


def test_ignored_pixels_count_nowhere(splits):
    masks = [np.where(np.asarray(r.mask) == 0, 255, r.mask) for r in splits.test]
    records = [replace(r, mask=m) for r, m in zip(splits.test, masks, strict=True)]
    ignoring = splits._replace(test=replace(splits.test, records=tuple(records)))
    wrong = [Segmented(np.where(m == 255, 7, m).astype(np.uint8)) for m in masks]
    assert segmentation_scores.measure(wrong, ignoring)["mean_iou"] == 1


def test_objects_have_an_inside_and_a_border_and_their_scores():
    splits = of_objects()
    classes = segmentation_data.class_mask(splits.test[0], instances=True)
    assert classes[7, 5] == classes[8, 5] == 2
    assert classes[4, 5] == classes[12, 5] == classes[5, 16] == 1
    scores = segmentation_scores.measure([Segmented(classes, IDS.astype(np.int32))], splits)
    assert scores == pytest.approx(dict.fromkeys(scores, 1.0))
    assert set(scores) >= {"object_dice", "AP50", "AP50_95", "mean_iou"}
    joined = np.where(IDS == 2, 1, IDS).astype(np.int32)  # two of three are one
    scores = segmentation_scores.measure([Segmented(classes, joined)], splits)
    assert scores["object_dice"] == 1
    assert scores["AP50"] == pytest.approx(1 / 4)


def test_examples_have_the_weights_of_borders_where_they_are_asked_for():
    splits = of_objects()
    (example,) = segmentation_data.examples(splits.train, instances=True, border_weight=5.0)
    assert set(example) == {"image", "mask", "weights"}
    weights = example["weights"]
    np.testing.assert_array_equal(weights[example["mask"] == 2], 6)
    np.testing.assert_array_equal(weights[example["mask"] == 1], 1)
    assert 1 <= weights[example["mask"] == 0].min() < weights[example["mask"] == 0].max() < 6
    (example,) = segmentation_data.examples(splits.train, instances=True)
    assert set(example) == {"image", "mask"}


@pytest.mark.parametrize(("orientation", "symmetries"), [("fixed", 1), ("mirror", 2), ("any", 8)])
def test_images_are_turned_as_the_settings_allow(orientation, symmetries):
    settings = replace(SETTINGS, orientation=orientation, scale=(1.0, 1.0))
    batch = {
        "image": np.full((128, 4, 4, 3), 0.5, np.float32),
        "mask": np.repeat(np.arange(16, dtype=np.int32).reshape(1, 4, 4), 128, axis=0),
    }
    changed = jax.jit(segmenter.augmentation(settings))(jax.random.key(0), batch)
    assert len(np.unique(np.asarray(changed["mask"]), axis=0)) == symmetries


def test_files_are_read_and_decoded(tmp_path):
    splits = segmentation_data.read_files(listed(tmp_path))
    assert splits.classes == ("background", "1", "2")
    assert not splits.instances
    assert [record.image.shape for record in splits.train] == [(4, 4, 3)] * 2
    with pytest.raises(ValueError, match=r"--root must name a folder for --data masks, got none"):
        segmentation_data.read_files(None)
    image_file(tmp_path / "masks" / "a.png", 5, 4, "L")
    with pytest.raises(ValueError, match=r"a\.png: height, width"):
        segmentation_data.read_files(tmp_path)


def test_images_that_do_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(segmentation_data, "MAX_MEMORY", 95)  # of two images of 48 bytes
    with pytest.raises(ValueError, match=r"pixels: expected at most 95 bytes .* got 96"):
        segmentation_data.read_files(listed(tmp_path))
