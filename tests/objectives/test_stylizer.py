"""The perceptual loss: by hand from its three terms, and zero where nothing is to be changed."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import objectives, ops

IMAGES = jnp.asarray(np.random.default_rng(0).random((2, 5, 4, 3)).astype(np.float32))
KEY = jax.random.key(0)
LAYERS = {"content_layer": "x", "style_weights": {"x": 1.0, "square": 0.5}}


def features(images):
    return {"x": images, "square": images**2}


def fixed(style):
    maps = features(style)
    grams = {name: ops.gram_matrix(x[0]) / (x.shape[1] * x.shape[2]) for name, x in maps.items()}
    return objectives.LossNetwork(SimpleNamespace(features=features), grams)


def identity(images, *, key):
    return images


def darker(images, *, key):
    return 0.5 * images


def test_it_is_the_sum_of_its_terms():
    weights = {"alpha": 2.0, "beta": 3.0, "variation": 5.0}
    loss, terms = objectives.stylizer(
        darker, {"image": IMAGES}, KEY, fixed(IMAGES[:1]), **LAYERS, **weights
    )
    painted = np.asarray(0.5 * IMAGES, np.float64)
    expected = {"content": 0.25, "style": 0.0}  # half of each pixel is missing
    for name, weight in LAYERS["style_weights"].items():
        own, other = features(painted)[name], np.asarray(features(IMAGES[:1])[name])
        gram, target = (np.einsum("bhwi,bhwj->bij", x, x) for x in (own, other))
        error = np.sum((gram - target) ** 2, axis=(1, 2)) / np.sum(target**2)
        expected["style"] += weight * np.mean(error)
    rows, columns = np.diff(painted, axis=1), np.diff(painted, axis=2)
    expected["variation"] = ((rows**2).sum() + (columns**2).sum()) / painted.size
    for name, value in expected.items():
        assert terms[name] == pytest.approx(value, rel=1e-4)
    total = 2 * expected["content"] + 3 * expected["style"] + 5 * expected["variation"]
    assert loss == terms["loss"] == pytest.approx(total, rel=1e-4)


def test_an_image_that_has_the_style_already_stays_as_it_is():
    loss, terms = objectives.stylizer(
        identity, {"image": IMAGES[:1]}, KEY, fixed(IMAGES[:1]), **LAYERS
    )
    assert terms["content"] == 0
    assert loss == pytest.approx(0, abs=1e-9)


def test_the_size_of_the_style_does_not_matter():
    tiled = jnp.tile(IMAGES[:1], (1, 2, 3, 1))
    small, large = (
        objectives.stylizer(darker, {"image": IMAGES}, KEY, fixed(style), **LAYERS)[0]
        for style in (IMAGES[:1], tiled)
    )
    assert small == pytest.approx(float(large), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_layer": "y"}, "content_layer must be one of x, square, got 'y'"),
        ({"style_weights": {"y": 1.0}}, "style_weights must be of the layers x, square, got 'y'"),
        ({"beta": -1.0}, "beta must be at least 0, got -1"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        objectives.stylizer(identity, {"image": IMAGES}, KEY, fixed(IMAGES[:1]), **LAYERS | options)
