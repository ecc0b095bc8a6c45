import numpy as np
import pytest

from lectures_jax import data
from tests.data.files import noise, picture, text, truncate


def tree(root):
    for name in ("dog/b.png", "dog/deep/a.jpg", "cat/c.png"):
        picture(root / name)
    return root


def test_folders_are_classes(tmp_path):
    dataset = data.read_image_folder(tree(tmp_path))
    assert dataset.classes == ("cat", "dog")
    assert [record.id for record in dataset] == ["cat/c.png", "dog/b.png", "dog/deep/a.jpg"]
    assert [record.labels.tolist() for record in dataset] == [[0], [1], [1]]
    assert dataset[0].labels.dtype == np.int32


def test_other_and_hidden_files_are_passed_over(tmp_path):
    root = tree(tmp_path)
    text(root / "README.md", "")
    text(root / "cat" / "notes.txt", "")
    text(root / "cat" / "._c.png", "")
    (root / ".git").mkdir()
    assert len(data.read_image_folder(root)) == 3


def test_a_class_without_a_picture_is_a_problem(tmp_path):
    root = tree(tmp_path)
    (root / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: images: expected at least one, got none"):
        data.read_image_folder(root)
    dataset = data.read_image_folder(root, strict=False)
    assert dataset.classes == ("cat", "dog", "empty")
    assert len(dataset.problems) == 1


def test_a_truncated_picture_is_an_error_or_is_left_out(tmp_path):
    root = tree(tmp_path)
    noise(root / "cat" / "d.jpg")
    truncate(root / "cat" / "d.jpg")
    with pytest.raises(ValueError, match=r"d\.jpg: content"):
        data.read_image_folder(root)
    assert len(data.read_image_folder(root, strict=False)) == 3


@pytest.mark.parametrize("link", ["cat/link.png", "bird"])
def test_a_link_that_leaves_the_root_is_refused(tmp_path, link):
    root = tree(tmp_path / "root")
    outside = picture(tmp_path / "out" / "secret.png")
    (root / link).symlink_to(outside if link.endswith("png") else outside.parent)
    with pytest.raises(ValueError, match="expected"):
        data.read_image_folder(root)
    dataset = data.read_image_folder(root, strict=False)
    assert len(dataset) == 3
    assert dataset.problems


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_root_without_pictures_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="expected at least one good image, got none"):
        data.read_image_folder(tmp_path / name, strict=False)
