"""SqueezeNet: published sizes, its maps and their names, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.squeezenet import (
    SQUEEZENET1_0,
    SQUEEZENET1_1,
    SqueezeNet,
    SqueezeNetSize,
    _halve,
)

TINY = SqueezeNetSize(4, 3, (1, 2), 2, 2)


def abstract(classes, **options):
    return nnx.eval_shape(lambda: SqueezeNet(classes, **options, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def tiny():
    return nnx.jit(lambda: SqueezeNet(3, size=TINY, rngs=nnx.Rngs(0)))()


def evaluated(model):
    return nnx.view(model, deterministic=True)


@pytest.mark.parametrize(
    ("size", "expected"), [(SQUEEZENET1_0, 1_248_424), (SQUEEZENET1_1, 1_235_496)]
)
def test_it_has_the_published_parameters(size, expected):
    state = nnx.state(abstract(1000, size=size), nnx.Param)
    assert sum(p.size for p in jax.tree.leaves(state)) == expected


def test_maps_of_the_published_sizes():
    # Iandola et al., table 1, for 224×224, where the first convolution is padded to 111.
    images = jax.ShapeDtypeStruct((1, 227, 227, 3), jnp.float32)
    model = abstract(1000, size=SQUEEZENET1_0)
    maps = nnx.eval_shape(lambda network, x: network.features(x), model, images)
    shapes = {name: x.shape[1:] for name, x in maps.items()}
    assert shapes["conv1"] == (111, 111, 96)
    assert shapes["pool1"] == (55, 55, 96)
    assert shapes["fire2"] == shapes["expand2"] == (55, 55, 128)
    assert shapes["pool4"] == (27, 27, 256)
    assert shapes["fire8"] == (27, 27, 512)
    assert shapes["fire9"] == (13, 13, 512)
    assert shapes["scores"] == (13, 13, 1000)
    assert shapes["pooled"] == (512,)
    own = {f"expand{n}" for n in range(2, 10)} | {"scores", "pooled"}
    assert set(shapes) == {*SQUEEZENET1_0.layers, *own}


def test_the_layers_are_torchvision_s_by_index():
    fires = ["fire2", "fire3", "pool3", "fire4", "fire5", "pool5"]
    expected = ["conv1", "relu1", "pool1", *fires, "fire6", "fire7", "fire8", "fire9"]
    assert list(SQUEEZENET1_1.layers) == expected


def test_logits_are_the_means_of_the_scores_above_zero(tiny):
    images = jax.random.uniform(jax.random.key(0), (2, 15, 12, 3))
    logits, maps = nnx.jit(lambda model: (model(images), model.features(images)))(evaluated(tiny))
    expected = np.maximum(maps["scores"], 0).mean(axis=(1, 2))
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    np.testing.assert_allclose(maps["fire4"], np.maximum(maps["expand4"], 0))
    assert (np.asarray(maps["expand4"]) < 0).any()


def test_a_window_may_reach_one_cell_beyond_an_even_side():
    x = jnp.arange(4.0).reshape(1, 1, 4, 1) * jnp.ones((1, 3, 1, 1))
    np.testing.assert_array_equal(_halve(x)[0, :, :, 0], [[2, 3]])
    np.testing.assert_array_equal(_halve(x[:, :, :3])[0, :, :, 0], [[2]])
    np.testing.assert_array_equal(_halve(-x)[0, :, :, 0], [[0, -2]])  # padding is no zero


@pytest.mark.parametrize("size", [TINY, SQUEEZENET1_0, SQUEEZENET1_1])
def test_the_smallest_image_leaves_one_cell_and_a_smaller_one_is_refused(size):
    model = abstract(3, size=size)
    side = size.smallest

    def cells(side):
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        return nnx.eval_shape(lambda m, x: m.features(x), model, images)["scores"].shape[1:3]

    assert cells(side) == (1, 1)
    with pytest.raises(ValueError, match=f"images must have {side} rows and columns at least, got"):
        cells(side - 1)


def test_dropout_is_drawn_by_the_key_and_off_in_evaluation(tiny):
    images = jax.random.uniform(jax.random.key(0), (2, 15, 12, 3))
    call = nnx.jit(lambda model, key: model(images, key=key))
    first, second = (call(tiny, jax.random.key(n)) for n in range(2))
    assert (first != second).any()
    same = [call(evaluated(tiny), jax.random.key(n)) for n in range(2)]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (jnp.zeros((1, 32, 32, 4)), r"images\[\.\.\., :3\]"),
        (jnp.zeros((1, 32, 32, 1)), "color images of gray ones"),
    ],
)
def test_other_images_are_refused(images, remedy):
    with pytest.raises(ValueError, match=f"images must be floats .*{remedy}"):
        nnx.eval_shape(lambda model: model(images), abstract(3, size=TINY))
