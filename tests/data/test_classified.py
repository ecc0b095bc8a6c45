"""Classified sets: official splits, and what is missing is told."""

import gzip
import struct

import numpy as np
import pytest

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
