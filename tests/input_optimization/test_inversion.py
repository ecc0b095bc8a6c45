"""Feature inversion: exact where features tell all, and as good as known on SqueezeNet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image

from lectures_jax import data, weights
from lectures_jax.input_optimization import Fourier, Pixels, Regularization, invert_features

KEY = jax.random.key(0)
IMAGE = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (6, 7, 3)), jnp.float32)


def features(images):
    return {"pixels": images, "gray": images.mean(axis=3, keepdims=True), "dead": 0 * images}


def decibels(image, target) -> float:
    return float(-10 * jnp.log10(jnp.mean((image - target) ** 2)))


def test_an_image_comes_back_from_its_pixels():
    result = invert_features(KEY, features, IMAGE, "pixels", regularization=Regularization())
    assert decibels(result.image, IMAGE) > 40
    assert result.losses.shape == (300,)
    assert result.losses[-1] < 1e-4 < result.losses[0]


def test_what_a_layer_has_lost_stays_open():
    result = invert_features(KEY, features, IMAGE, "gray", regularization=Regularization())
    np.testing.assert_allclose(result.image.mean(axis=2), IMAGE.mean(axis=2), atol=0.01)
    assert decibels(result.image, IMAGE) < 20


def test_the_image_itself_has_no_loss_and_no_gradient():
    from lectures_jax.input_optimization.inversion import _objective

    loss = Partial(_objective("gray"), features, features(IMAGE[None])["gray"], lambda x: x)
    value, gradient = jax.value_and_grad(lambda x: loss(Regularization(), x, KEY)[0])(IMAGE[None])
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ("conv9", {}, "layer must be one of dead, gray, pixels, got 'conv9'"),
        ("dead", {}, "layer must not be 0 everywhere, got 'dead'"),
        ("pixels", {"parameterization": Pixels(6, 6)}, r"of images \(6, 7, 3\), got \(6, 6, 3\)"),
    ],
)
def test_what_cannot_be_inverted_is_refused(layer, options, message):
    with pytest.raises(ValueError, match=message):
        invert_features(KEY, features, IMAGE, layer, **options)


@pytest.fixture(scope="module")
def squeezenet(shared_data):
    path = shared_data / "pretrained" / "squeezenet1_1.safetensors"
    return weights.load_pretrained("squeezenet1_1", path=path)


@pytest.fixture(scope="module")
def astronaut():
    pixels = np.rint(255 * data.photographs("astronaut")["astronaut"]).astype(np.uint8)
    small = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)
    return jnp.asarray(np.asarray(small), jnp.float32) / 255


@pytest.mark.parametrize(("layer", "least"), [("conv1", 34), ("fire2", 21), ("fire5", 10.5)])
def test_the_deeper_the_layer_the_less_is_left_of_an_astronaut(squeezenet, astronaut, layer, least):
    result = invert_features(KEY, squeezenet.features, astronaut, layer)
    assert decibels(result.image, astronaut) >= least


def test_frequencies_bring_the_colors_back_from_deep_layers(squeezenet, astronaut):
    result = invert_features(
        *(KEY, squeezenet.features, astronaut, "fire5"),
        parameterization=Fourier(224, 224),
        learning_rate=0.1,
    )
    assert decibels(result.image, astronaut) >= 12.5
