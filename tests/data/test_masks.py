import numpy as np
import pytest

from lectures_jax import data
from lectures_jax.data.images import decode_mask
from tests.data.files import image_file, noise, text, truncate


def tree(root, names=("a", "b")):
    for name in names:
        image_file(root / "images" / f"{name}.jpg")
        image_file(root / "masks" / f"{name}.png", mode="L")
    return root


def read(root, **options):
    return data.read_masks(root / "images", root / "masks", **options)


def test_each_image_has_its_mask(tmp_path):
    dataset = read(tree(tmp_path), classes=["cell"])
    assert [record.id for record in dataset] == ["a", "b"]
    assert dataset[0].image.name == "a.jpg"
    assert dataset[0].mask.name == "a.png"
    assert dataset.classes == ("cell",)


def test_a_list_chooses_the_split(tmp_path):
    root = tree(tmp_path)
    assert [r.id for r in read(root, names=text(root / "train.txt", "b\n"))] == ["b"]


def test_a_missing_mask_is_an_error_or_leaves_out_its_image(tmp_path):
    root = tree(tmp_path)
    (root / "masks" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"images: mask: expected the name of a file in .*masks"):
        read(root)
    assert [record.id for record in read(root, strict=False)] == ["a"]


@pytest.mark.parametrize("name", ["missing", "../../secret", "/etc/hostname"])
def test_a_list_that_names_what_is_not_there_is_refused(tmp_path, name):
    root = tree(tmp_path)
    names = text(root / "train.txt", f"a\n{name}\n")
    with pytest.raises(ValueError, match=r"train\.txt: image: expected"):
        read(root, names=names)
    assert [record.id for record in read(root, names=names, strict=False)] == ["a"]


def test_a_mask_of_another_size_is_an_error_or_leaves_out_its_image(tmp_path):
    root = tree(tmp_path)
    image_file(root / "masks" / "b.png", 9, 10, "L")
    with pytest.raises(ValueError, match=r"b\.png: height, width: .*\(8, 10\), got \(9, 10\)"):
        read(root)
    assert [record.id for record in read(root, strict=False)] == ["a"]


@pytest.mark.parametrize("file", ["images/b.jpg", "masks/b.png"])
def test_a_truncated_file_is_an_error_or_leaves_out_its_image(tmp_path, file):
    root = tree(tmp_path)
    noise(root / file)
    truncate(root / file)
    with pytest.raises(ValueError, match=r"b\.(jpg|png): (content|mode)"):
        read(root)
    assert [record.id for record in read(root, strict=False)] == ["a"]


def test_two_images_of_one_name_are_an_error_or_count_once(tmp_path):
    root = tree(tmp_path)
    image_file(root / "images" / "a.png")
    with pytest.raises(ValueError, match="expected each name once, got 'a' again"):
        read(root)
    assert len(read(root, strict=False)) == 2


def test_a_listed_name_of_two_images_is_an_error(tmp_path):
    root = tree(tmp_path)
    image_file(root / "images" / "a.png")
    names = text(root / "train.txt", "a\nb\n")
    with pytest.raises(ValueError, match=r"image: expected one file named a, got a\.jpg, a\.png"):
        read(root, names=names)


def test_an_empty_split_is_refused(tmp_path):
    root = tree(tmp_path)
    with pytest.raises(ValueError, match="at least one line, got none"):
        read(root, names=text(root / "train.txt", ""), strict=False)


def test_nuclei_are_read_whole(shared_data):
    folder = shared_data / "nuclei"
    dataset = data.read_masks(
        folder / "images", folder / "labels", names=folder / "test.txt", classes=["nucleus"]
    )
    assert len(dataset) == 40
    mask = decode_mask(dataset[0].mask)
    np.testing.assert_array_equal(np.unique(mask), np.arange(mask.max() + 1))
