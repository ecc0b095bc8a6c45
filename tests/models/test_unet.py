"""The U-Net: the published sizes, an oracle, zeros that it does not see, and what it refuses."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.unet import UNet, unet_sizes
from lectures_jax.nn.preprocessing import Normalize

CHANNELS = (3, 4, 5)
IMAGES = np.random.default_rng(0).random((2, 48, 44, 2)).astype(np.float32)


def make(**options):
    """A small network, built by one compiled program."""
    return nnx.jit(lambda: UNet(3, inputs=2, channels=CHANNELS, **options, rngs=nnx.Rngs(0)))()


@pytest.fixture(scope="module")
def valid():
    return make()


@pytest.fixture(scope="module")
def same():
    return make(padding="SAME", batch_norm=True, dropout=0.5)


@jax.jit
def call(model, images):
    return model(images)


def test_the_published_network():
    """Fig. 1 of the paper: sizes of the maps; 3 · 3 weights and a bias per convolution, counted."""
    model = nnx.eval_shape(lambda: UNet(2, inputs=1, rngs=nnx.Rngs(0)))
    images = jax.ShapeDtypeStruct((1, 572, 572, 1), jnp.float32)
    maps = nnx.eval_shape(lambda network, x: network.features(x), model, images)
    assert {name: (x.shape[1], x.shape[3]) for name, x in maps.items()} == {
        "down1": (568, 64),
        "down2": (280, 128),
        "down3": (136, 256),
        "down4": (64, 512),
        "down5": (28, 1024),
        "up4": (52, 512),
        "up3": (100, 256),
        "up2": (196, 128),
        "up1": (388, 64),
    }
    assert nnx.eval_shape(lambda network, x: network(x), model, images).shape == (1, 388, 388, 2)
    assert model.sizes.margin == (572 - 388) // 2
    widths = (1, 64, 128, 256, 512, 1024)
    pairs = list(pairwise(widths))
    down = sum(9 * a * b + 9 * b * b + 2 * b for a, b in pairs)
    up = sum(4 * a * b + 9 * 2 * a * a + 9 * a * a + 3 * a for a, b in pairs[1:])
    count = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert count == down + up + 64 * 2 + 2 == 31_030_658


def oracle(model, x):
    """The published network by XLA's own operations, without normalization."""

    def conv(layer, x):
        axes = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x, layer.kernel[...], (1, 1), "VALID", dimension_numbers=axes
        )
        return y + layer.bias[...].reshape(1, 1, 1, -1)

    def double(block, x):
        for layer in block.convs:
            x = jnp.maximum(conv(layer, x), 0)
        return x

    past = []
    for number, block in enumerate(model.down):
        if number:
            b, h, w, c = x.shape
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
        x = double(block, x)
        past.append(x)
    for block, fine in zip(model.up, past[-2::-1], strict=True):
        kernel = block.enlarge.kernel[...]
        b, h, w, _ = x.shape
        x = jnp.einsum("bhwc,ijdc->bhiwjd", x, kernel).reshape(b, 2 * h, 2 * w, -1)
        x = x + block.enlarge.bias[...].reshape(1, 1, 1, -1)
        cut = [(n - m) // 2 for n, m in zip(fine.shape[1:3], x.shape[1:3], strict=True)]
        fine = fine[:, cut[0] : fine.shape[1] - cut[0], cut[1] : fine.shape[2] - cut[1]]
        x = double(block.convs, jnp.concatenate([fine, x], axis=-1))
    return conv(model.classify, x)


def test_it_equals_the_layers_written_out(valid):
    y = call(valid, IMAGES)
    assert y.shape == (2, 8, 4, 3)
    np.testing.assert_allclose(y, jax.jit(oracle)(valid, IMAGES), atol=1e-5)


@pytest.mark.parametrize("levels", range(1, 7))
def test_the_sizes_are_those_that_survive_every_level(levels):
    """By walking down and up: four pixels less at each level, even before each pooling."""

    def result(side):
        for level in range(levels):
            side = side // 2 - 4 if level and side % 2 == 0 else side - 4 if not level else 0
            if side < 1:
                return 0
        for _ in range(levels - 1):
            side = 2 * side - 4
            if side < 1:
                return 0
        return side

    sizes = unet_sizes(levels, "VALID")
    fitting = [side for side in range(1, 800) if result(side)]
    assert fitting == list(range(sizes.least, 800, sizes.factor))
    assert {side - result(side) for side in fitting} == {2 * sizes.margin}


def test_the_result_moves_with_the_image(valid):
    """By the factor, here four pixels, and by every pixel of the result, there being no zeros."""
    image = np.random.default_rng(1).random((1, 48, 48, 2)).astype(np.float32)
    parts = np.concatenate([image[:, :, :44], image[:, :, 4:]])
    first, second = call(valid, parts)
    whole = valid(jnp.asarray(image))[0]
    np.testing.assert_allclose(whole[:, :4], first, atol=1e-5)
    np.testing.assert_allclose(whole[:, 4:8], second, atol=1e-5)


def test_zeros_around_the_image_are_seen_within_the_reach_only(same):
    model = nnx.view(same, use_running_average=True, deterministic=True)
    reach = model.sizes.reach
    whole = np.random.default_rng(2).random((1, 64, 64, 2)).astype(np.float32)
    part = call(model, np.pad(whole[:, 4:, 4:], ((0, 0), (0, 4), (0, 4), (0, 0))))[0]
    inside = part[reach : 60 - reach, reach : 60 - reach]
    expected = call(model, whole)[0, reach + 4 : 64 - reach, reach + 4 : 64 - reach]
    np.testing.assert_allclose(inside, expected, atol=1e-5)
    more = part[reach - 1] - call(model, whole)[0, reach + 3, :64]
    assert np.abs(more).max() > 1e-5  # the reach is not larger than it must be


def test_every_parameter_has_a_gradient_and_dropout_its_key(same):
    images = jnp.asarray(IMAGES[:, :16, :16])
    structure, params, rest = nnx.split(same, nnx.Param, ...)

    @jax.jit
    def gradient(params, key):
        def loss(params):
            model = nnx.merge(structure, params, rest, copy=True)
            return jnp.sum(model(images, key=key) ** 2)

        return jax.value_and_grad(loss)(params)

    loss, grads = gradient(params, jax.random.key(0))
    assert loss != gradient(params, jax.random.key(1))[0]
    for path, g in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(grads)):
        assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_images_are_normalized_first(valid):
    model = make(normalize=Normalize((0.5, 0.25), (0.5, 0.5)))
    shifted = (IMAGES - np.array([0.5, 0.25], np.float32)) / 0.5
    np.testing.assert_allclose(call(model, IMAGES), call(valid, shifted), atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (jnp.ones((1, 44, 44, 3)), "images must be floats"),
        (jnp.ones((1, 44, 46, 2)), "44 [+] 4 n pixels, got 44×46: 46 is between 44 and 48"),
    ],
)
def test_other_images_are_refused(valid, images, message):
    with pytest.raises(ValueError, match=message):
        valid(images)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"channels": ()}, "channels must"), ({"padding": "FULL"}, "padding must be one of")],
)
def test_other_networks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UNet(2, **options, rngs=nnx.Rngs(0))
