"""The image transformation network: published sizes, any image, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.transform_net import (
    ConvInstanceNorm,
    InstanceNorm,
    Residual,
    TransformNet,
    TransformNetSize,
)

TINY = TransformNetSize((2, 3, 4), 2, 3)
IMAGES = np.random.default_rng(0).random((2, 12, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def tiny():
    return nnx.jit(lambda: TransformNet(size=TINY, rngs=nnx.Rngs(0)))()


def test_it_has_the_published_layers():
    """9-3-3, five blocks of two 3×3, two 3×3, 9; a scale and a bias for each normalized channel."""
    model = nnx.eval_shape(lambda: TransformNet(rngs=nnx.Rngs(0)))
    state = nnx.state(model, nnx.Param)
    kernels = [x.shape for x in jax.tree.leaves(state) if len(x.shape) == 4]
    expected = [
        (9, 9, 3, 32),
        (3, 3, 32, 64),
        (3, 3, 64, 128),
        *[(3, 3, 128, 128)] * 10,
        (3, 3, 128, 64),
        (3, 3, 64, 32),
        (9, 9, 32, 3),
    ]
    assert sorted(kernels) == sorted(expected)


def test_maps_are_halved_twice_and_doubled_twice(tiny):
    x = jnp.asarray(IMAGES)
    shapes = [(x := layer(x)).shape for layer in tiny.down]
    assert shapes == [(2, 12, 8, 2), (2, 6, 4, 3), (2, 3, 2, 4)]
    assert tiny.blocks[0](x).shape == x.shape


def test_the_border_of_an_image_of_one_color_is_not_seen():
    """Zeros around a map would be; the reflection of a constant is the constant."""
    layer = ConvInstanceNorm(3, 4, 3, rngs=nnx.Rngs(0))
    x = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.9]), (1, 8, 8, 3))
    np.testing.assert_allclose(layer(x), jnp.broadcast_to(layer.norm.bias[...], (1, 8, 8, 4)))


@pytest.mark.parametrize("shape", [(12, 8), (13, 8), (2, 31), (5, 3)])
def test_the_result_is_of_the_size_of_the_image_and_in_range(tiny, shape):
    images = jax.random.uniform(jax.random.key(0), (2, *shape, 3))
    painted = jax.jit(tiny.__call__)(images)
    assert painted.shape == images.shape
    assert jnp.all((painted >= 0) & (painted <= 1))


def test_images_of_a_batch_do_not_see_each_other(tiny):
    call = jax.jit(tiny.__call__)
    alone = jnp.concatenate([call(IMAGES[:1]), call(IMAGES[1:])])
    np.testing.assert_allclose(call(jnp.asarray(IMAGES)), alone, atol=1e-5)


def test_contrast_and_brightness_of_a_channel_have_no_effect():
    norm = InstanceNorm(3, rngs=nnx.Rngs(0))
    x = jnp.asarray(IMAGES)
    np.testing.assert_allclose(norm(5 * x + 2), norm(x), atol=1e-3)


def test_a_block_without_weights_is_the_identity():
    block = Residual(3, rngs=nnx.Rngs(0))
    block.second.norm.scale[...] = jnp.zeros(3)
    np.testing.assert_allclose(block(jnp.asarray(IMAGES)), IMAGES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (jnp.ones((1, 8, 8, 1)), "images must be floats"),
        (jnp.ones((1, 1, 8, 3)), "images must have 2 rows and columns at least, got 1×8"),
    ],
)
def test_other_images_are_refused(tiny, images, message):
    with pytest.raises(ValueError, match=message):
        tiny(images)
