import numpy as np
import pytest

from lectures_jax import data
from tests.data.files import image_file, noise, text, truncate

CAT = {"name": "cat", "box": (1, 2, 6, 8)}
DOG = {"name": "dog", "box": (3, 1, 10, 4)}


def xml(*objects, size=(8, 10)):
    parts = [f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"]
    for thing in objects:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), thing["box"], strict=True)
        corners = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        difficult = f"<difficult>{thing.get('difficult', 0)}</difficult>"
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        parts.append(
            f"<object>{part}<name>{thing['name']}</name>{difficult}<bndbox>{corners}</bndbox></object>"
        )
    return f"<annotation>{''.join(parts)}</annotation>"


def tree(root, annotations, listed=None):
    """Writes a data set of 8×10 images with these annotations."""
    for name, content in annotations.items():
        image_file(root / "JPEGImages" / f"{name}.jpg")
        text(root / "Annotations" / f"{name}.xml", content)
    text(root / "ImageSets" / "Main" / "train.txt", "\n".join(listed or annotations) + "\n")
    return root


def read(root, **options):
    return data.read_voc(root, **{"split": "train"} | options)


def test_pixels_counted_from_one_become_continuous_corners(tmp_path):
    (record,) = read(tree(tmp_path, {"a": xml(CAT, {**DOG, "difficult": 1})}))
    np.testing.assert_array_equal(record.boxes, [[0, 1, 6, 8], [2, 0, 10, 4]])
    np.testing.assert_array_equal(record.labels, [0, 1])
    np.testing.assert_array_equal(record.crowd, [False, True])
    assert record.id == "a"
    assert record.image == tmp_path / "JPEGImages" / "a.jpg"


def test_a_box_around_all_pixels_is_the_whole_image(tmp_path):
    (record,) = read(tree(tmp_path, {"a": xml({"name": "cat", "box": (1, 1, 10, 8)})}))
    np.testing.assert_array_equal(record.boxes, [[0, 0, 10, 8]])


def test_classes_are_those_of_the_split_or_those_given(tmp_path):
    root = tree(tmp_path, {"a": xml(DOG), "b": xml(CAT)})
    assert read(root).classes == ("cat", "dog")
    given = read(root, classes=["dog", "bird", "cat"])
    assert given.classes == ("dog", "bird", "cat")
    assert [record.labels.tolist() for record in given] == [[0], [2]]


def test_only_listed_images_are_read_in_the_order_of_the_list(tmp_path):
    root = tree(tmp_path, {"a": xml(CAT), "b": xml(CAT), "c": xml(CAT)}, listed=["c", "a"])
    assert [record.id for record in read(root)] == ["c", "a"]


def test_a_image_may_be_empty(tmp_path):
    first, second = read(tree(tmp_path, {"a": xml(CAT), "b": xml()}))
    assert len(first.boxes) == 1
    assert second.boxes.shape == (0, 4)


LAUGHS = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>
<annotation><object><name>&c;</name></object></annotation>"""
EXTERNAL = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>
<annotation><object><name>&b;</name></object></annotation>"""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS, "content: expected plain XML.*EntitiesForbidden"),
        (EXTERNAL, "content: expected plain XML.*EntitiesForbidden"),
        ("<annotation><object>", "content: expected plain XML.*ParseError"),
        ("", "content: expected plain XML.*ParseError"),
        (xml(CAT, size=(8, 11)), r"size: expected \(height, width\) \(8, 10\), got \(8, 11\)"),
        (xml(CAT, size=("x", 10)), "content: expected plain XML with an integer size"),
    ],
)
def test_a_bad_annotation_is_an_error_or_leaves_out_its_image(tmp_path, content, message):
    root = tree(tmp_path, {"good": xml(CAT), "bad": content})
    with pytest.raises(ValueError, match=rf"bad\.xml: {message}"):
        read(root)
    dataset = read(root, strict=False)
    assert [record.id for record in dataset] == ["good"]
    assert len(dataset.problems) == 1
    assert "bad.xml" in dataset.problems[0]


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ({"name": "cat", "box": (5, 2, 3, 8)}, "positive width and height"),
        ({"name": "cat", "box": (11, 2, 30, 8)}, "inside the 10×8 image"),
        ({"name": "cat", "box": ("nan", 2, 3, 8)}, "finite corners"),
        ({"name": "cat", "box": ("", 2, 3, 8)}, "four numbers"),
        ({"name": "cow", "box": (1, 2, 3, 8)}, "a class among"),
        ({"name": "", "box": (1, 2, 3, 8)}, "a class among"),
        (CAT, "each object once"),
    ],
)
def test_a_bad_object_is_an_error_or_is_left_out_of_its_image(tmp_path, thing, message):
    root = tree(tmp_path, {"a": xml(CAT, thing)})
    with pytest.raises(ValueError, match=rf"a\.xml: object 1.*: expected .*{message}"):
        read(root, classes=["cat"])
    dataset = read(root, classes=["cat"], strict=False)
    assert dataset[0].labels.tolist() == [0]
    assert len(dataset.problems) == 1


def test_a_truncated_image_is_an_error_or_is_left_out(tmp_path):
    root = tree(tmp_path, {"a": xml(CAT), "b": xml(CAT)})
    noise(root / "JPEGImages" / "b.jpg")
    truncate(root / "JPEGImages" / "b.jpg")
    with pytest.raises(ValueError, match=r"b\.jpg: content: expected an image that decodes"):
        read(root)
    assert [record.id for record in read(root, strict=False)] == ["a"]


@pytest.mark.parametrize("name", ["missing", "../../secret", "/etc/hostname"])
def test_a_list_that_names_what_is_not_there_is_refused(tmp_path, name):
    root = tree(tmp_path, {"a": xml(CAT)}, listed=["a", name])
    with pytest.raises(ValueError, match=r"train\.txt: list: expected"):
        read(root)
    dataset = read(root, strict=False)
    assert [record.id for record in dataset] == ["a"]
    assert len(dataset.problems) == 1


def test_a_name_listed_twice_is_an_error_or_counts_once(tmp_path):
    root = tree(tmp_path, {"a": xml(CAT)}, listed=["a", "a"])
    with pytest.raises(
        ValueError, match=r"train\.txt: list: expected each name once, got 'a' again"
    ):
        read(root)
    assert len(read(root, strict=False)) == 1


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_split_is_refused(tmp_path, content):
    root = tree(tmp_path, {"a": xml(CAT)})
    text(root / "ImageSets" / "Main" / "train.txt", content)
    with pytest.raises(ValueError, match=r"train\.txt: list: expected at least one line, got none"):
        read(root, strict=False)


def test_a_missing_split_is_refused(tmp_path):
    message = r"val\.txt: file: expected an existing file, got no such file \(near it: train\.txt\)"
    with pytest.raises(ValueError, match=message):
        read(tree(tmp_path, {"a": xml(CAT)}), split="val", strict=False)


def test_blood_cells_are_read_whole(shared_data):
    train = data.read_voc(shared_data / "bccd", split="train")
    test = data.read_voc(shared_data / "bccd", split="test", classes=train.classes)
    assert (len(train), len(test)) == (205, 72)
    assert train.classes == ("Platelets", "RBC", "WBC")
    # by hand, from BloodImage_00001.xml: 44, 205, 186, 312
    np.testing.assert_array_equal(train[0].boxes[0], [43, 204, 186, 312])
