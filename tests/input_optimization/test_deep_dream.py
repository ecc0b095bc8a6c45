"""Deep dream: octaves, squares, a guide, and the frames of a zoom, on networks of one layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lectures_jax.input_optimization import deep_dream, zoom
from lectures_jax.input_optimization.deep_dream import _sizes, _squares

KEY = jax.random.key(0)
IMAGE = jnp.asarray(np.random.default_rng(0).uniform(0.3, 0.7, (12, 16, 3)), jnp.float32)
ONCE = {"octaves": 1, "steps": 4, "learning_rate": 0.01, "jitter": 3}


def features(images):
    """Its colors, and how pixels differ from those to their right."""
    return {"colors": images, "edges": images - jnp.roll(images, 1, axis=2)}


def test_octaves_grow_by_their_ratio_up_to_the_image():
    sizes = [(100, 100), (140, 140), (196, 196), (274, 274), (384, 384)]
    assert _sizes((384, 384), 5, 1.4, 64) == sizes
    assert _sizes((100, 384), 5, 1.4, 64) == [(71, 274), (100, 384)]
    assert _sizes((30, 40), 3, 2.0, 64) == [(30, 40)]


def test_what_the_layer_sees_grows():
    def edges(image):
        return float(jnp.mean(features(image[None])["edges"] ** 2))

    small = {**ONCE, "octaves": 3, "smallest": 4}
    dream = deep_dream(KEY, features, IMAGE, {"edges": 1.0}, **small)
    assert dream.shape == IMAGE.shape
    assert 0 <= dream.min() < dream.max() <= 1
    assert edges(dream) > 1.5 * edges(IMAGE)


def test_a_step_has_the_mean_size_that_is_asked_for():
    dream = deep_dream(KEY, features, IMAGE, {"colors": 1.0}, **{**ONCE, "steps": 1})
    # the gradient of half the mean square is the image itself, over its size
    np.testing.assert_allclose(dream - IMAGE, 0.01 * IMAGE / IMAGE.mean(), rtol=1e-3)


def test_weights_of_layers_add_up():
    both = deep_dream(KEY, features, IMAGE, {"colors": 1.0, "edges": 0.0}, **ONCE)
    one = deep_dream(KEY, features, IMAGE, {"colors": 2.0}, **ONCE)
    np.testing.assert_allclose(both, one, atol=1e-6)


@pytest.mark.parametrize("tile", [4, 8, 100])
def test_squares_change_nothing_where_the_layer_sees_single_pixels(tile):
    whole = deep_dream(KEY, features, IMAGE[:8], {"colors": 1.0}, **ONCE)
    parts = deep_dream(KEY, features, IMAGE[:8], {"colors": 1.0}, tile=tile, **ONCE)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_squares_cover_the_image():
    parts = _squares(jnp.arange(35.0).reshape(1, 5, 7, 1), 4)
    assert parts.shape == (4, 1, 3, 4, 1)
    assert set(np.unique(parts)) == set(range(35))
    assert parts[0, 0, 0, :, 0].tolist() == [0, 1, 2, 3]


def test_a_guide_gives_its_features():
    guide = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0]), (5, 4, 3))
    dream = deep_dream(KEY, features, IMAGE, {"colors": 1.0}, guide=guide, **ONCE)
    np.testing.assert_allclose(dream[..., 1:], IMAGE[..., 1:], atol=1e-6)
    np.testing.assert_allclose(dream[..., 0], IMAGE[..., 0] + 4 * 0.03, atol=1e-5)


def test_another_image_of_the_size_compiles_nothing():
    traces = []

    def counted(factor, images):
        traces.append(1)
        return features(factor * images)

    def run(number: int) -> int:
        network = Partial(counted, jnp.float32(number))
        deep_dream(KEY, network, IMAGE + 0.01 * number, {"edges": 1.0 * number}, **ONCE)
        return len(traces)

    assert run(1) == run(2)


def test_frames_are_dreams_of_dreams_enlarged():
    frames = list(zoom(KEY, lambda key, image: image + 0.01, IMAGE, count=3, factor=1.0))
    for number, frame in enumerate(frames, 1):
        np.testing.assert_allclose(frame, IMAGE + 0.01 * number, atol=1e-5)
    block = jnp.zeros((9, 9, 1)).at[3:6, 3:6].set(1.0)
    _, second = zoom(KEY, lambda key, image: image, block, count=2, factor=2.0)
    assert float(second.sum()) == pytest.approx(4 * 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": {"conv9": 1.0}}, "layer must be one of colors, edges, got 'conv9'"),
        ({"layers": {}}, "layers must hold at least one layer, got none"),
        ({"octaves": 0}, "octaves must be at least 1, got 0"),
        ({"octave_scale": 1.0}, r"octave_scale must be above 1, got 1\.0"),
        ({"jitter": -1}, "jitter must be at least 0, got -1"),
        ({"smallest": 0}, "smallest must be at least 1, got 0"),
        ({"tile": 0}, "tile must be at least 1, got 0"),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        deep_dream(KEY, features, IMAGE, options.pop("layers", {"colors": 1.0}), **options)
