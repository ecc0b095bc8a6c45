from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import data

COUNT, SIDE = 64, 12
IMAGES = np.random.default_rng(0).uniform(0.1, 1, (COUNT, SIDE, SIDE, 2)).astype(np.float32)
BATCH = {"image": IMAGES, "labels": np.arange(COUNT)}


def augmented(kind: str, images: np.ndarray = IMAGES, *, seed: int = 0) -> np.ndarray:
    changed = jax.jit(partial(data.augment_classification, kind=kind))(
        jax.random.key(seed), {**BATCH, "image": images}
    )
    np.testing.assert_array_equal(changed["labels"], BATCH["labels"])
    return np.asarray(changed["image"])


def test_a_shift_is_one_of_nine_pieces_of_the_padded_image():
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = [(i, j) for i in range(3) for j in range(3)]
    pieces = np.stack([padded[:, i : i + SIDE, j : j + SIDE] for i, j in corners])
    same = np.all(pieces == augmented("shift")[None], axis=(2, 3, 4))
    np.testing.assert_array_equal(same.sum(axis=0), 1)
    assert np.all(same.any(axis=1)), "every shift is drawn"


def test_half_of_the_images_are_mirrored():
    changed = augmented("flip")
    mirrored = np.all(changed == IMAGES[:, :, ::-1], axis=(1, 2, 3))
    unchanged = np.all(changed == IMAGES, axis=(1, 2, 3))
    np.testing.assert_array_equal(mirrored, ~unchanged)
    assert 0.25 < mirrored.mean() < 0.75


def test_an_affine_map_keeps_a_constant_image_but_for_its_noise():
    constant = np.full_like(IMAGES, 0.5)
    noise = augmented("affine", constant) - 0.5
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.05], atol=2e-3)


def test_an_affine_map_moves_a_ramp_by_what_was_drawn():
    ramp = np.broadcast_to(np.arange(SIDE, dtype=np.float32)[:, None, None], IMAGES.shape)
    middle = augmented("affine", ramp)[:, SIDE // 2 - 1 : SIDE // 2 + 1].mean(axis=(1, 2, 3))
    u = jax.random.uniform(jax.random.split(jax.random.key(0))[0], (COUNT, 4, 1), minval=-1.0)
    expected = (SIDE - 1) / 2 + u[:, 2, 0] * SIDE / 12
    np.testing.assert_allclose(middle, expected, atol=0.05)


@pytest.mark.parametrize("kind", ["shift", "flip", "affine"])
def test_another_key_changes_the_images_otherwise(kind):
    assert not np.array_equal(augmented(kind), augmented(kind, seed=1))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind must be one of .*'affine'.*got 'turn'"):
        data.augment_classification(
            jax.random.key(0), {"image": jnp.zeros((1, 4, 4, 1))}, kind="turn"
        )
