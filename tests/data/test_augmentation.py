import math
from functools import partial

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from lectures_jax import data

UNCHANGED = {  # nothing happens
    "flip": 0.0,
    "scale": (1.0, 1.0),
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
}
affine_transform = jax.jit(data.affine_transform)
LEFT_RIGHT, UP_DOWN = jnp.array([-1.0, 1.0]), jnp.array([1.0, -1.0])
NO_SHIFT = jnp.zeros(2)


def example(h=12, w=12, box=(2, 3, 7, 11)):
    """A noisy dark image with one white rectangle, its box and its mask, and one empty row."""
    x0, y0, x1, y1 = box
    image = np.random.default_rng(0).uniform(0, 0.3, (h, w, 3)).astype(np.float32)
    mask = np.zeros((h, w), np.int32)
    image[y0:y1, x0:x1], mask[y0:y1, x0:x1] = 1, 5
    return {
        "image": jnp.array(image),
        "mask": jnp.array(mask),
        "boxes": jnp.array([box, (0, 0, 0, 0)], jnp.float32),
        "labels": jnp.array([4, 0]),
        "valid": jnp.array([True, False]),
    }


def extent(pixels):
    rows, columns = np.nonzero(np.asarray(pixels))
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def assert_same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


def test_mirroring_left_to_right_reverses_the_columns():
    before = example()
    after = affine_transform(before, LEFT_RIGHT, NO_SHIFT)
    np.testing.assert_array_equal(after["image"], before["image"][:, ::-1])
    np.testing.assert_array_equal(after["mask"], before["mask"][:, ::-1])
    np.testing.assert_array_equal(after["boxes"][0], [5, 3, 10, 11])  # x from 12 − 7 to 12 − 2


def test_mirroring_top_to_bottom_reverses_the_rows():
    before = example()
    after = affine_transform(before, UP_DOWN, NO_SHIFT)
    np.testing.assert_array_equal(after["image"], before["image"][::-1])
    np.testing.assert_array_equal(after["boxes"][0], [2, 1, 7, 9])


@pytest.mark.parametrize("scale", [LEFT_RIGHT, UP_DOWN, -jnp.ones(2)])
def test_mirroring_twice_changes_nothing(scale):
    before = example(12, 14)
    assert_same(
        affine_transform(affine_transform(before, scale, NO_SHIFT), scale, NO_SHIFT), before
    )


def test_a_transposition_with_a_flip_on_a_square_is_rot90_and_four_change_nothing():
    before = after = example()
    for _ in range(4):
        rotated = affine_transform(after, UP_DOWN, NO_SHIFT, jnp.array(True))
        np.testing.assert_array_equal(rotated["image"], jnp.rot90(after["image"]))
        np.testing.assert_array_equal(rotated["mask"], jnp.rot90(after["mask"]))
        after = rotated
    assert_same(after, before)


def test_a_transposition_not_taken_changes_nothing():
    before = example(12, 14)
    assert_same(affine_transform(before, jnp.ones(2), NO_SHIFT, jnp.array(False)), before)


def test_a_shift_by_whole_pixels_moves_the_pixels_and_uncovers_gray():
    before = example()
    after = affine_transform(before, jnp.ones(2), jnp.array([3.0, -2.0]))
    np.testing.assert_array_equal(after["image"][:10, 3:], before["image"][2:, :9])
    assert (after["image"][:, :3] == 0.5).all()
    assert (after["image"][10:] == 0.5).all()
    assert (after["mask"][:, :3] == 0).all()
    np.testing.assert_array_equal(after["boxes"][0], [5, 1, 10, 9])


@given(
    corner=st.tuples(st.integers(0, 14), st.integers(0, 10)),
    sides=st.tuples(st.integers(4, 10), st.integers(4, 10)),
    scale=st.floats(0.6, 2.0),
    signs=st.tuples(st.sampled_from([-1, 1]), st.sampled_from([-1, 1])),
    shift=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
    transpose=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_the_box_of_a_mapped_rectangle_is_the_mapped_box(
    corner, sides, scale, signs, shift, transpose
):
    box = (*corner, corner[0] + sides[0], corner[1] + sides[1])
    after = affine_transform(
        example(20, 24, box),
        scale * jnp.array(signs, jnp.float32),
        jnp.array(shift, jnp.float32),
        jnp.array(transpose),
        min_area=0.1,
    )
    if after["valid"][0]:
        mapped = np.array(after["boxes"][0])
        if min(mapped[2:] - mapped[:2]) >= 2:
            np.testing.assert_allclose(extent(after["image"][:, :, 0] > 0.75), mapped, atol=1)
            np.testing.assert_allclose(extent(after["mask"] == 5), mapped, atol=0.51)


def test_a_box_that_leaves_the_canvas_is_clipped_and_a_small_rest_no_longer_counts():
    before = example(box=(2, 3, 6, 11))
    leave = jnp.array([-5.0, 0.0])  # three of its four columns
    after = affine_transform(before, jnp.ones(2), leave)
    np.testing.assert_array_equal(after["boxes"][0], [0, 3, 1, 11])
    assert after["valid"][0]
    assert not affine_transform(before, jnp.ones(2), leave, min_area=0.3)["valid"][0]
    assert not affine_transform(before, jnp.ones(2), jnp.array([-12.0, 0.0]))["valid"][0]


def test_a_row_without_a_box_stays_invalid():
    assert not affine_transform(example(), jnp.ones(2) * 0.7, NO_SHIFT)["valid"][1]


def augmented(before, **options):
    """The example changed by some options and nothing else."""
    change = partial(data.augment_detection, **UNCHANGED | options)
    return jax.jit(change)(jax.random.key(0), before)


def test_an_augmentation_of_nothing_changes_nothing():
    before = example(12, 14)
    assert_same(augmented(before), before)


def test_certain_flips_and_rotations_compose():
    before = example()
    after = augmented(before, flip=1.0, flip_vertical=1.0, rotate90=1.0)
    np.testing.assert_allclose(after["image"], jnp.rot90(before["image"], 3), atol=1e-6)
    after = augmented(before, rotate90=1.0)
    np.testing.assert_allclose(after["image"], jnp.rot90(before["image"]), atol=1e-6)


def test_a_rotated_wide_image_is_shrunk_to_fit_between_gray_bars():
    after = augmented(example(10, 20, (0, 0, 20, 10)), rotate90=1.0)  # all white
    np.testing.assert_array_equal(after["boxes"][0], [7.5, 0, 12.5, 10])
    np.testing.assert_allclose(after["image"][:, 8:12], 1)
    np.testing.assert_allclose(after["image"][:, :7], 0.5)
    np.testing.assert_allclose(after["image"][:, 13:], 0.5)


def test_a_probability_is_the_share_of_mirrored_images():
    keys = jax.random.split(jax.random.key(0), 200)
    flip = jax.vmap(partial(data.augment_detection, **UNCHANGED | {"flip": 0.25}), (0, None))
    mirrored = jax.jit(flip)(keys, example())["boxes"][:, 0, 0] == 5
    assert 0.15 < mirrored.mean() < 0.35


augment = partial(data.augment_detection, flip_vertical=0.5, rotate90=0.5, shift=0.1)


def test_examples_keep_their_shapes_dtypes_and_ranges():
    keys = jax.random.split(jax.random.key(1), 50)
    before = example(12, 14)
    after = jax.jit(jax.vmap(augment, (0, None)))(keys, before)
    for name, value in before.items():
        assert after[name].shape == (50, *value.shape)
        assert after[name].dtype == value.dtype
    assert 0 <= after["image"].min() <= after["image"].max() <= 1
    assert (after["boxes"].min(axis=(0, 1)) >= 0).all()
    assert (after["boxes"].max(axis=(0, 1)) <= jnp.array([14, 12, 14, 12])).all()
    np.testing.assert_array_equal(after["labels"], jnp.tile(before["labels"], (50, 1)))


def test_a_vmapped_augmentation_is_a_loop_and_jit_changes_nothing():
    keys = jax.random.split(jax.random.key(2), 3)
    before = [example(12, 14, (2, 1, 9, 6 + i)) for i in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *before)
    looped = [augment(key, one) for key, one in zip(keys, before, strict=True)]
    looped = jax.tree.map(lambda *x: jnp.stack(x), *looped)
    assert_same(jax.jit(jax.vmap(augment))(keys, batch), looped)
    assert not np.array_equal(looped["image"][0], looped["image"][1])  # another key


def jittered(image, brightness=0.0, contrast=1.0, saturation=1.0, hue=0.0):
    image = jnp.array(image, jnp.float32).reshape(1, 1, 3)
    numbers = (jnp.float32(v) for v in (brightness, contrast, saturation, hue))
    return data.color_jitter(image, *numbers).ravel()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.2, 0.4, 0.6]),
        ({"brightness": 0.1}, [0.3, 0.5, 0.7]),
        ({"brightness": 0.5}, [0.7, 0.9, 1.0]),  # clipped
        ({"contrast": 2.0}, [0.0, 0.3, 0.7]),  # ½ + 2 (x − ½), clipped
        ({"saturation": 0.0}, [0.4, 0.4, 0.4]),
        ({"saturation": 0.5}, [0.3, 0.4, 0.5]),
        ({"hue": 2 * math.pi / 3}, [0.6, 0.2, 0.4]),  # red to green, green to blue, blue to red
    ],
)
def test_colors_change_as_worked_by_hand(options, expected):
    np.testing.assert_allclose(jittered([0.2, 0.4, 0.6], **options), expected, atol=1e-6)
