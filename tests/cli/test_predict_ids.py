"""Predictions that COCO's own evaluation takes, of images as they are."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lectures_jax import weights
from lectures_jax.cli import main
from lectures_jax.cli.predict.images import Inputs
from tests.cli.test_predict_detector import Detector

ARGV = ["predict", "run", "images", "--score", "0.25"]


@pytest.fixture(autouse=True)
def _detector(monkeypatch):
    """A run's folder whose detector is known, and a folder with an image."""
    settings = {"classes": ["cat", "dog"], "image_size": [64, 64]}
    saved = weights.SavedModel(Detector(), "detector", settings)
    monkeypatch.setattr(weights, "load_model", lambda path: saved)
    Path("run").mkdir()
    Path("run/model.safetensors").touch()
    image("12.png")


def image(name, size=(128, 64)):
    path = Path("images") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "gray").save(path)


def results():
    return json.loads(Path("run/predictions/predictions.json").read_text())


def annotations(names, categories=(("dog", 40), ("cat", 7))):
    content = {
        "images": [
            {"id": 500 + i, "file_name": name, "width": 128, "height": 64}
            for i, name in enumerate(names)
        ],
        "categories": [{"id": i, "name": name} for name, i in categories],
        "annotations": [
            {
                "id": 1 + i,
                "image_id": 500 + i,
                "category_id": 40,
                "bbox": [16, 16, 64, 48],  # what the detector finds
                "area": 64 * 48,
                "iscrowd": 0,
            }
            for i in range(len(names))
        ],
    }
    Path("truth.json").write_text(json.dumps(content))


def test_ids_are_those_of_the_annotations_and_cocos_evaluation_takes_them(capsys):
    image("000012.jpg")
    annotations(["000012.jpg", "12.png"])
    assert main([*ARGV, "--annotations", "truth.json"]) == 0
    assert [(row["image_id"], row["category_id"]) for row in results()] == [(500, 40), (501, 40)]
    truth = COCO("truth.json")
    evaluation = COCOeval(truth, truth.loadRes("run/predictions/predictions.json"), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    np.testing.assert_allclose(evaluation.stats[:2], 1)


def test_a_path_in_the_annotations_matches_by_its_last_part():
    annotations(["val/12.png"])
    assert main([*ARGV, "--annotations", "truth.json"]) == 0
    assert results()[0]["image_id"] == 500


@pytest.mark.parametrize(
    ("names", "categories", "message"),
    [
        (["13.png"], (("dog", 40), ("cat", 7)), "expected each image to be in truth.json, got 12"),
        (["12.png"], (("dog", 40), ("cow", 7)), "got none for 'cat'"),
        (["a/12.png", "b/12.png"], (("dog", 40), ("cat", 7)), "expected each image to be in"),
    ],
)
def test_annotations_of_other_images_or_classes_are_refused_before_the_first(
    error_line, names, categories, message
):
    annotations(names, categories)
    assert main([*ARGV, "--annotations", "truth.json"]) == 2
    assert message in error_line()
    assert not Path("run/predictions").exists()


def test_the_category_that_has_objects_counts_where_two_have_one_name():
    annotations(["12.png"], (("dog", 0), ("cat", 7), ("dog", 40), ("dog", 41)))
    assert main([*ARGV, "--annotations", "truth.json"]) == 0
    assert results()[0]["category_id"] == 40


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000000000139.jpg"], [12, 139]),
        (["000012.jpg"], [1, 2]),
        (["a.jpg"], [1, 2]),
        (["-5.jpg"], [1, 2]),
    ],
)
def test_without_annotations_ids_are_unique(names, ids):
    for name in names:
        image(name)
    assert main(ARGV) == 0
    assert sorted(row["image_id"] for row in results()) == ids


def test_a_photograph_is_predicted_upright():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Path("images/12.png").unlink()
    Image.new("RGB", (64, 128), "gray").save("images/a.jpg", exif=exif)
    assert main(ARGV) == 0
    assert results()[0]["bbox"] == [16.0, 16.0, 64.0, 48.0]  # as of the image of 128×64
    with Image.open("run/predictions/a.jpg") as drawn:  # of a JPEG file, a JPEG file
        assert (drawn.format, drawn.size) == ("JPEG", (384, 192))


def test_subfolders_are_read_on_demand_and_what_is_no_image_is_named(capsys):
    image("sub/12.png")
    image("sub/12.jpg")
    Path("images/notes.txt").touch()
    Path("images/.DS_Store").touch()
    Path("images/._12.png").write_bytes(b"no image")
    assert main(ARGV) == 0
    assert len(results()) == 1
    assert "skipped, as no image by its suffix: notes.txt\n" in capsys.readouterr().out
    for _ in range(2):  # drawings in the folder of the images are no images to read
        assert main([*ARGV, "--recursive", "--out", "images/out"]) == 0
        rows = json.loads(Path("images/out/predictions.json").read_text())
        assert [row["file_name"] for row in rows] == ["12.png", "sub/12.jpg", "sub/12.png"]
    drawn = sorted(p.relative_to("images/out").as_posix() for p in Path("images/out").rglob("*12*"))
    assert drawn == ["12.png", "sub/12.jpg.jpg", "sub/12.png.png"]


def test_drawings_may_be_left_out():
    assert main([*ARGV, "--no-draw"]) == 0
    assert [path.name for path in Path("run/predictions").iterdir()] == ["predictions.json"]


def test_drawings_keep_their_names_and_none_is_another_s():
    folder = Path("images")
    names = ("photo.v2.png", "a.jpg", "a.png", "a.jpg.jpeg", "b.png")
    inputs = Inputs(folder, [folder / name for name in names])
    drawn = [inputs.drawing(Path("out"), file, suffix=".jpg").name for file in inputs.files]
    assert drawn == ["photo.v2.jpg", "a.jpg.jpg", "a.png.jpg", "a.jpg.jpeg.jpg", "b.jpg"]
