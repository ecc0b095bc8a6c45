"""One rule for images at the edge of every network: floats, batched, of the network's channels."""

import json
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax.nn.images import check_images

SHAPE = (2, 8, 8, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones(SHAPE, np.uint8), r"got uint8\[2,8,8,3\]: images / 255 makes floats of bytes\."),
        (jnp.ones(SHAPE, bool), r"got bool\[2,8,8,3\]: images / 255"),
        (jnp.ones((8, 8, 3)), r"got float32\[8,8,3\]: images\[None\] makes a batch of one image"),
        (jnp.ones((8, 8)), r"images\[\.\.\., None\] adds the axis of the channel, images\[None\]"),
        (jnp.ones((2, 8, 8)), r"images\[\.\.\., None\] adds the axis of the channel"),
        (jnp.ones((2, 8, 8, 1)), r"jnp\.repeat\(images, 3, axis=-1\) makes color images of gray"),
        (jnp.ones((2, 8, 8, 4)), r"images\[\.\.\., :3\] leaves the transparency out"),
        (jnp.ones((2, 3, 8, 8)), r"jnp\.moveaxis\(images, 1, -1\) puts the channels last"),
        (jnp.ones((2, 8, 8, 7)), "the network was built for other channels"),
        (jnp.ones((2, 4, 8, 3)), "the network was built for images of that size"),
        (jnp.ones((1, *SHAPE)), "each image has three axes"),
        (jnp.float32(3), "each image has three axes"),
        ([[1.0]], r"got list: jnp\.asarray\(images\) makes an array of it"),
    ],
)
def test_other_images_are_refused_with_what_to_do(images, message):
    expected = r"^images must be floats in \[0, 1\] of shape \[batch, 8, 8, 3\], "
    with pytest.raises(ValueError, match=expected + ".*" + message):
        check_images(images, channels=3, size=(8, 8))


def test_the_advice_works():
    gray, bytes_ = jnp.ones((2, 8, 8, 1)), np.full(SHAPE, 255, np.uint8)
    for images in (
        jnp.repeat(gray, 3, axis=-1),
        bytes_ / np.float32(255),
        bytes_ / 255,
        jnp.ones((8, 8, 3))[None],
        jnp.ones((2, 8, 8, 4))[..., :3],
        jnp.moveaxis(jnp.ones((2, 3, 8, 8)), 1, -1),
    ):
        check_images(images, channels=3)
    check_images(jnp.mean(jnp.ones(SHAPE), axis=-1, keepdims=True), channels=1)
    with pytest.raises(ValueError, match="makes gray images of them"):
        check_images(jnp.ones(SHAPE), channels=1)
    with pytest.raises(ValueError, match=r"floats in \[-1, 1\].* x_t / 127\.5 - 1 makes floats"):
        check_images(bytes_, channels=3, name="x_t", signed=True)


def test_half_precision_and_traced_images_are_images():
    check_images(jnp.ones(SHAPE, jnp.bfloat16), channels=3)
    jax.eval_shape(partial(check_images, channels=3), jnp.ones(SHAPE))


PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from lectures_jax.models import autoencoder, cnn, darknet, diffusion, gan, image_flow, mlp, resnet
from lectures_jax.models import vae, xception, yolo

SHAPE = (32, 32, 3)
tiny = yolo.YoloSize(4, 2, (4, 8, 8, 8), (1, 1, 1, 1), (8, 4, 4), 0)
exception = xception.XceptionSize((2, 4), 1, (4,), 1, (4, 8), (8, 8))
residual = resnet.ResNetSize((1,), (4,), large=False)

def conv(rngs):
    return autoencoder.ConvEncoder(SHAPE, 4, hidden=4, rngs=rngs)

def dense(rngs):
    return autoencoder.dense_encoder(SHAPE, 2, hidden=(4,), rngs=rngs)

def decoder(rngs):
    return autoencoder.DenseDecoder(2, SHAPE, hidden=(4,), rngs=rngs)

def call(model, x):
    return model(x)

networks = {
    "Cnn": (lambda r: cnn.Cnn(2, channels=((4,),), rngs=r), call),
    "ResNet": (lambda r: resnet.ResNet(2, size=residual, rngs=r), call),
    "Xception": (lambda r: xception.Xception(2, size=exception, rngs=r), call),
    "Darknet": (lambda r: darknet.Darknet(stem=4, channels=(4,), blocks=(1,), rngs=r), call),
    "Yolo": (lambda r: yolo.Yolo(2, size=tiny, rngs=r), call),
    "Yolo.predict": (lambda r: yolo.Yolo(2, size=tiny, rngs=r), yolo.Yolo.predict),
    "Yolo.features": (lambda r: yolo.Yolo(2, size=tiny, rngs=r), yolo.Yolo.features),
    "Discriminator": (lambda r: gan.Discriminator(SHAPE, channels=(4,), rngs=r), call),
    "ConvEncoder": (conv, call),
    "Vae": (lambda r: vae.Vae(conv(r), decoder(r)), call),
    "Autoencoder": (lambda r: autoencoder.Autoencoder(dense(r), decoder(r)), call),
    "Mlp": (lambda r: mlp.Mlp((32 * 32 * 3, 2), rngs=r), call),
    "Flow": (
        lambda r: image_flow.multiscale_flow(SHAPE, scales=1, steps=1, hidden=4, rngs=r),
        lambda model, x: model.log_prob(x),
    ),
    "Denoiser": (
        lambda r: diffusion.Denoiser(channels=(8,), inputs=3, rngs=r),
        lambda model, x: model(x, jnp.ones(2)),
    ),
}
wrong = {
    "bytes": np.ones((2, 32, 32, 3), np.uint8),
    "integers": jnp.ones((2, 32, 32, 3), jnp.int32),
    "one image": jnp.ones((32, 32, 3)),
    "gray": jnp.ones((2, 32, 32, 1)),
    "gray without its axis": jnp.ones((2, 32, 32)),
}
messages = {}
for name, (build, use) in networks.items():
    structure, state = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def run(state, images):
        return use(nnx.merge(structure, state), images)

    for what, images in wrong.items():
        try:
            jax.eval_shape(run, state, images)
            messages[f"{name}: {what}"] = "accepted"
        except Exception as error:
            messages[f"{name}: {what}"] = f"{type(error).__name__}: {error}"
    jax.eval_shape(run, state, jnp.ones((2, 32, 32, 3)))
print(json.dumps(messages))
"""


def test_every_network_refuses_bytes_one_image_and_gray_ones(root):
    """In a process of its own, where no test's own check of the annotations comes first."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    messages = json.loads(done.stdout.splitlines()[-1])
    assert len(messages) == 14 * 5
    for case, message in messages.items():
        line, *more = message.split("\n")
        assert line.startswith(("ValueError: images must be floats", "ValueError: x")), case
        assert "must be floats" in line, case
        assert not more or "internal frames" in message, case
