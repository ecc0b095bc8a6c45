"""Random crops: parts of their images, all arrays alike, and the same after a resumption."""

import numpy as np
import pytest

from lectures_jax import data


def example(h, w, first):
    """Each pixel of the two arrays has its own number."""
    numbers = (first + np.arange(h * w).reshape(h, w)).astype(np.uint8)
    return {"image": np.repeat(numbers[..., None], 3, -1), "mask": numbers}


EXAMPLES = [example(6, 8, 0), example(5, 5, 100), example(3, 7, 200)]


def test_a_crop_is_a_part_of_an_image_and_its_mask_is_the_same_part():
    batch = next(data.crops(EXAMPLES[:2], size=4, batch_size=6))
    assert batch["image"].shape == (6, 4, 4, 3)
    assert batch["image"].dtype == np.float32
    np.testing.assert_allclose(batch["image"][..., 0] * 255, batch["mask"], atol=1e-4)
    for mask in batch["mask"].astype(int):
        width = 8 if mask[0, 0] < 100 else 5
        np.testing.assert_array_equal(
            mask - mask[0, 0], [[width * i + j for j in range(4)] for i in range(4)]
        )


def test_a_small_image_is_continued_by_its_reflection():
    batch = next(data.crops(EXAMPLES[2:], size=7, batch_size=1))
    padded = np.pad(EXAMPLES[2]["mask"], ((0, 4), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(batch["mask"][0], padded)


def test_a_set_that_resumes_draws_the_same_crops():
    stream = data.crops(EXAMPLES, size=3, batch_size=2, seed=1)
    next(stream)
    state = stream.get_state()
    expected = [next(stream)["mask"] for _ in range(3)]
    again = data.crops(EXAMPLES, size=3, batch_size=2, seed=1)
    again.set_state(state)
    for mask in expected:
        np.testing.assert_array_equal(next(again)["mask"], mask)
    other = data.crops(EXAMPLES, size=3, batch_size=2, seed=2)
    next(other)
    assert any(not np.array_equal(next(other)["mask"], mask) for mask in expected)


def test_every_place_is_drawn():
    stream = data.crops(EXAMPLES[1:2], size=4, batch_size=1)
    corners = {int(next(stream)["mask"][0, 0, 0]) for _ in range(60)}
    assert corners == {100, 101, 105, 106}


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        data.crops(EXAMPLES, size=0, batch_size=1)
    with pytest.raises(ValueError, match="not empty"):
        data.crops([], size=1, batch_size=1)
    unequal = {"image": np.zeros((2, 2, 3), np.uint8), "mask": np.zeros((2, 3), np.uint8)}
    with pytest.raises(ValueError, match=r"arrays of example 0 must be of one size"):
        data.crops([unequal], size=1, batch_size=1)
