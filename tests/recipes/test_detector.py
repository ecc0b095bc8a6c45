"""A detector trained the usual way, and the images that it is trained on."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from lectures_jax import weights
from lectures_jax.data.records import Dataset, Record
from lectures_jax.models.yolo import YoloSize
from lectures_jax.recipes import detection_data, detector
from lectures_jax.recipes.detector import Settings
from tests.data.files import image_file, text

# The step of the experiment's two-step run, so that it is compiled once.
SETTINGS = detector.with_defaults(
    Settings(
        steps=2,
        batch_size=2,
        image_size=(64, 64),
        size=YoloSize(4, 4, (4, 4, 4), (1, 0, 0), (4, 4, 4), 0),
    ),
    "digits",
)


@pytest.fixture(scope="module")
def splits() -> detection_data.Splits:
    """Two small scenes to train on, two to measure on."""
    key = jax.random.split(jax.random.key(0), 4)[0]
    return detection_data.draw_scenes(key, count=2, test_count=2, image_size=(64, 64))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def trained(splits, run_folder) -> detector.Trained:
    return detector.train(SETTINGS, splits, run_folder)


def test_what_depends_on_the_data_has_a_default():
    digits = detector.with_defaults(Settings(), "digits")
    assert (digits.steps, digits.overlap_weight) == (4000, 3.0)
    assert (digits.orientation, digits.scale) == ("fixed", (0.8, 1.25))
    files = detector.with_defaults(Settings(), "voc")
    assert (files.steps, files.overlap_weight) == (6000, 0.0)
    assert (files.orientation, files.scale) == ("any", (0.75, 1.5))


def test_what_was_chosen_stays_even_where_it_is_zero():
    chosen = replace(SETTINGS, overlap_weight=0.0, steps=7)
    assert detector.with_defaults(chosen, "digits") == chosen


@pytest.mark.parametrize("missing", ["steps", "overlap_weight", "orientation", "scale"])
def test_settings_without_their_defaults_are_refused(splits, missing):
    with pytest.raises(ValueError, match=f"{missing} must be set"):
        detector.train(replace(SETTINGS, **{missing: None}), splits)


def test_scenes_are_brought_to_one_size(splits):
    assert (len(splits.train), len(splits.test)) == (2, 2)
    assert splits.image_size == (64, 64)
    records = [*splits.train, *splits.test]
    assert {record.image.shape for record in records} == {(64, 64, 3)}
    assert splits.max_boxes == max(len(record.boxes) for record in records)


def test_training_measures_on_the_test_split(trained, splits):
    assert [row["step"] for row in trained.history] == [1, 2]
    row = trained.history[-1]
    assert {name: row[name] for name in ("mAP50", "mAP50_95")} == detector.score(
        trained.model, splits
    )


def test_the_coarsest_head_has_the_largest_anchors(trained):
    areas = np.prod(trained.model.anchors, axis=-1).ravel()
    assert areas.reshape(3, 3)[::-1].ravel().tolist() == sorted(areas)


def test_the_saved_model_is_the_trained_one(trained, splits, run_folder):
    saved = weights.load_model(run_folder / "model.safetensors")
    assert saved.kind == "detector"
    assert tuple(saved.settings["classes"]) == splits.train.classes
    assert saved.settings["image_size"] == [64, 64]
    own, read = (detector.detect(model, splits) for model in (trained.model, saved.model))
    jax.tree.map(np.testing.assert_array_equal, read, own)


def test_detections_stand_beside_the_truth(trained, splits):
    detected = detector.detect(trained.model, splits)
    for i, record in enumerate(splits.test):
        valid = detected.true_valid[i]
        np.testing.assert_array_equal(detected.true_boxes[i, valid], record.boxes)
        np.testing.assert_array_equal(detected.true_labels[i, valid], record.labels)
    perfect = detected._replace(
        boxes=detected.true_boxes,
        scores=np.where(detected.true_valid, 0.9, 0.0).astype(np.float32),
        labels=detected.true_labels,
        valid=detected.true_valid,
    )
    assert detector.coco(perfect, num_classes=10).named()["AP"] == pytest.approx(1)


@pytest.mark.parametrize(("orientation", "symmetries"), [("fixed", 1), ("mirror", 2), ("any", 8)])
def test_images_are_turned_as_the_settings_allow(orientation, symmetries):
    settings = replace(SETTINGS, orientation=orientation, scale=(1.0, 1.0))
    augment = detector.augmentation(settings)
    image = np.full((32, 32, 3), 0.5, np.float32)
    batch = {
        "image": np.stack([image] * 128),
        "boxes": np.array([[[4, 2, 14, 8]]] * 128, np.float32),
        "labels": np.zeros((128, 1), np.int32),
        "valid": np.ones((128, 1), bool),
    }
    changed = jax.jit(augment)(jax.random.key(0), batch)
    assert len(np.unique(np.asarray(changed["boxes"]).round(3), axis=0)) == symmetries


def voc(root):
    annotation = (
        "<annotation><size><width>40</width><height>20</height><depth>3</depth></size><object>"
        "<name>cell</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>10</ymax>"
        "</bndbox></object></annotation>"
    )
    for split in ("trainval", "test"):
        image_file(root / "JPEGImages" / f"{split}.jpg", 20, 40)
        text(root / "Annotations" / f"{split}.xml", annotation)
        text(root / "ImageSets" / "Main" / f"{split}.txt", f"{split}\n")


def yolo(root):
    text(root / "classes.txt", "cell\n")
    for split in ("train", "test"):
        image_file(root / "images" / split / "a.png", 20, 40)
        text(root / "labels" / split / "a.txt", "0 0.25 0.25 0.5 0.5\n")


def coco(root):
    for split in ("train", "test"):
        image_file(root / split / "a.png", 20, 40)
        text(
            root / "annotations" / f"instances_{split}.json",
            '{"images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}],'
            '"categories": [{"id": 7, "name": "cell"}], "annotations": [{"id": 1, "image_id": 1,'
            '"category_id": 7, "bbox": [0, 0, 20, 10], "area": 200, "iscrowd": 0}]}',
        )


@pytest.mark.parametrize("write", [voc, yolo, coco])
def test_files_are_read_by_their_kind(tmp_path, write):
    write(tmp_path)
    splits = detection_data.read_files(write.__name__, tmp_path)
    assert splits.train.classes == splits.test.classes == ("cell",)
    assert splits.image_size == (128, 256)
    for dataset in (splits.train, splits.test):
        np.testing.assert_allclose(dataset[0].boxes, [[0, 0, 128, 64]], rtol=1e-6)


def test_a_file_of_names_orders_the_classes(tmp_path):
    names = text(tmp_path / "names.txt", "wall\n\ncell\n")
    for write in (voc, coco):
        root = tmp_path / write.__name__
        write(root)
        splits = detection_data.read_files(write.__name__, root, classes=names)
        assert splits.train.classes == splits.test.classes == ("wall", "cell")
        assert [record.labels.tolist() for record in (*splits.train, *splits.test)] == [[1], [1]]


def test_an_object_of_a_class_that_is_not_listed_is_an_error_or_a_problem(tmp_path):
    voc(tmp_path)
    file = tmp_path / "Annotations" / "trainval.xml"
    one = file.read_text()
    other = one.partition("<object>")[2].replace("cell", "wall").replace("<ymax>10", "<ymax>20")
    text(file, one.replace("</annotation>", f"<object>{other}"))
    names = text(tmp_path / "names.txt", "cell\n")
    message = r"trainval.xml: object 1: expected a class among \['cell'\], got wall"
    with pytest.raises(ValueError, match=message):
        detection_data.read_files("voc", tmp_path, classes=names)
    splits = detection_data.read_files("voc", tmp_path, classes=names, strict=False)
    assert splits.train.classes == ("cell",)
    assert len(splits.train[0].boxes) == 1
    assert re.search(message, splits.train.problems[0])


@pytest.mark.parametrize("content", ["", "cell\ncell\n"])
def test_a_file_of_names_holds_each_once(tmp_path, content):
    voc(tmp_path)
    names = text(tmp_path / "names.txt", content)
    with pytest.raises(ValueError, match=r"names.txt: list: expected"):
        detection_data.read_files("voc", tmp_path, classes=names)


def test_yolo_files_number_their_own_classes(tmp_path):
    yolo(tmp_path)
    with pytest.raises(ValueError, match="--classes: expected none for --data yolo"):
        detection_data.read_files("yolo", tmp_path, classes=tmp_path / "classes.txt")


def test_a_size_that_was_chosen_is_taken(tmp_path):
    yolo(tmp_path)
    splits = detection_data.read_files("yolo", tmp_path, image_size=(64, 64))
    np.testing.assert_allclose(splits.train[0].boxes, [[0, 16, 32, 32]], rtol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "expected"), [([(100, 50)], (256, 128)), ([(9, 90), (9, 90), (9, 9)], (32, 256))]
)
def test_the_common_size_is_that_of_the_median_shape(tmp_path, shapes, expected):
    for i, shape in enumerate(shapes):
        image_file(tmp_path / f"{i}.png", *shape)
    records = tuple(Record(str(i), tmp_path / f"{i}.png") for i in range(len(shapes)))
    assert detection_data.common_size(Dataset(records, ())) == expected


@pytest.mark.parametrize("kind", ["voc", "coco", "yolo"])
def test_files_need_a_folder(kind):
    with pytest.raises(ValueError, match=f"--root must name a folder for --data {kind}"):
        detection_data.read_files(kind, None)


def test_drawn_scenes_are_no_files(tmp_path):
    with pytest.raises(ValueError, match="kind must be voc, coco or yolo, got 'digits'"):
        detection_data.read_files("digits", tmp_path)
