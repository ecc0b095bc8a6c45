from pathlib import Path

import pytest

from lectures_jax.data.files import resolve_in_root
from lectures_jax.data.problems import ErrorLog
from tests.data.files import image_file

FILE = Path("labels.txt")


@pytest.fixture
def tree(tmp_path):
    """A folder with an image, one outside of it, and links to both."""
    root = tmp_path / "root"
    image_file(root / "in" / "a.png")
    image_file(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "out").symlink_to(tmp_path)
    (root / "inner.png").symlink_to(root / "in" / "a.png")
    (root / "loop").symlink_to(root / "loop")
    return root


@pytest.mark.parametrize("name", ["in/a.png", "inner.png", "./in/a.png"])
def test_a_path_inside_the_root_is_resolved(tree, name):
    assert resolve_in_root(tree, name, FILE, "list", ErrorLog(strict=True)) == tree / name


@pytest.mark.parametrize(
    "name", ["../secret.png", "in/../../secret.png", "in/../in/a.png", "link.png", "out/secret.png"]
)
def test_a_path_that_climbs_out_of_the_root_is_refused(tree, name):
    with pytest.raises(ValueError, match=r"labels.txt: list: expected a path inside .*root, got"):
        resolve_in_root(tree, name, FILE, "list", ErrorLog(strict=True))


def test_an_absolute_path_is_refused(tree):
    problems = ErrorLog(strict=False)
    assert resolve_in_root(tree, str(tree.parent / "secret.png"), FILE, "list", problems) is None
    assert "a path inside" in problems.lines[0]


@pytest.mark.parametrize("name", ["missing.png", "in", "", "loop", "a" * 5000, "a\0b"])
def test_a_name_that_is_no_file_is_refused(tree, name):
    with pytest.raises(ValueError, match=r"labels.txt: list: expected the name of a file in"):
        resolve_in_root(tree, name, FILE, "list", ErrorLog(strict=True))
