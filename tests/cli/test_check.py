"""What `ljx check` prints about small sets with known faults."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from lectures_jax.cli import main
from tests.data.files import noise, text, truncate


def scene(path, seed, height=64, width=128):
    """Writes an image that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def yolo(root, *, train=4, test=2, lines="0 .5 .5 .5 .5\n1 .2 .2 .2 .2\n", classes="cat\ndog\n"):
    for split, count, offset in (("train", train, 0), ("test", test, 100)):
        for i in range(count):
            scene(root / "images" / split / f"{i}.png", offset + i)
            text(root / "labels" / split / f"{i}.txt", lines)
    text(root / "classes.txt", classes)
    return root


def check(root, kind="yolo", *options):
    return main(["check", "--data", kind, "--root", str(root), *options])


def rows(output, title):
    """Cells of a table, by the first one of each row."""
    block = output.split(f"{title}\n", 1)[1].split("\n\n", 1)[0].splitlines()
    cells = [re.split(r"\s{2,}", line.strip()) for line in block]
    return {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[1:]}


def test_a_sound_set_is_counted(tmp_path, capsys):
    scene(yolo(tmp_path) / "images" / "train" / "empty.png", 50, 200, 100)
    assert check(tmp_path) == 0
    output, errors = capsys.readouterr()
    assert rows(output, "Images")["train"] == {
        "split": "train",
        "images": "5",
        "smallest": "128×64",
        "median": "128×64",
        "largest": "100×200",
        "sizes": "2",
        "problems": "0",
        "without objects": "1",
    }
    dog = {"class": "dog", "objects in train": "4", "objects in test": "2"}
    assert rows(output, "Classes")["dog"] == dog
    boxes = rows(output, "Boxes")["train"]
    assert (boxes["boxes"], boxes["most in an image"], boxes["tiny"]) == ("8", "2", "0")
    assert boxes["median of the shorter side"] == "0.175"  # of 32/128 and 12.8/128
    assert "No fault" in output
    assert errors == "warning: Classes with fewer than 10 objects to train on: cat, dog.\n"


def test_each_thing_that_is_wrong_is_counted_with_its_reason(tmp_path, capsys):
    lines = (
        "0 .5 .5 .5 .5\n0 .5 .5 .5 .5\n0 .9 .9 .5 .5\n1 .5 .5 0 .5\n7 .5 .5 .1 .1\n1 .5 .5 .01 .01"
    )
    yolo(tmp_path, lines=lines)
    noise(tmp_path / "images" / "train" / "z.png")
    truncate(tmp_path / "images" / "train" / "z.png")
    text(tmp_path / "labels" / "train" / "alone.txt", "")
    assert check(tmp_path) == 0
    output, errors = capsys.readouterr()
    boxes = rows(output, "Boxes")["train"]
    assert [boxes[name] for name in ("boxes", "tiny", "sticking out", "without area")] == [
        *("12", "4", "4", "4")
    ]
    assert boxes["duplicate"] == "4"
    assert rows(output, "Images")["train"]["problems"] == "18"
    assert re.search(r"problem: .*z\.png: content: expected an image that decodes", output)
    for line in (
        "train: 4 unknown classes.",
        "train: 1 labels alone.",
        "train: 1 images that do not decode.",
        "train: 4 boxes outside of the image.",
        "train: 33% of the boxes are tiny, below 1.6% of the image.",
    ):
        assert f"warning: {line}\n" in errors


def no_labels(root):
    yolo(root)
    (root / "labels").rename(root / "Labels_xml")
    return "labels/train: labels: expected a .txt file for an image of .*images/train, got no such"


def other_suffix(root):
    yolo(root)
    for path in (root / "labels").rglob("*.txt"):
        path.rename(path.with_suffix(".json"))
    return r"labels/train: labels: expected a .txt file .* got only 0\.json, 1\.json"


def no_boxes(root):
    yolo(root, lines="")
    return r"images/train: objects: expected at least one in labels/train/\*\.txt, got no box in 4"


def leaked(root):
    yolo(root)
    for i in range(2):
        scene(root / "images" / "test" / f"{i}.png", i)
    return r"Most images are in both splits \(2 of 2 in test\)"


def too_few(root):
    yolo(root, train=1)
    return "train has 1 images that can be read"


def no_split(root):
    yolo(root)
    (root / "images" / "test").rename(root / "images" / "other")
    return r"images: expected a folder images/test or test/images, got .*images/other"


def other_classes(root):
    yolo(root)
    for path in (root / "labels" / "test").iterdir():
        path.write_text("1 .5 .5 .5 .5")
    for path in (root / "labels" / "train").iterdir():
        path.write_text("0 .5 .5 .5 .5")
    return "No class of the second split is in the first"


def damaged(root):
    yolo(root, train=5)
    for path in sorted((root / "images" / "train").iterdir())[:3]:
        truncate(path)
    return r"Most images of train do not decode \(3\)"


@pytest.mark.parametrize(
    "make",
    [no_labels, other_suffix, no_boxes, leaked, too_few, no_split, other_classes, damaged],
)
def test_a_set_on_which_training_would_be_in_vain_is_exit_1(tmp_path, capsys, make):
    message = make(tmp_path)
    assert check(tmp_path) == 1
    output, errors = capsys.readouterr()
    (line,) = [line for line in errors.splitlines() if line.startswith("fault: ")]
    assert re.search(message, line)
    assert "No fault" not in output


def test_images_in_both_splits_and_uneven_classes_are_warnings(tmp_path, capsys):
    yolo(tmp_path, test=4, lines="0 .5 .5 .5 .5\n" * 1)
    scene(tmp_path / "images" / "test" / "0.png", 0)
    crowd = "\n".join(f"0 {0.2 + i / 100} .5 .3 .3" for i in range(40))
    text(tmp_path / "labels" / "train" / "0.txt", crowd)
    text(tmp_path / "labels" / "train" / "1.txt", "1 .5 .5 .5 .5")
    assert check(tmp_path) == 0
    errors = capsys.readouterr().err
    assert "warning: Some images are in both splits (1 of 4 in test)" in errors
    assert "warning: Class cat has 42 times as many objects as dog." in errors
    assert "warning: Classes without objects to measure on: dog." in errors


def test_foreign_xml_and_json_are_named(tmp_path, capsys):
    scene(tmp_path / "v" / "JPEGImages" / "a.jpg", 0)
    text(tmp_path / "v" / "Annotations" / "a.xml", "<html><body/></html>")
    for split in ("trainval", "test"):
        text(tmp_path / "v" / "ImageSets" / "Main" / f"{split}.txt", "a")
    assert check(tmp_path / "v", "voc") == 1
    assert (
        "Annotations: objects: expected at least one <object>, got none" in capsys.readouterr().err
    )
    for split in ("train", "test"):
        scene(tmp_path / "c" / split / "a.png", 0)
        content = {"images": [], "categories": [], "annotations": []}
        text(tmp_path / "c" / "annotations" / f"instances_{split}.json", json.dumps(content))
    assert check(tmp_path / "c", "coco") == 1
    assert "instances_train.json: classes: expected at least one" in capsys.readouterr().err


def test_classified_images_are_counted_and_the_damaged_are_named(tmp_path, capsys):
    for label, name in enumerate(("cat", "dog")):
        for i in range(10):
            scene(tmp_path / name / f"{i}.png", 100 * label + i, 10 + i, 10)
    truncate(tmp_path / "cat" / "3.png")
    assert check(tmp_path, "images") == 0
    output = capsys.readouterr().out
    assert sum(int(v) for v in list(rows(output, "Classes")["cat"].values())[1:]) == 9
    assert "cat/3.png: content: expected an image that decodes" in output
    for path in (tmp_path / "dog").iterdir():
        path.unlink()
    assert check(tmp_path, "images") == 1
    assert "There must be two classes to tell apart, there are 1." in capsys.readouterr().err


def test_the_page_shows_the_same(tmp_path, capsys):
    yolo(tmp_path / "set", lines="0 .5 .5 .5 .5\n9 .5 .5 .1 .1\n")
    assert check(tmp_path / "set", "yolo", "--out", str(tmp_path / "page.html")) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for words in (
        "Classes without objects to train on: dog.",
        "128×64",
        "line 2: expected a class",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "yolo", "--root", "nowhere"], "--root: expected a folder, got nowhere"),
        (["--data", "text", "--root", "."], "invalid choice: 'text'"),
        (["--data", "yolo"], "required: --root"),
    ],
)
def test_wrong_options_are_exit_2(error_line, argv, message):
    assert main(["check", *argv]) == 2
    assert message in error_line()


def test_splits_may_be_named(tmp_path, capsys):
    yolo(tmp_path)
    (tmp_path / "images" / "test").rename(tmp_path / "images" / "night")
    (tmp_path / "labels" / "test").rename(tmp_path / "labels" / "night")
    assert check(tmp_path, "yolo", "--splits", "train", "night") == 0
    assert "objects in night" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("yolo", "--classes", "names.txt"), "--classes: expected none for --data yolo"),
        (("images", "--classes", "names.txt"), "--classes: expected none for --data images"),
        (("idx", "--splits", "a", "b"), "--splits: expected none for --data idx, got a b."),
    ],
)
def test_an_option_that_the_kind_has_no_use_for_is_refused(tmp_path, error_line, options, message):
    assert check(tmp_path, *options) == 2
    assert message in error_line()


def test_a_file_of_names_tells_which_objects_are_not_meant(tmp_path, capsys):
    for split in ("train", "test"):
        for i in range(2):
            scene(tmp_path / "JPEGImages" / f"{split}{i}.png", len(split) + i)
            objects = "".join(
                f"<object><name>{name}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{side}</xmax>"
                f"<ymax>{side}</ymax></bndbox></object>"
                for name, side in (("dog", 20), ("cat", 30))
            )
            text(
                tmp_path / "Annotations" / f"{split}{i}.xml", f"<annotation>{objects}</annotation>"
            )
        text(tmp_path / "ImageSets" / "Main" / f"{split}.txt", f"{split}0\n{split}1\n")
    names = text(tmp_path / "names.txt", "dog\nbird\n")
    assert check(tmp_path, "voc", "--classes", str(names)) == 0
    output, errors = capsys.readouterr()
    assert list(rows(output, "Classes")) == ["dog", "bird"]
    assert "got cat" in output
    assert "warning: train: 2 unknown classes." in errors


def test_masks_are_counted_by_class(tmp_path, capsys):
    for split, count in (("train", 3), ("test", 2)):
        for i in range(count):
            scene(tmp_path / split / "images" / f"{split}{i}.png", i + 10 * count, 8, 8)
            mask = np.zeros((8, 8), np.uint8)
            mask[:2], mask[7] = 1, 255
            (tmp_path / split / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / split / "masks" / f"{split}{i}.png")
    text(tmp_path / "classes.txt", "ground\nroad\nlane\n")
    assert check(tmp_path, "masks") == 0
    output, errors = capsys.readouterr()
    assert rows(output, "Classes")["road"] == {
        "class": "road",
        "share of train's pixels": "0.286",
        "of test's": "0.286",
        "images in train": "3",
        "in test": "2",
    }
    assert rows(output, "Classes")["(does not count)"]["of test's"] == "0.125"
    assert "Classes without pixels to train on: lane." in errors
    assert "Classes in fewer than 10 images to train on: ground, road." in errors


def test_masks_of_objects_are_counted_and_a_faulty_one_is_left_out(tmp_path, capsys):
    for i in range(6):
        scene(tmp_path / "images" / f"{i}.png", i, 12, 12)
        mask = np.zeros((12, 12), np.uint8)
        for j in range(i + 2):
            mask[1 + 3 * (j // 3) : 3 + 3 * (j // 3), 4 * (j % 3) : 4 * (j % 3) + 3] = j + 1
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask[: 11 if i == 5 else 12]).save(tmp_path / "masks" / f"{i}.png")
    text(tmp_path / "train.txt", "0\n1\n2\n5\n")
    text(tmp_path / "test.txt", "3\n4\n")
    assert check(tmp_path, "masks") == 0
    output, errors = capsys.readouterr()
    train = rows(output, "Objects")["train"]
    assert (train["objects"], train["most in an image"]) == ("9", "4")
    assert "5.png: height, width" in output
    assert "masks taken for those of objects" in errors
    assert check(tmp_path, "masks", "--masks", "classes") == 0
    output, errors = capsys.readouterr()
    assert "share of train's pixels" in output
    assert "taken for those of objects" not in errors
    assert check(tmp_path, "masks", "--splits", "train", "dev") == 1
