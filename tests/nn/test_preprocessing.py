"""Normalize: by hand, static, and strict about its numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax.nn.preprocessing import IMAGENET, Normalize


def test_each_channel_has_its_own_mean_and_deviation():
    images = jnp.full((1, 1, 2, 2), 0.5)
    normalized = Normalize((0.25, 0.5), (0.5, 0.1))(images)
    np.testing.assert_allclose(normalized[0, 0], [[0.5, 0.0]] * 2)


def test_lists_become_tuples_so_that_a_structure_can_be_hashed():
    assert hash(Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])) == hash(IMAGENET)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), (0.5, 0.5), "std must be one number above 0 for each mean"),
        ((0.5,), (0.0,), "std must be one number above 0"),
        ((0.5,), (float("nan"),), "std must be one number above 0"),
        ((float("inf"),), (1.0,), "mean must be finite"),
    ],
)
def test_numbers_that_normalize_nothing_are_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalize(mean, std)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"images must have the 3 channels of mean .* got 1"):
        IMAGENET(jnp.zeros((1, 2, 2, 1)))
