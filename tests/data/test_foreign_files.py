"""Data sets as other tools write them: layouts, spelling, litter, and classes of other numbers."""

import gzip
import json
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from lectures_jax import data
from lectures_jax.recipes import detection_data
from tests.data.files import image_file, text

BOM = "\ufeff"


def yolo(root, line="1 .5 .5 .4 .25", *, images="images", labels="labels", name="a"):
    image_file(root / images / f"{name}.png")
    text(root / labels / f"{name}.txt", line)
    return root


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ("1.000e+00 5.0e-01 .5 4.0E-1 .25", [3, 3, 7, 5]),
        ("1.0 0.5 0.5 0.4 0.25", [3, 3, 7, 5]),
        (f"{BOM}1 .5 .5 .4 .25\r\n\r\n", [3, 3, 7, 5]),
        ("1 .3 .375 .7 .375 .5 .625", [3, 3, 7, 5]),  # a triangle
        ("1.0 .3 .4 .7 .375 .7 .625 .31 .6", [3, 3, 7, 5]),
        ("1 0 0 1 0 1 1 0 1", [0, 0, 10, 8]),
    ],
)
def test_a_line_is_read_however_it_is_spelled(tmp_path, line, box):
    text(yolo(tmp_path, line) / "classes.txt", f"{BOM}cat\r\ndog\r\n")
    dataset = data.read_yolo(tmp_path)
    np.testing.assert_allclose(dataset[0].boxes, [box], atol=1e-5)
    assert dataset.classes == ("cat", "dog")
    assert dataset[0].labels.tolist() == [1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.5 .5 .5 .4 .25", "a class among"),
        ("nan .5 .5 .4 .25", "a class among"),
        ("1 .3 .3 .7 .3 .5 x", "pairs of numbers"),
        ("1 .3 .3 .7 .3 .5 inf", "finite corners"),
        ("1 .3 .3 .7 .3 .5 .3", "positive width and height"),
        ("1 .5 .5 .4 .25 .9", "four numbers"),
    ],
)
def test_a_line_that_means_nothing_is_a_problem(tmp_path, line, message):
    text(yolo(tmp_path, line) / "classes.txt", "cat\ndog\n")
    with pytest.raises(ValueError, match=f"line 1.*: expected .*{message}"):
        data.read_yolo(tmp_path)


LAYOUTS = {
    "Darknet": ("images/train", "labels/train", {"classes.txt": "cat\ndog"}),
    "Roboflow": (
        "train/images",
        "train/labels",
        {"data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: [cat, dog]"},
    ),
    "Ultralytics": (
        "images/train2017",
        "labels/train2017",
        {"data.yaml": "path: ../datasets/pets\ntrain: images/train2017\nnames: {0: cat, 1: dog}"},
    ),
    "labelImg": ("images/train", "labels/train", {"labels/train/classes.txt": "cat\ndog"}),
    "wrapped": ("x/y/images/train", "x/y/labels/train", {"x/y/classes.txt": "cat\ndog"}),
    "one folder for both": (
        "files",
        "files",
        {"data.yaml": "train: files\nnames:\n- cat\n- dog\n"},
    ),
}


@pytest.mark.parametrize("tool", LAYOUTS)
def test_a_layout_is_recognized(tmp_path, tool):
    images, labels, files = LAYOUTS[tool]
    yolo(tmp_path, images=images, labels=labels)
    for name, content in files.items():
        text(tmp_path / name, content)
    dataset = data.read_yolo(tmp_path, split="train")
    assert (dataset.classes, dataset[0].labels.tolist()) == (("cat", "dog"), [1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names: cat", "names: expected a list, or a dictionary"),
        ("names: {1: cat, 2: dog}", "names: expected a list, or a dictionary"),
        ("names: [[cat]]", "names: expected a list, or a dictionary"),
        ("names: [cat, cat]", "list: expected each name once"),
        ("names: []", "classes: expected at least one"),
        ("[cat", "content: expected YAML"),
        ("cat", "content: expected names, train and val, got str"),
        ("!!python/object/apply:os.system ['true']", "content: expected YAML"),
    ],
)
def test_a_data_yaml_that_names_no_classes_is_refused(tmp_path, content, message):
    text(yolo(tmp_path) / "data.yaml", content)
    with pytest.raises(ValueError, match=rf"data\.yaml: {message}"):
        data.read_yolo(tmp_path)


@pytest.mark.parametrize("path", ["/etc", "../secret/images", "a/../../secret/images"])
def test_a_data_yaml_does_not_lead_out_of_the_root(tmp_path, path):
    yolo(tmp_path / "secret")
    root = yolo(tmp_path / "root" / "set", images="x/y", labels="x/z").parent
    text(root / "set" / "data.yaml", f"train: {path}\nnames: [cat, dog]")
    text(root / "more.txt", "")
    with pytest.raises(ValueError, match="images: expected a folder"):
        data.read_yolo(root / "set", split="train")


def test_litter_is_left_out_of_every_reader(tmp_path):
    def litter(folder):
        for name in (".DS_Store", "Thumbs.db", "._a.png", "._a.txt", "._a.xml", "classes.txt"):
            text(folder / name, "\0")
        text(folder / ".ipynb_checkpoints" / "a-checkpoint.png", "")

    text(yolo(tmp_path / "yolo") / "classes.txt", "cat\ndog\n")
    litter(tmp_path / "yolo" / "images")
    litter(tmp_path / "yolo" / "labels")
    assert [record.id for record in data.read_yolo(tmp_path / "yolo")] == ["a"]
    image_file(tmp_path / "masks" / "images" / "a.JPG")
    image_file(tmp_path / "masks" / "masks" / "a.PNG", mode="L")
    litter(tmp_path / "masks" / "images")
    litter(tmp_path / "masks" / "masks")
    dataset = data.read_masks(tmp_path / "masks" / "images", tmp_path / "masks" / "masks")
    assert [record.id for record in dataset] == ["a"]
    for name in ("b", "c"):
        for i in range(2):
            image_file(tmp_path / "folders" / name / f"{i}.PNG")
        litter(tmp_path / "folders" / name)
        (tmp_path / "folders" / name / "classes.txt").unlink()
    text(tmp_path / "folders" / "__MACOSX" / "b" / "0.png", "\0")
    text(tmp_path / "folders" / ".ipynb_checkpoints" / "0.png", "\0")
    splits = data.read_classified("images", tmp_path / "folders")
    assert splits.classes == ("b", "c")
    assert len(splits.train["labels"]) + len(splits.test["labels"]) == 4


OBJECT = (
    "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"
    "</bndbox></object>"
)


def voc(root, suffix=".jpg", content=OBJECT, listed="a\n", split="train"):
    image_file(root / "JPEGImages" / "a.png").rename(root / "JPEGImages" / f"a{suffix}")
    text(root / "Annotations" / "a.xml", f"<annotation>{content}</annotation>")
    text(root / "ImageSets" / "Main" / f"{split}.txt", listed)
    return root


@pytest.mark.parametrize(
    ("suffix", "listed"),
    [
        (".JPG", "a\r\n\r\n"),
        (".JPEG", f"{BOM}a"),
        (".Png", "a  1\n"),  # a list of one class
        (".tif", "  a\n"),
    ],
)
def test_a_voc_image_and_its_list_are_read_however_they_are_spelled(tmp_path, suffix, listed):
    (record,) = data.read_voc(voc(tmp_path, suffix, listed=listed), split="train")
    assert record.image.name == f"a{suffix}"


def test_voc_without_lists_is_split_by_a_draw_that_is_mentioned(tmp_path):
    for i in range(10):
        image_file(tmp_path / "JPEGImages" / f"{i}.jpg")
        text(tmp_path / "Annotations" / f"{i}.xml", f"<annotation>{OBJECT}</annotation>")
    train, test = detection_data.read_splits("voc", tmp_path)
    names = [{record.id for record in dataset} for dataset in (train, test)]
    assert [len(split) for split in names] == [8, 2]
    assert names[0] | names[1] == {str(i) for i in range(10)}
    assert "no lists of the splits: 2 of 10 images were drawn" in test.problems[0]
    again = detection_data.read_splits("voc", tmp_path, splits=("train", "val"))[1]
    assert {record.id for record in again} == names[1]
    with pytest.raises(ValueError, match=r"night\.txt: file: expected an existing file"):
        data.read_voc(tmp_path, split="night")


def test_voc_below_its_devkit_is_read(tmp_path):
    voc(tmp_path / "VOCdevkit" / "VOC2012")
    assert len(data.read_voc(tmp_path, split="train")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Annotations: objects: expected at least one <object>, got none in 1 files"),
        ("<item/>", "Annotations: objects: expected at least one <object>"),
    ],
)
def test_voc_without_an_object_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        data.read_voc(voc(tmp_path, content=content), split="train", strict=False)
    text(tmp_path / "Annotations" / "a.xml", "<svg/>")
    with pytest.raises(ValueError, match=r"a\.xml: root: expected <annotation>.*, got <svg>"):
        data.read_voc(tmp_path, split="train")


def test_a_split_without_a_box_is_refused_where_the_classes_are_given(tmp_path):
    voc(tmp_path, content="")
    with pytest.raises(ValueError, match=r"objects: expected at least one in Annotations/\*\.xml"):
        data.read_voc(tmp_path, split="train", classes=["cat"])


def coco(file, folder, categories, labels, name="a.png"):
    image_file(folder / name)
    content = {
        "images": [{"id": 1, "file_name": name}],
        "categories": [{"id": i, "name": n} for i, n in categories],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": label, "bbox": [i, 0, 2, 2]}
            for i, label in enumerate(labels)
        ],
    }
    text(file, BOM + json.dumps(content))


def test_categories_are_matched_by_name(tmp_path):
    for split, categories in (
        ("train", [(1, "cat"), (2, "dog")]),
        ("test", [(1, "dog"), (2, "cat")]),
    ):
        file = tmp_path / "annotations" / f"instances_{split}.json"
        coco(file, tmp_path / split, categories, [1, 2])
    train, test = detection_data.read_splits("coco", tmp_path)
    assert train.classes == test.classes == ("cat", "dog")
    assert [train[0].labels.tolist(), test[0].labels.tolist()] == [[0, 1], [1, 0]]
    coco(file, tmp_path / "test", [(1, "dog"), (2, "cow")], [1, 2])
    with pytest.raises(ValueError, match=r"a class among \['cat', 'dog'\], got cow"):
        detection_data.read_splits("coco", tmp_path)


def test_categories_of_one_name_are_one_class(tmp_path):
    coco(tmp_path / "a.json", tmp_path, [(0, "pothole"), (1, "pothole")], [1, 1])
    dataset = data.read_coco(tmp_path / "a.json", tmp_path)
    assert dataset.classes == ("pothole",)
    assert dataset[0].labels.tolist() == [0, 0]


def test_a_coco_file_without_an_annotation_is_refused(tmp_path):
    coco(tmp_path / "a.json", tmp_path, [(0, "cat")], [])
    with pytest.raises(ValueError, match=r"objects: expected at least one in annotations, got no"):
        data.read_coco(tmp_path / "a.json", tmp_path)


def roboflow_coco(root):
    for split in ("train", "valid"):
        coco(root / split / "_annotations.coco.json", root / split, [(1, "cat")], [1])


def coco_2017(root):
    for split in ("train2017", "val2017"):
        file = root / "annotations" / f"instances_{split}.json"
        coco(file, root / "images" / split, [(1, "cat")], [1])


def voc_without_test(root):
    for split in ("train", "val"):
        voc(root, split=split)


@pytest.mark.parametrize(
    ("kind", "write", "names"),
    [
        ("coco", roboflow_coco, ("train", "valid")),
        ("coco", coco_2017, ("train2017", "val2017")),
        ("voc", voc_without_test, ("train", "val")),
    ],
)
def test_the_usual_splits_are_those_that_are_there(tmp_path, kind, write, names):
    write(tmp_path / "wrapped")
    assert detection_data.split_names(kind, tmp_path) == names
    train, test = detection_data.read_splits(kind, tmp_path)
    assert (len(train), len(test)) == (1, 1)
    assert detection_data.split_names(kind) == detection_data.USUAL[kind][0]


def test_annotations_that_lead_out_of_the_root_are_refused(tmp_path):
    coco(tmp_path / "secret.json", tmp_path / "set" / "train", [(1, "cat")], [1])
    (tmp_path / "set" / "annotations").mkdir()
    link = tmp_path / "set" / "annotations" / "instances_train.json"
    link.symlink_to(tmp_path / "secret.json")
    with pytest.raises(ValueError, match=r"instances_train\.json: file: expected a path inside"):
        detection_data.read_splits("coco", tmp_path / "set", splits=("train", "train"))


def idx(root, spelling="{}-{}-{}-ubyte", *, classes=None, packed=False):
    for split, labels in (("train", [0, 2, 1]), ("t10k", [1, 0])):
        labels = np.array(labels, np.uint8)
        images = np.full((len(labels), 2, 2), 51, np.uint8)
        for what, kind, array in (("images", "idx3", images), ("labels", "idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            content = head + array.tobytes()
            path = root / spelling.format(split, what, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(content) if packed else content)
    if classes:
        text(root / "classes.txt", classes)
    return root


@pytest.mark.parametrize(
    ("spelling", "packed"),
    [
        ("{}-{}-{}-ubyte", False),
        ("{}-{}-{}-ubyte.gz", True),
        ("{}-{}-{}-ubyte.gz", False),  # unpacked by a browser that keeps the name
        ("{}-{}.{}-ubyte", False),
        ("MNIST/raw/{}-{}-{}-ubyte", False),
    ],
)
def test_idx_files_are_read_however_they_are_spelled(tmp_path, spelling, packed):
    splits = data.read_classified("idx", idx(tmp_path, spelling, packed=packed))
    assert splits.train["labels"].tolist() == [0, 2, 1]
    assert splits.classes == ("0", "1", "2")


def test_classes_of_an_idx_set_are_named_beside_it(tmp_path):
    root = idx(tmp_path, classes=f"{BOM}ka\r\nga\r\nnga\r\n")
    assert data.read_classified("idx", root).classes == ("ka", "ga", "nga")
    assert data.read_classified("idx", root, classes="xyz").classes == ("x", "y", "z")
    text(root / "classes.txt", "ka\nga")
    with pytest.raises(ValueError, match="label 1: expected less than 2, got 2"):
        data.read_classified("idx", root)


def folders(root, *names, shades=(10, 20, 30)):
    for i, name in enumerate(names):
        for shade in shades:
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), shade + i).save(root / name / f"{shade}.png")
    return root


def zipped(folder, file):
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder).as_posix())
    return file


@pytest.mark.parametrize("wrapper", ["", "set/", "a/b/"])
@pytest.mark.parametrize("packed", [False, True])
def test_splits_above_the_classes_are_the_splits(tmp_path, wrapper, packed):
    root = tmp_path / "root"
    names = [f"{wrapper}{split}/{name}" for split in ("train", "Test") for name in ("dog", "cat")]
    folders(root, *names)
    folders(root, f"{wrapper}val/dog")  # is not used: there is a test split
    text(root / "._x.png", "")
    splits = data.read_classified("images", zipped(root, tmp_path / "x.zip") if packed else root)
    assert splits.classes == ("cat", "dog")
    shades = [np.rint(part["image"][:, 0, 0, 0] * 255) for part in splits[:2]]
    assert sorted(shades[0]) == [10, 11, 20, 21, 30, 31]
    assert sorted(shades[1]) == [12, 13, 22, 23, 32, 33]
    for part, values, first in zip(splits[:2], shades, (0, 2), strict=True):
        np.testing.assert_array_equal(part["labels"], 1 - (values % 10 - first))


def test_a_wrapping_folder_is_no_class(tmp_path):
    splits = data.read_classified("images", folders(tmp_path, "wrap/train/cat", "wrap/train/dog"))
    assert splits.classes == ("cat", "dog")
    assert len(splits.test["labels"]) == 2  # a fifth of three, but one at least, of each


def test_classes_that_are_called_train_are_classes(tmp_path):
    assert data.read_classified("images", folders(tmp_path, "train", "car")).classes == (
        "car",
        "train",
    )


def test_a_class_that_is_in_the_test_split_only_is_refused(tmp_path):
    root = folders(tmp_path, "train/cat", "train/dog", "val/cow")
    with pytest.raises(ValueError, match=r"class: expected one of train's, .*, got c"):
        data.read_classified("images", root)


@pytest.mark.parametrize(
    ("names", "listed", "classes"),
    [
        (["a", "b"], "b\na\n", ("b", "a")),
        (["0", "1", "10"], "\n".join("abcdefghijk"), tuple("abcdefghijk")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_list_of_classes_orders_or_names_the_folders(tmp_path, names, listed, classes, packed):
    root = folders(tmp_path / "root", *names)
    text(root / "classes.txt", listed)
    splits = data.read_classified("images", zipped(root, tmp_path / "x.zip") if packed else root)
    assert splits.classes == classes
    number = {name: i for i, name in enumerate(names)}
    for part in splits[:2]:
        for image, label in zip(part["image"], part["labels"], strict=True):
            shade = round(float(image[0, 0, 0]) * 255) % 10
            name = names[shade]
            assert label == (classes.index(name) if name in classes else int(name))
            assert number[name] == shade


def test_a_list_of_other_classes_is_refused(tmp_path):
    text(folders(tmp_path, "a", "b") / "classes.txt", "x\ny\n")
    with pytest.raises(ValueError, match=r"classes\.txt: classes: expected the names of the fol"):
        data.read_classified("images", tmp_path)


def test_images_of_several_sizes_become_of_one(tmp_path):
    for i, size in enumerate([(30, 20), (300, 200), (301, 200), (300, 240)]):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.new("RGB", size, (50 * i, 0, 0)).save(tmp_path / "a" / f"{i}.png")
    splits = data.read_classified("images", tmp_path)
    assert splits.train["image"].shape == (3, 64, 96, 3)  # of 200×300, the longer side 96
    reds = np.concatenate([splits.train["image"], splits.test["image"]])[:, 0, 0, 0]
    np.testing.assert_allclose(np.sort(reds) * 255, [0, 50, 100, 150], atol=1e-3)
    splits = data.read_classified("images", tmp_path, image_size=(8, 16))
    assert splits.train["image"].shape == (3, 8, 16, 3)
