"""What a code leaves of images: by hand, and of sets whose dimension is known."""

import importlib.util
import sys

import numpy as np
import pytest

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def sizes(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch4_generative" / "latent_size.py"
    spec = importlib.util.spec_from_file_location("experiment_latent_size", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def square(count):
    """Images of 4×4 pixels that lie on a square."""
    axes = np.linalg.qr(RNG.normal(size=(16, 2)))[0].T
    images = 0.5 + RNG.uniform(-0.5, 0.5, (count, 2)) @ axes
    return images.reshape(count, 4, 4, 1).astype(np.float32)


def test_what_is_left_by_hand(sizes):
    images = sizes.Set(np.full((2, 1, 1, 1), 0.5), np.array([0.0, 1.0]).reshape(2, 1, 1, 1), 1.0)
    assert sizes.left_over(images, images.unseen) == 0
    assert sizes.left_over(images, np.full((2, 1, 1, 1), 0.5)) == 1
    assert sizes.left_over(images, np.array([0.25, 0.75]).reshape(2, 1, 1, 1)) == 0.25


def test_a_square_has_two_dimensions_and_two_components_leave_nothing(sizes):
    images = sizes.split(square(1000))
    assert len(images.trained) == 800
    assert len(images.unseen) == 200
    assert images.dimension == pytest.approx(2, abs=0.25)
    assert sizes.linear_left_over(images, 2) < 1e-6
    assert sizes.linear_left_over(images, 1) > 0.05


def test_no_image_is_trained_on_and_unseen(sizes):
    images = sizes.split(square(50))
    rows = [x.reshape(len(x), -1) for x in images[:2]]
    assert np.abs(rows[0][:, None] - rows[1]).max(axis=-1).min() > 0


def test_a_code_of_the_dimension_of_the_images_suffices(sizes, tmp_path):
    images = sizes.split(square(500))
    config = sizes.Config(steps=300, hidden=32)
    left = [
        sizes.left_over(images, sizes.rebuild(config, images, size, tmp_path / str(size), 0))
        for size in (1, 2)
    ]
    assert left[1] < 0.15
    assert left[0] > 0.3


def test_the_turned_digit_has_one_dimension(sizes):
    assert sizes.read()["turned"].dimension == pytest.approx(1, abs=0.2)
