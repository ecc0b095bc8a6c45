"""The built-in photographs: which there are, and what is missing without their packages."""

import sys

import numpy as np
import pytest
from skimage.data import astronaut
from sklearn.datasets import load_sample_image

from lectures_jax import data
from lectures_jax.data.photographs import PHOTOGRAPHS


def test_all_are_in_color_and_large_enough_for_a_network():
    images = data.photographs()
    assert list(images) == list(PHOTOGRAPHS)
    for image in images.values():
        assert image.dtype == np.float32
        assert image.shape[2] == 3
        assert min(image.shape[:2]) >= 300
        assert 0 <= image.min() < 0.1
        assert 0.8 < image.max() <= 1
        assert np.abs(image - image.mean(axis=2, keepdims=True)).mean() > 0.01


def test_they_are_what_their_packages_give():
    images = data.photographs("astronaut", "pagoda")
    assert list(images) == ["astronaut", "pagoda"]
    np.testing.assert_array_equal(np.rint(255 * images["astronaut"]), astronaut())
    np.testing.assert_array_equal(np.rint(255 * images["pagoda"]), load_sample_image("china.jpg"))


def test_an_unknown_name_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"some of pagoda, dahlia, .*, got 'horse'"):
        data.photographs("cat", "horse")


def test_without_scikit_image_the_others_are_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.delitem(sys.modules, "skimage.data", raising=False)
    assert len(data.photographs("pagoda", "dahlia")) == 2
    with pytest.raises(ImportError, match=r"the photograph chelsea\.png needs scikit-image"):
        data.photographs("cat")
