from pathlib import Path

import numpy as np
import pytest

from lectures_jax import data
from lectures_jax.data.records import Dataset, Record


def record(image=None, labels=(1,)):
    pixels = np.full((2, 3, 1), 51, np.uint8) if image is None else image
    return Record("a", pixels, labels=np.array(labels, np.int32))


def test_stacked_images_are_in_0_to_1():
    examples = data.stack(Dataset((record(), record(labels=(0,))), ("x", "y")))
    assert examples["image"].shape == (2, 2, 3, 1)
    np.testing.assert_array_equal(examples["image"], np.float32(0.2))
    np.testing.assert_array_equal(examples["labels"], [1, 0])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (record(np.zeros((3, 3, 1), np.uint8)), "expected shape"),
        (record(labels=()), "one label"),
        (record(Path("a.png")), "expected pixels"),
    ],
)
def test_images_that_do_not_stack_are_named(second, message):
    with pytest.raises(ValueError, match=f"record a: .*{message}"):
        data.stack(Dataset((record(), second), ("x", "y")))
