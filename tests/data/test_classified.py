"""Classified sets: official splits, and one line about what is missing."""

import gzip
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from lectures_jax import data


def test_the_digits_are_theirs_and_have_17_levels():
    splits = data.read_classified("digits")
    assert len(splits.train["labels"]) + len(splits.test["labels"]) < 1797
    assert splits.levels == len(np.unique(splits.train["image"])) == 17


def test_four_files_become_two_splits(tmp_path):
    for name, count in (("train", 3), ("t10k", 2)):
        pixels = np.full((count, 2, 2), 51, np.uint8)
        head = struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape)
        with gzip.open(tmp_path / f"{name}-images-idx3-ubyte.gz", "wb") as file:
            file.write(head + pixels.tobytes())
        with gzip.open(tmp_path / f"{name}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">4BI", 0, 0, 8, 1, count) + bytes(count))
    splits = data.read_classified("idx", tmp_path, classes=["shirt"])
    assert splits.train["image"].shape == (3, 2, 2, 1)
    assert splits.test["labels"].tolist() == [0, 0]
    assert splits.classes == ("shirt",)
    np.testing.assert_allclose(splits.train["image"], 0.2, rtol=1e-6)


def test_files_need_a_folder():
    with pytest.raises(ValueError, match="root must name a folder for kind='idx', got none"):
        data.read_classified("idx")


def tiles(folder, counts, *, size=4, mode="RGB"):
    """One folder per class, each image of a shade of its own; returns the shades by class."""
    shades = {}
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        shades[name] = [20 * label + i for i in range(count)]
        for shade in shades[name]:
            Image.new("L", (size, size), shade).convert(mode).save(folder / name / f"{shade}.png")
    return shades


def zipped(folder, file, **options):
    with zipfile.ZipFile(file, "w", **options) as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder).as_posix())
    return file


def test_a_folder_per_class_becomes_two_splits_and_its_zip_the_same(tmp_path):
    shades = tiles(tmp_path / "set", {"wall": 10, "floor": 5})
    splits = data.read_classified("images", tmp_path / "set")
    assert splits.classes == ("floor", "wall")
    assert splits.levels == 256
    assert splits.train["image"].shape == (12, 4, 4, 3)
    assert np.bincount(splits.test["labels"]).tolist() == [1, 2]
    seen = {name: [] for name in shades}
    for part in (splits.train, splits.test):
        for image, label in zip(part["image"], part["labels"], strict=True):
            seen[splits.classes[label]].append(round(float(image[0, 0, 0]) * 255))
    assert {name: sorted(values) for name, values in seen.items()} == shades
    again = data.read_classified("images", zipped(tmp_path / "set", tmp_path / "set.zip"))
    assert again.classes == splits.classes
    np.testing.assert_array_equal(again.train["image"], splits.train["image"])
    np.testing.assert_array_equal(again.test["labels"], splits.test["labels"])


def test_the_classes_of_a_folder_are_mixed(tmp_path):
    tiles(tmp_path, {"floor": 20, "wall": 20})
    for part in data.read_classified("images", tmp_path)[:2]:
        quarter = part["labels"][: len(part["labels"]) // 4]
        assert set(quarter.tolist()) == {0, 1}


def test_transparent_images_lie_on_black(tmp_path):
    (tmp_path / "a").mkdir()
    for name, alpha in (("0", 0), ("1", 255), ("2", 51)):
        Image.new("RGBA", (1, 1), (200, 100, 50, alpha)).save(tmp_path / "a" / f"{name}.png")
    splits = data.read_classified("images", tmp_path)
    colors = np.concatenate([splits.train["image"], splits.test["image"]])[:, 0, 0]
    expected = np.array([[0, 0, 0], [40, 20, 10], [200, 100, 50]]) / 255
    np.testing.assert_allclose(colors[np.argsort(colors[:, 0])], expected, atol=1e-6)


def test_crawl_tiles(shared_data):
    splits = data.read_classified("images", shared_data / "crawl_tiles" / "crawl_tiles.zip")
    assert splits.classes == ("dngn", "effect", "item", "misc", "mon")
    assert splits.train["image"].shape[1:] == (32, 32, 3)
    assert len(splits.train["labels"]) + len(splits.test["labels"]) == 2514


def not_a_zip(folder):
    (folder / "x.zip").write_bytes(b"PK no")
    return folder / "x.zip"


def nothing(folder):
    folder.mkdir(exist_ok=True)
    return folder


def no_image(folder):
    tiles(folder, {"a": 3})
    (folder / "a" / "0.png").write_bytes(b"text")
    return zipped(folder, folder / "x.zip")


def bomb(folder):
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.png", bytes(30_000_000))
        archive.writestr("a/c.png", b"no")
    return folder / "x.zip"


def lying_bomb(folder):
    file = bomb(folder)
    content = file.read_bytes().replace((30_000_000).to_bytes(4, "little"), b"\x09\0\0\0")
    file.write_bytes(content)
    return file


def one_only(folder):
    tiles(folder, {"a": 3, "b": 1})
    return folder


def climbing(folder):
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("../../a.png", b"text")
    return folder / "x.zip"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (not_a_zip, "x.zip: file: expected a zip file"),
        (nothing, "images: expected one to 500000, in one folder per class, got 0"),
        (no_image, "a/0.png: content: expected an image that decodes"),
        (bomb, "a/b.png: size: expected at most 20000000 bytes .*, got 30000000"),
        (lying_bomb, "a/b.png: content: expected a file in a zip"),
        (one_only, "b: images: expected at least two, got 1"),
        (climbing, "images: expected one to 500000"),
    ],
)
def test_what_is_wrong_with_images_is_one_line(make, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        data.read_classified("images", make(tmp_path))
    assert "\n" not in str(error.value)


def test_names_are_for_files_that_only_number_their_classes():
    with pytest.raises(ValueError, match="classes must be None for kind='digits', got 2 names"):
        data.read_classified("digits", classes=["a", "b"])
