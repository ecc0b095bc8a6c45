"""Tiles of an image: those of the whole where mean and variance are, without seams, and small."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.transform_net import TransformNet, TransformNetSize
from lectures_jax.recipes import stylizer, tiles

SIZE = TransformNetSize((4, 4, 6), 2, 5)
MODEL = TransformNet(size=SIZE, rngs=nnx.Rngs(0))
IMAGE = np.random.default_rng(0).random((150, 203, 3)).astype(np.float32)


def moments(image):
    """Of the whole image, continued by its reflection."""
    rows, columns = (-n % 4 for n in image.shape[:2])
    whole = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="symmetric")
    return tiles._moments_of(MODEL, jnp.asarray(whole)[None])


def whole(image):
    rows, columns = (-n % 4 for n in image.shape[:2])
    padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="symmetric")
    return np.asarray(MODEL(jnp.asarray(padded)[None]))[0, : image.shape[0], : image.shape[1]]


@pytest.mark.parametrize("shape", [(150, 203), (96, 96), (60, 203), (201, 7)])
def test_with_the_moments_of_the_whole_image_tiles_are_the_whole_image(monkeypatch, shape):
    monkeypatch.setattr(tiles, "TILE", 96)
    image = IMAGE[:150, :203] if shape[0] <= 150 else np.moveaxis(IMAGE, 0, 1)
    image = image[: shape[0], : shape[1]]
    painted = tiles.paint_tiles(MODEL, image, moments(image))
    np.testing.assert_allclose(painted, whole(image), atol=2e-5)


def test_the_reach_is_what_the_network_sees():
    """A pixel changes nothing beyond it, where mean and variance are given."""
    given = moments(IMAGE)

    def painted(image):
        return np.asarray(tiles._paint_tile(MODEL, tuple(given), jnp.asarray(image)[None])[0])

    image = IMAGE[:148, :200]
    for row, column in ((72, 100), (75, 103)):
        other = image.copy()
        other[row, column] = 1 - other[row, column]
        changed = np.argwhere(np.any(painted(image) != painted(other), axis=-1))
        far = np.abs(changed - [row, column]).max()
        assert far <= tiles.reach(SIZE)
    assert far > tiles.reach(SIZE) / 2


def test_squares_of_the_image_estimate_its_moments(monkeypatch):
    monkeypatch.setattr(tiles, "SQUARE", 48)
    estimated = tiles.estimate_moments(MODEL, IMAGE)
    assert len(estimated) == len(moments(IMAGE)) == len(jax.tree.leaves(estimated)) / 2
    for (mean, variance), (expected, spread) in zip(estimated, moments(IMAGE), strict=True):
        np.testing.assert_allclose(mean, expected, atol=0.1 * np.sqrt(np.max(spread)))
        np.testing.assert_allclose(variance, spread, rtol=0.2)


def test_small_images_have_the_moments_of_the_whole():
    image = IMAGE[:40, :64]
    for estimated, expected in zip(
        tiles.estimate_moments(MODEL, image), moments(image), strict=True
    ):
        np.testing.assert_allclose(estimated[0], expected[0], atol=1e-5)
        np.testing.assert_allclose(estimated[1], expected[1], rtol=1e-4)


def test_there_is_no_seam_where_the_image_grows_brighter(monkeypatch):
    """Tiles are those of one large tile; with moments of their own they would not be."""
    ramp = np.linspace(0.05, 0.95, 300, dtype=np.float32)[None, :, None]
    image = np.broadcast_to(ramp, (96, 300, 3)) * np.float32([1, 0.8, 0.6])
    given = tiles.estimate_moments(MODEL, image)
    one = np.asarray(tiles._paint_tile(MODEL, tuple(given), jnp.asarray(image)[None])[0])
    monkeypatch.setattr(tiles, "TILE", 96)
    np.testing.assert_allclose(tiles.paint_tiles(MODEL, image), one, atol=2e-5)
    plain = np.concatenate([whole(image[:, at : at + 100]) for at in (0, 100, 200)], axis=1)
    assert np.abs(plain - one).max() > 0.1


def test_a_single_row_is_painted(monkeypatch):
    monkeypatch.setattr(stylizer, "MOST_PIXELS", 100)
    image = np.random.default_rng(0).random((1, 203, 3))
    painted = stylizer.paint(MODEL, image)
    assert painted.shape == image.shape
    assert painted.dtype == np.float32


def test_large_images_are_painted_in_tiles_of_one_size(monkeypatch):
    shapes = []

    class Model(TransformNet):
        def __call__(self, images, *, key=None):
            shapes.append(images.shape)
            return images

    monkeypatch.setattr(stylizer, "MOST_PIXELS", 150 * 203)
    monkeypatch.setattr(tiles, "TILE", 96)
    monkeypatch.setattr(tiles, "SQUARE", 32)
    model = Model(size=SIZE, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(stylizer.paint(model, IMAGE), IMAGE)
    assert shapes == [(1, 192, 256, 3)]
    large = np.concatenate([IMAGE, IMAGE[:1]])
    np.testing.assert_array_equal(stylizer.paint(model, large), large)
    assert shapes[1:] == [(25, 32, 32, 3), (1, 96, 96, 3)]
