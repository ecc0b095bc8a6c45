"""The stylizer: its crops, its style, its file, and images of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops, weights
from lectures_jax.models.transform_net import TransformNet, TransformNetSize
from lectures_jax.recipes import stylizer

SETTINGS = stylizer.Settings(
    image_size=8,
    style_size=6,
    steps=2,
    batch_size=2,
    size=TransformNetSize((2, 2, 2), 1, 3),
)
RNG = np.random.default_rng(0)
LAYERS = stylizer.Layers("x", {"x": 1.0})
PHOTOGRAPHS = [RNG.random(shape).astype(np.float32) for shape in ((20, 30, 3), (9, 8, 3))]
STYLE = RNG.random((12, 9, 3)).astype(np.float32)


class Network(nnx.Module):
    """Whose features are its images."""

    def features(self, images):
        return {"x": images}


def test_it_is_trained_saved_and_resumed(tmp_path):
    train = lambda: stylizer.train(
        *(SETTINGS, PHOTOGRAPHS, STYLE, Network(), tmp_path), layers=LAYERS
    )
    first, again = train(), train()
    saved = weights.load_model(tmp_path / "model.safetensors")
    assert saved.kind == "stylizer"
    for image in (STYLE, PHOTOGRAPHS[0]):
        painted = stylizer.paint(first.model, image)
        assert painted.shape == image.shape
        np.testing.assert_array_equal(stylizer.paint(saved.model, image), painted)
        np.testing.assert_array_equal(stylizer.paint(again.model, image), painted)
    assert {"content", "style", "variation", "learning_rate"} <= set(first.history[-1])


def test_crops_are_squares_of_the_photographs_and_the_seed_decides():
    gray = [np.full((20, 30, 3), 0.2, np.float32), np.full((9, 8, 3), 0.8, np.float32)]
    batches = stylizer.crops(SETTINGS, gray)
    values = np.concatenate([next(batches)["image"] for _ in range(10)])
    assert values.shape == (20, 8, 8, 3)
    np.testing.assert_allclose(np.unique(values), [0.2, 0.8], atol=1e-6)
    first, again, other = (
        next(stylizer.crops(SETTINGS, PHOTOGRAPHS, seed=n))["image"] for n in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(ValueError, match="photographs must hold at least one image, got none"):
        stylizer.crops(SETTINGS, [])


def test_an_image_is_resized_to_its_longer_side():
    assert stylizer.resized(STYLE, 6).shape == (6, 4, 3)
    np.testing.assert_allclose(stylizer.resized(STYLE, 12), STYLE, atol=1 / 255)


def test_the_style_is_independent_of_the_positions():
    settings = stylizer.Settings(style_size=12)
    grams = stylizer.grams(settings, STYLE, Network(), ("x",))["x"]
    pixels = np.rint(255 * STYLE).reshape(-1, 3) / 255
    np.testing.assert_allclose(grams, pixels.T @ pixels / len(pixels), rtol=1e-4)
    with pytest.raises(ValueError, match="layers must be some of x, got 'y'"):
        stylizer.grams(settings, STYLE, Network(), ("y",))


def test_the_gram_matrix_of_the_pixels_less_their_mean_is_the_covariance():
    network = stylizer.WithPixels(Network(), STYLE.mean(axis=(0, 1)))
    maps = network.features(jnp.asarray(STYLE)[None])
    assert list(maps) == ["pixels", "x"]
    gram = ops.gram_matrix(maps["pixels"])[0] / maps["pixels"].shape[1] / maps["pixels"].shape[2]
    np.testing.assert_allclose(gram, np.cov(STYLE.reshape(-1, 3).T, bias=True), atol=1e-5)


def test_sizes_that_round_up_to_the_same_share_a_program(monkeypatch):
    traced = []

    class Model(TransformNet):
        def __call__(self, images, *, key=None):
            traced.append(images.shape)
            return images

    model = Model(size=SETTINGS.size, rngs=nnx.Rngs(0))
    for shape in ((65, 70), (100, 127), (64, 64)):
        image = np.asarray(jax.random.uniform(jax.random.key(0), (*shape, 3)))
        np.testing.assert_array_equal(stylizer.paint(model, image), image)
    assert traced == [(1, 128, 128, 3), (1, 64, 64, 3)]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (STYLE[..., 0], r"got shape \[12, 9\]: jnp.repeat\(image"),
        (STYLE[..., [0, 1, 2, 0]], r"got shape .*: image\[..., :3\] leaves the transparency out"),
        ((255 * STYLE).astype(np.uint8), r"got uint8: image / 255 makes floats of bytes"),
        (np.where(STYLE > 0.5, np.nan, STYLE), "got NaN"),
    ],
)
def test_what_is_no_color_image_is_not_painted(image, message):
    model = TransformNet(size=SETTINGS.size, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"image must be floats in \[0, 1\] of .*, " + message):
        stylizer.paint(model, image)


def test_what_is_no_color_image_is_not_trained_on():
    wrong = 1.5 + STYLE
    with pytest.raises(ValueError, match=r"photographs\[1\] must be floats in \[0, 1\]"):
        stylizer.crops(SETTINGS, [STYLE, wrong])
    with pytest.raises(ValueError, match=r"image must be floats in \[0, 1\]"):
        stylizer.resized(wrong, 8)
