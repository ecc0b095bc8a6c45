import json

import numpy as np
import pytest

from lectures_jax import data
from tests.data.files import image_file, noise, text, truncate


def content(**tables):
    return {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [
            {"id": 20, "file_name": "a.png", "height": 8, "width": 10},
            {"id": 10, "file_name": "b.png", "height": 8, "width": 10},
        ],
        "annotations": [
            {"id": 1, "image_id": 20, "category_id": 7, "bbox": [1, 2, 3.5, 4], "iscrowd": 0},
            {"id": 2, "image_id": 20, "category_id": 3, "bbox": [0, 0, 10, 8], "iscrowd": 1},
        ],
    } | tables


def read(folder, tree, **options):
    for name in ("a.png", "b.png"):
        if not (folder / "images" / name).exists():
            image_file(folder / "images" / name)
    written = tree if isinstance(tree, str) else json.dumps(tree)
    return data.read_coco(text(folder / "a.json", written), folder / "images", **options)


def test_boxes_labels_and_crowds_are_read(tmp_path):
    dataset = read(tmp_path, content())
    assert dataset.classes == ("cat", "dog")  # by rising id
    assert [record.id for record in dataset] == ["20", "10"]
    np.testing.assert_array_equal(dataset[0].boxes, [[1, 2, 4.5, 6], [0, 0, 10, 8]])
    np.testing.assert_array_equal(dataset[0].labels, [1, 0])
    np.testing.assert_array_equal(dataset[0].crowd, [False, True])
    assert dataset[1].boxes.shape == (0, 4)


def one_more(**row):
    return content(annotations=[*content()["annotations"], {"id": 3, "image_id": 20} | row])


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (one_more(category_id=9, bbox=[1, 1, 2, 2]), r"annotation 3 bbox: expected a class among"),
        (one_more(category_id=3, bbox=[1, 1, 0, 2]), "annotation 3 bbox: .*positive width"),
        (one_more(category_id=3, bbox=[1, 1, -2, 2]), "annotation 3 bbox: .*positive width"),
        (one_more(category_id=3, bbox=[10, 1, 20, 2]), "annotation 3 bbox: .*inside the 10×8"),
        (one_more(category_id=3, bbox=[float("nan"), 1, 2, 2]), "annotation 3 bbox: .*finite"),
        (one_more(category_id=3, bbox=[1, 1, 2]), "annotation 3 bbox: .*four numbers"),
        (one_more(category_id=3, bbox=[1, 1, 2, 10**400]), "annotation 3 bbox: .*four numbers"),
        (one_more(category_id=3, bbox="1234"), r"annotations\[2\].bbox: expected list, got 1234"),
        (one_more(category_id=True, bbox=[1, 1, 2, 2]), r"annotations\[2\].category_id: .*int"),
        (one_more(category_id=3, image_id=5, bbox=[1, 1, 2, 2]), "annotation 3 image_id"),
        (one_more(id=1, category_id=3, bbox=[1, 1, 2, 2]), r"annotations\[2\].id: .*each id once"),
        (one_more(category_id=7, bbox=[1, 2, 3.5, 4]), "annotation 3 bbox: .*each object once"),
        (content(annotations=[*content()["annotations"], None]), r"annotations\[2\].id"),
    ],
)
def test_a_bad_annotation_is_an_error_or_is_left_out(tmp_path, tree, message):
    with pytest.raises(ValueError, match=rf"a\.json: {message}"):
        read(tmp_path, tree)
    dataset = read(tmp_path, tree, strict=False)
    np.testing.assert_array_equal(dataset[0].boxes, [[1, 2, 4.5, 6], [0, 0, 10, 8]])
    assert len(dataset.problems) == 1


def third(**row):
    return content(images=[*content()["images"], {"id": 30} | row])


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (third(file_name="c.png"), "image 30 file_name: expected the name of a file"),
        (third(file_name="../a.json"), "image 30 file_name: expected a path inside"),
        (third(file_name="/etc/hostname"), "image 30 file_name: expected a path inside"),
        (third(file_name="a.png"), "image 30 file_name: expected each image once"),
        (third(file_name=5), r"images\[2\].file_name: expected str, got 5"),
        (third(id=20, file_name="b.png"), r"images\[2\].id: expected each id once, got 20"),
    ],
)
def test_a_bad_image_is_an_error_or_is_left_out(tmp_path, tree, message):
    with pytest.raises(ValueError, match=rf"a\.json: {message}"):
        read(tmp_path, tree)
    dataset = read(tmp_path, tree, strict=False)
    assert [record.id for record in dataset] == ["20", "10"]
    assert len(dataset.problems) == 1


def test_a_size_that_contradicts_the_image_is_an_error_or_leaves_it_out(tmp_path):
    tree = content()
    tree["images"][1]["width"] = 11
    with pytest.raises(
        ValueError, match=r"image 10 height, width: expected \(8, 10\), got \(8, 11\)"
    ):
        read(tmp_path, tree)
    assert [record.id for record in read(tmp_path, tree, strict=False)] == ["20"]


def test_a_truncated_image_is_an_error_or_is_left_out(tmp_path):
    noise(tmp_path / "images" / "b.png")
    truncate(tmp_path / "images" / "b.png")
    with pytest.raises(ValueError, match=r"b\.png: content"):
        read(tmp_path, content())
    assert [record.id for record in read(tmp_path, content(), strict=False)] == ["20"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[" * 10**5 + "]" * 10**5, "content: expected JSON, got RecursionError"),
        ('{"a":' * 10**5 + "1" + "}" * 10**5, "content: expected JSON, got RecursionError"),
        ("{", "content: expected JSON, got JSONDecodeError"),
        ("", "content: expected JSON, got JSONDecodeError"),
        ("[]", "categories: expected a list"),
        ('{"categories": [], "images": {}}', "images: expected a list"),
        ('{"categories": [], "images": [], "annotations": []}', "classes: expected at least one"),
    ],
)
def test_a_file_that_holds_no_data_set_is_refused(tmp_path, written, message):
    with pytest.raises(ValueError, match=rf"a\.json: {message}"):
        read(tmp_path, written, strict=False)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json: file: expected an existing file"):
        data.read_coco(tmp_path / "none.json", tmp_path)
