import numpy as np
import pytest

from lectures_jax import data
from tests.data.files import image_file, noise, text, truncate


def tree(root, labels, classes="cat\ndog\n", split=""):
    text(root / "classes.txt", classes)
    for name, content in labels.items():
        image_file(root / "images" / split / f"{name}.png")
        if content is not None:
            text(root / "labels" / split / f"{name}.txt", content)
    return root


def test_shares_of_the_image_become_pixels(tmp_path):
    # on 10 × 8 pixels: center (5, 4), size 4 × 2
    dataset = data.read_yolo(tree(tmp_path, {"a": "1 0.5 0.5 0.4 0.25\n\n0 0.5 0.5 1 1\n"}))
    np.testing.assert_allclose(dataset[0].boxes, [[3, 3, 7, 5], [0, 0, 10, 8]], rtol=1e-6)
    np.testing.assert_array_equal(dataset[0].labels, [1, 0])
    assert dataset.classes == ("cat", "dog")


def test_images_without_objects_are_read(tmp_path):
    dataset = data.read_yolo(tree(tmp_path, {"a": "", "b": None, "c": "0 0.5 0.5 1 1"}))
    assert [len(record.boxes) for record in dataset] == [0, 0, 1]
    assert [record.id for record in dataset] == ["a", "b", "c"]


def test_a_split_is_a_folder(tmp_path):
    root = tree(tmp_path, {"a": "0 0.5 0.5 1 1"}, split="train")
    assert len(data.read_yolo(root, split="train")) == 1
    with pytest.raises(
        ValueError, match="expected a folder images/val or val/images, got images/t"
    ):
        data.read_yolo(root, split="val")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 1 1", "a class among"),
        ("-1 0.5 0.5 1 1", "a class among"),
        ("cat 0.5 0.5 1 1", "a class among"),
        ("0 0.5 0.5 1", "four numbers"),
        ("0 0.5 0.5 1 1 0.9", "four numbers"),
        ("0 0.5 0.5 1 x", "four numbers"),
        ("0 0.5 0.5 0 0.5", "positive width and height"),
        ("0 0.5 0.5 -0.5 0.5", "positive width and height"),
        ("0 2.5 0.5 2 0.5", "inside the 10×8 image"),
        ("0 5 4 4 2", "inside the 10×8 image"),
        ("0 nan 0.5 0.5 0.5", "finite corners"),
        ("1 0.5 0.5 0.4 0.25", "each object once"),
    ],
)
def test_a_bad_line_is_an_error_or_is_left_out(tmp_path, line, message):
    root = tree(tmp_path, {"a": f"1 0.5 0.5 0.4 0.25\n{line}\n"})
    with pytest.raises(ValueError, match=rf"a\.txt: line 2.*: expected .*{message}"):
        data.read_yolo(root)
    dataset = data.read_yolo(root, strict=False)
    assert dataset[0].labels.tolist() == [1]
    assert len(dataset.problems) == 1


def test_labels_without_a_image_are_a_problem(tmp_path):
    root = tree(tmp_path, {"a": "0 0.5 0.5 1 1"})
    text(root / "labels" / "b.txt", "")
    with pytest.raises(ValueError, match=r"b\.txt: name: expected the name of an image"):
        data.read_yolo(root)
    assert len(data.read_yolo(root, strict=False).problems) == 1


def test_images_that_share_their_labels_are_a_problem(tmp_path):
    root = tree(tmp_path, {"a": "0 0.5 0.5 1 1"})
    image_file(root / "images" / "a.jpg")
    with pytest.raises(ValueError, match="expected one image per label file"):
        data.read_yolo(root)
    assert [record.id for record in data.read_yolo(root, strict=False)] == ["a"]


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_a_link_that_leaves_the_root_is_refused(tmp_path, folder):
    root = tree(tmp_path / "root", {"a": "0 0.5 0.5 1 1", "b": "0 0.5 0.5 1 1"})
    (path,) = (root / folder).glob("b.*")
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    with pytest.raises(ValueError, match="expected a path inside"):
        data.read_yolo(root)


def test_a_truncated_image_is_an_error_or_is_left_out(tmp_path):
    root = tree(tmp_path, {"a": "0 0.5 0.5 1 1", "b": ""})
    noise(root / "images" / "b.png")
    truncate(root / "images" / "b.png")
    with pytest.raises(ValueError, match=r"b\.png: content"):
        data.read_yolo(root)
    assert [record.id for record in data.read_yolo(root, strict=False)] == ["a"]


def test_labels_that_are_no_text_are_a_problem(tmp_path):
    root = tree(tmp_path, {"a": "0 0.5 0.5 1 1", "b": ""})
    (root / "labels" / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"b\.txt: file: expected UTF-8 text"):
        data.read_yolo(root)
    assert len(data.read_yolo(root, strict=False).problems) == 1


@pytest.mark.parametrize("classes", ["", "cat\ncat\n"])
def test_class_names_that_are_none_or_not_unique_are_refused(tmp_path, classes):
    with pytest.raises(ValueError, match=r"classes\.txt: list: expected"):
        data.read_yolo(tree(tmp_path, {"a": ""}, classes=classes), strict=False)
