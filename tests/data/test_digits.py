import numpy as np

from lectures_jax import data


def test_the_digits_themselves_are_split_by_class_and_no_digit_is_in_two():
    sets = [data.digits(split=split) for split in ("train", "validation", "test")]
    assert sum(len(s["labels"]) for s in sets) == 1797
    for s in sets:
        assert s["image"].shape == (len(s["labels"]), 8, 8, 1)
        assert (s["image"].min(), s["image"].max()) == (0, 1)
        share = np.bincount(s["labels"]) / len(s["labels"])
        np.testing.assert_allclose(share, 0.1, atol=0.006)
    first, _, last = ({image.tobytes() for image in s["image"]} for s in sets)
    assert not first & last
