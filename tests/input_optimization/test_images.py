"""What is wrong with an image is one line, whichever function it is given to."""

import jax
import numpy as np
import pytest
from flax import nnx

from lectures_jax import input_optimization as io
from lectures_jax.input_optimization.images import as_images
from lectures_jax.models.cnn import Cnn

KEY = jax.random.key(0)
NETWORK = nnx.view(Cnn(3, channels=((2,), (2,), (2,)), rngs=nnx.Rngs(0)), use_running_average=True)
IMAGE = np.random.default_rng(0).uniform(0.1, 0.9, (8, 12, 3)).astype(np.float32)
LABEL = np.array([1])
LAYERS = {"content_layer": "stage1", "style_weights": {"stage1": 1.0}, "steps": 1}
DREAM = {"octaves": 1, "steps": 1}


def styled(content=IMAGE, style=IMAGE, start=None, **options):
    options = {**LAYERS, **options}
    return io.stylize(KEY, NETWORK.features, content, [IMAGE, style], start=start, **options)


def dreamt(image=IMAGE, guide=None, layers=None, **options):
    options = {**DREAM, **options}
    layers = layers or {"stage2": 1.0}
    return io.deep_dream(KEY, NETWORK.features, image, layers, guide=guide, **options)


def zoomed(image):
    return list(io.zoom(KEY, lambda key, x: x, image, count=1))


def inverted(image=IMAGE, layer="stage1"):
    return io.invert_features(KEY, NETWORK.features, image, layer, steps=1)


FUNCTIONS = {
    "content": styled,
    "styles[1]": lambda x: styled(style=x),
    "start": lambda x: styled(start=x),
    "image of an inversion": inverted,
    "image of a dream": dreamt,
    "guide": lambda x: dreamt(guide=x),
    "x of a gradient": lambda x: io.gradient_saliency(NETWORK, batch(x), LABEL),
    "x of noise": lambda x: io.smooth_grad(KEY, NETWORK, batch(x), LABEL, samples=1),
    "x of a path": lambda x: io.integrated_gradients(NETWORK, batch(x), LABEL, steps=1),
    "baseline": lambda x: io.integrated_gradients(NETWORK, IMAGE[None], LABEL, batch(x), steps=1),
    "x of a map": lambda x: io.grad_cam(
        lambda images: NETWORK.features(images)["stage3"],
        lambda maps: NETWORK.classify(maps.mean(axis=(1, 2))),
        batch(x),
        LABEL,
    ),
    "x of squares": lambda x: io.occlusion(NETWORK, batch(x), LABEL, size=1),
}
WRONG = {
    "gray": (IMAGE[..., 0], r"got (shape )?\(?\[?.*8, 12"),
    "gray with an axis": (IMAGE[..., :1], r"8, 12, 1"),
    "transparent": (np.concatenate([IMAGE, IMAGE[..., :1]], axis=-1), r"8, 12, 4"),
    "bytes": ((255 * IMAGE).astype(np.uint8), r"got uint8: .* / 255 makes floats of bytes"),
    "16 bits": ((65535 * IMAGE).astype(np.uint16), r"uint16: .* / 65535 makes floats of 16-bit"),
    "above 1": (255 * IMAGE, r"floats in \[0, 1\].*, got values from \d+\.\d+ to 2\d\d"),
    "below 0": (IMAGE - 1, r"floats in \[0, 1\].*, got values from -0\.89\d+"),
    "above 1 by rounding": (
        np.where(IMAGE.max() == IMAGE, np.nextafter(np.float32(1), np.float32(2)), IMAGE),
        r"got values from \d\.\d+ to 1\.0000001.*: jnp\.clip\(.*, 0, 1\) removes what rounding",
    ),
    "not a number": (np.where(IMAGE > 0.5, np.nan, IMAGE), r"floats in \[0, 1\].*, got NaN"),
    "a list": (IMAGE.tolist(), "got list: jnp.asarray"),
    "empty": (IMAGE[:0], r"0, 12, 3"),
    "small": (IMAGE[:3, :2], r"3, 2, 3"),
}


def batch(x):
    return [x] if isinstance(x, list) else x[None]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_image_is_named_with_what_was_expected_and_what_came(name, wrong):
    image, got = WRONG[wrong]
    with pytest.raises(ValueError, match=got) as caught:
        FUNCTIONS[name](image)
    message = str(caught.value)
    assert message.startswith(name.split(" of ")[0] + " must ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "wrong", sorted(set(WRONG) - {"gray with an axis", "transparent", "small"})
)
def test_a_zoom_looks_at_its_image(wrong):
    image, got = WRONG[wrong]
    with pytest.raises(ValueError, match=got):
        zoomed(image)


@pytest.mark.parametrize(
    ("image", "channels", "remedy"),
    [
        (IMAGE[..., 0], 3, r"jnp.repeat\(photo\[..., None\], 3, axis=-1\) makes a color image"),
        (IMAGE[..., 0], None, r"photo\[..., None\] adds the axis of the channel"),
        (IMAGE[..., :1], 3, r"jnp.repeat\(photo, 3, axis=-1\) makes a color image of a gray one"),
        (np.ones((8, 12, 4), np.float32), 3, r"photo\[..., :3\] leaves the transparency out"),
        (np.moveaxis(IMAGE, -1, 0), 3, r"jnp.moveaxis\(photo, 0, -1\) puts the channels last"),
        (IMAGE[None], 3, r"photo\[0\] is the image of a batch of one"),
    ],
)
def test_a_line_says_what_makes_an_image_of_it(image, channels, remedy):
    with pytest.raises(ValueError, match=f"photo must be floats .*, got shape .*: {remedy}"):
        as_images(image, name="photo", channels=channels)


def test_images_of_one_channel_are_for_networks_that_take_them():
    np.testing.assert_array_equal(as_images(IMAGE[..., :1]), IMAGE[None, ..., :1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: styled(content_layer="x"), "content_layer must be of the maps norm1, .*, got 'x'"),
        (
            lambda: styled(style_weights={"pooled": 1.0}),
            "style_weights must be of the maps norm1, norm2, norm3, stage1, .*, got 'pooled'",
        ),
        (lambda: inverted(layer="x"), "layer must be one of norm1, .*, stage3, got 'x'"),
        (lambda: dreamt(layers={"x": 1.0}), "layer must be one of norm1, .*, got 'x'"),
        (lambda: styled(start=IMAGE[1:]), r"start must have the shape of content, \[8, 12, 3\],"),
        (
            lambda: dreamt(octaves=4, octave_scale=2.0, smallest=1),
            r"image, in its smallest octave, must .* \[1, 1, 2, 3\]: images must have 4 rows and",
        ),
        (lambda: dreamt(tile=3), r"image, in squares of tile, must be .*got \[1, 3, 3, 3\]"),
        (
            lambda: io.gradient_saliency(NETWORK, IMAGE[None], np.array([3])),
            r"labels must be in \[0, 2\], got 3",
        ),
        (
            lambda: io.maximize_activation(
                KEY, NETWORK, io.Activation(channel=3), parameterization=io.Pixels(8, 8), steps=1
            ),
            "channel must be from 0 to 2, got 3 in the logits",
        ),
        (
            lambda: io.maximize_activation(
                KEY, NETWORK, io.Activation(channel=0), parameterization=io.Pixels(3, 8), steps=1
            ),
            r"parameterization must be of a shape that the network takes, got \[1, 3, 8, 3\]: ima",
        ),
    ],
)
def test_what_the_network_does_not_have_or_take_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_map_without_a_cell_is_refused():
    with pytest.raises(ValueError, match=r"image must be of .* got \[1, 8, 12, 3\]: a map has no"):
        io.deep_dream(KEY, lambda x: {"none": x[:, 8:]}, IMAGE, {"none": 1.0})
