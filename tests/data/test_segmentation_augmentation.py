"""Images and masks that change together: symmetries equal NumPy's, and nothing is invented."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import data
from lectures_jax.data.segmentation_augmentation import (
    _read_linear,
    _read_nearest,
    _symmetric_positions,
)

UNCHANGED = {
    "flip": 0.0,
    "scale": (1.0, 1.0),
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
}
RNG = np.random.default_rng(0)
MASK = np.kron(RNG.integers(0, 4, (4, 4)), np.ones((4, 4), int)).astype(np.int32)
EXAMPLE = {
    "image": jnp.asarray(np.stack([MASK / 4, RNG.random((16, 16)), 0 * MASK], -1), jnp.float32),
    "mask": jnp.asarray(MASK),
    "weights": jnp.asarray(MASK, jnp.float32) + 0.5,
    "name": jnp.asarray(7),
}
KEYS = jax.random.split(jax.random.key(0), 16)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, lambda x: x),
        ({"flip": 1.0}, lambda x: x[:, ::-1]),
        ({"flip_vertical": 1.0}, lambda x: x[::-1]),
        ({"rotate90": 1.0}, np.rot90),
        ({"rotate90": 1.0, "flip": 1.0}, lambda x: np.rot90(x[:, ::-1])),
    ],
)
def test_symmetries_are_numpy_s_and_the_rest_passes_through(changes, expected):
    after = data.augment_segmentation(KEYS[0], EXAMPLE, **UNCHANGED | changes)
    np.testing.assert_allclose(after["image"], expected(np.asarray(EXAMPLE["image"])), atol=1e-5)
    for name in ("mask", "weights"):
        np.testing.assert_array_equal(after[name], expected(np.asarray(EXAMPLE[name])))
    assert after["name"] == 7


def test_the_mask_goes_with_the_image_wherever_it_is_bent():
    options = UNCHANGED | {"scale": (0.7, 1.4), "elastic": 3.0, "rotate90": 0.5, "flip": 0.5}
    change = jax.jit(jax.vmap(lambda key: data.augment_segmentation(key, EXAMPLE, **options)))
    after = change(KEYS)
    ids = np.asarray(after["mask"])
    assert set(np.unique(ids)) <= set(range(4))
    np.testing.assert_array_equal(after["weights"], ids + 0.5)
    # where all four neighbors agree, the image shows what the mask says
    same = np.ones(ids.shape, bool)
    for axis in (1, 2):
        for step in (-1, 1):
            same &= np.roll(ids, step, axis) == ids
    same[:, [0, -1]] = same[:, :, [0, -1]] = False
    difference = np.abs(np.asarray(after["image"])[..., 0] - ids / 4)
    assert same.mean() > 0.2
    assert (difference[same] < 1e-4).mean() > 0.85
    assert len({ids[i].tobytes() for i in range(len(KEYS))}) == len(KEYS)


def test_positions_between_pixels_are_interpolated_and_beyond_the_border_reflected():
    image = jnp.array([[[0.0], [4.0]], [[8.0], [12.0]]])
    rows, columns = jnp.array([[0.25, 0.5], [-1.0, 2.0]]), jnp.array([[0.0, 0.5], [1.0, 0.0]])
    read = _read_linear(image, (rows, columns))[..., 0]
    np.testing.assert_allclose(read, [[2, 6], [4, 8]])
    mask = jnp.array([[0, 1], [2, 3]])
    np.testing.assert_array_equal(_read_nearest(mask, (rows, columns)), [[0, 0], [1, 2]])


def test_a_gamma_bends_the_values_between_black_and_white():
    after = data.augment_segmentation(KEYS[0], EXAMPLE, **UNCHANGED, gamma=(2.0, 2.0))
    np.testing.assert_allclose(after["image"], EXAMPLE["image"] ** 2, atol=1e-5)


def test_beyond_the_border_a_mask_may_have_an_id_of_its_own():
    options = UNCHANGED | {"scale": (0.5, 0.5)}
    after = data.augment_segmentation(KEYS[0], EXAMPLE, **options, outside=255)["mask"]
    assert (np.asarray(after[4:12, 4:12]) < 255).all()
    assert (after == 255).sum() == 16 * 16 - 8 * 8
    assert (data.augment_segmentation(KEYS[0], EXAMPLE, **options)["mask"] < 4).all()


def test_a_larger_factor_shows_more_of_the_image():
    rows, columns = _symmetric_positions((5, 7), jnp.array([2.0, 0.5]), jnp.array(False))
    np.testing.assert_allclose(rows[:, 0], [-2, 0, 2, 4, 6])
    np.testing.assert_allclose(columns[0], [1.5, 2, 2.5, 3, 3.5, 4, 4.5])


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="elastic must be at least 0, got -1"):
        data.augment_segmentation(KEYS[0], EXAMPLE, elastic=-1.0)
    with pytest.raises(ValueError, match="elastic_points must be at least 1, got 0"):
        data.augment_segmentation(KEYS[0], EXAMPLE, elastic_points=0)
    with pytest.raises(ValueError, match=r"flip must be in \[0, 1\], got 2"):
        data.augment_segmentation(KEYS[0], EXAMPLE, flip=2.0)
    for name, pair in {"scale": (1.5, 0.5), "gamma": (0.0, 1.0)}.items():
        with pytest.raises(ValueError, match=f"{name} must be two numbers, 0 < low"):
            data.augment_segmentation(KEYS[0], EXAMPLE, **{name: pair})
    with pytest.raises(ValueError, match=r"mask must be \(.*\), got \(2, 2\)"):
        data.augment_segmentation(KEYS[0], EXAMPLE | {"mask": jnp.zeros((2, 2), jnp.uint8)})
