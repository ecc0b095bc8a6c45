"""Overlapping tiles: what the network gives for the whole image, by one program."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.unet import UNet
from lectures_jax.nn.image_sizes import ImageSizes
from lectures_jax.recipes.overlap_tiles import join_tiles, predict_tiles, tile_spans

IMAGE = np.random.default_rng(0).random((101, 122, 2)).astype(np.float32)


def unet(padding):
    def build():
        return UNet(3, inputs=2, channels=(3, 4, 5), padding=padding, rngs=nnx.Rngs(0))

    return nnx.jit(build)()


MODELS = {padding: unet(padding) for padding in ("VALID", "SAME")}


@jax.jit
def call(model, images):
    return model(images)


def whole(model, image):
    """The result for the image at once, continued by its reflection as far as the network needs."""
    sizes = model.sizes
    (top, bottom), (left, right) = (
        (sizes.margin, sizes.fit(n + 2 * sizes.margin) - n - sizes.margin) for n in image.shape[:2]
    )
    padded = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="symmetric")
    return np.asarray(call(model, padded[None]))[0, : image.shape[0], : image.shape[1]]


@pytest.mark.parametrize("padding", sorted(MODELS))
@pytest.mark.parametrize("shape", [(101, 122), (60, 122)])
def test_tiles_are_the_whole_image(padding, shape):
    model, image = MODELS[padding], IMAGE[: shape[0], : shape[1]]
    tiles = predict_tiles(model, image, tile=58)  # 60 fits both networks
    np.testing.assert_allclose(tiles, whole(model, image), atol=1e-5)


def test_an_image_smaller_than_its_reflection_needs_no_other_program():
    """One pixel is a tile of its color; what it compiles is what large images compile."""
    traces = []

    class Counted(UNet):
        def __call__(self, images, *, key=None):
            traces.append(images.shape)
            return super().__call__(images, key=key)

    model = nnx.jit(lambda: Counted(2, inputs=2, channels=(3, 4, 5), rngs=nnx.Rngs(0)))()
    one = predict_tiles(model, IMAGE[:1, :1], tile=60)
    expected = call(model, np.broadcast_to(IMAGE[0, 0], (1, 60, 60, 2)))
    np.testing.assert_allclose(one, expected[0, :1, :1], atol=1e-6)
    traces.clear()
    for shape in ((1, 7), (33, 122), (101, 60)):
        assert predict_tiles(model, IMAGE[: shape[0], : shape[1]], tile=60).shape == (*shape, 2)
    assert not traces


def labels(logits):
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8)


def test_labels_may_be_kept_in_place_of_logits():
    result = predict_tiles(MODELS["SAME"], IMAGE, tile=64, output=labels)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, whole(MODELS["SAME"], IMAGE).argmax(axis=-1))


@pytest.mark.parametrize("margin", [0, 5])
def test_each_row_is_of_one_tile_and_beyond_its_reach(margin):
    sizes = ImageSizes(factor=4, least=2 * margin + 4, margin=margin, reach=3)
    tile = sizes.fit(32)
    for side in range(1, 150):
        spans = list(tile_spans(side, tile, sizes))
        assert [s.first for s in spans] == [0, *(s.last for s in spans[:-1])]
        assert spans[-1].last == side
        assert all((s.start + margin) % 4 == 0 for s in spans)
        for s, after in pairwise(spans):
            assert s.last <= s.start + tile - margin - 3
            assert after.first >= after.start + margin + 3


def test_tiles_without_overlap_are_refused():
    with pytest.raises(ValueError, match="tile must be 48 pixels at least for this network, got 4"):
        predict_tiles(MODELS["SAME"], IMAGE, tile=4)
    assert predict_tiles(MODELS["SAME"], IMAGE[:4, :4], tile=4).shape == (4, 4, 3)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match=r"image must be .+, got shape \(0, 122, 2\)"):
        join_tiles(IMAGE[:0], np.asarray, sizes=ImageSizes(4, 4), tile=(4, 4))
