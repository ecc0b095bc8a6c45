"""A convolutionalized classifier: itself at every position, where it pads nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.cnn import Cnn
from lectures_jax.models.convolutionalization import FullyConvolutional, convolutionalize
from lectures_jax.models.mlp import Mlp
from lectures_jax.models.resnet import ResNet, ResNetSize
from lectures_jax.models.squeezenet import SqueezeNet, SqueezeNetSize
from lectures_jax.models.vgg import Vgg, VggSize
from lectures_jax.models.xception import Xception, XceptionSize
from lectures_jax.nn.preprocessing import Normalize

IMAGES = np.random.default_rng(0).random((2, 41, 45, 2)).astype(np.float32)
NORMALIZE = Normalize((0.5, 0.5), (0.25, 0.25))


def vgg(rngs, padding):
    size = VggSize((1, 2), (4, 5), batch_norm=True, hidden=6, padding=padding)
    return Vgg(3, size=size, inputs=2, normalize=NORMALIZE, rngs=rngs)


def cnn(rngs, padding):
    return Cnn(3, channels=((4,), (5, 5)), inputs=2, padding=padding, dropout=0.5, rngs=rngs)


# Sides that a stride divides, and others that leave pixels over.
EXACT = {
    "cnn": (lambda r: cnn(r, "VALID"), (18, 20), 2),
    "cnn with pixels over": (lambda r: cnn(r, "VALID"), (17, 21), 2),
    "vgg": (lambda r: vgg(r, "VALID"), (26, 22), 4),
    "vgg with pixels over": (lambda r: vgg(r, "VALID"), (33, 23), 4),
    "mlp": (lambda r: Mlp((2 * 38 * 43, 6, 5, 3), rngs=r), (38, 43), 1),
}
PADDED = {
    "cnn": lambda r: cnn(r, "SAME"),
    "vgg": lambda r: vgg(r, "SAME"),
    "resnet": lambda r: ResNet(3, size=ResNetSize((1, 1), (4, 5)), inputs=2, rngs=r),
    "squeezenet": lambda r: SqueezeNet(3, size=SqueezeNetSize(4, 3, (1,), 2, 2), inputs=2, rngs=r),
    "xception": lambda r: Xception(
        3, size=XceptionSize((3, 4), 1, (4,), 1, (4, 5), (5, 6)), inputs=2, rngs=r
    ),
}


def build(make):
    """A network in evaluation mode, none of whose numbers is what it is built with."""
    model = nnx.jit(lambda: make(nnx.Rngs(0)))()
    state = nnx.state(model, nnx.Not(nnx.RngState))
    rng = np.random.default_rng(1)

    def changed(x):
        return x + 0.1 * jnp.asarray(rng.random(x.shape), x.dtype)

    nnx.update(model, jax.tree.map(changed, state))
    return nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)


@jax.jit
def call(model, images):
    return model(images)


@pytest.mark.parametrize("case", sorted(EXACT))
def test_it_is_the_classifier_slid_over_the_image_at_every_position(case):
    make, (height, width), stride = EXACT[case]
    model = build(make)
    network = convolutionalize(model, image_size=(height, width))
    assert network.exact
    assert network.stride == stride
    rows = range(0, IMAGES.shape[1] - height + 1, stride)
    columns = range(0, IMAGES.shape[2] - width + 1, stride)
    parts = [IMAGES[:, i : i + height, j : j + width] for i in rows for j in columns]
    slid = call(model, np.concatenate(parts)).reshape(len(rows), len(columns), 2, 3)
    result = call(network, IMAGES)
    np.testing.assert_allclose(result, slid.transpose(2, 0, 1, 3), rtol=1e-4, atol=2e-5)
    assert np.std(result, axis=(1, 2)).min() > 1e-4  # positions differ


@pytest.mark.parametrize("name", sorted(PADDED))
def test_on_images_of_its_size_every_classifier_is_itself(name):
    model = build(PADDED[name])
    images = IMAGES[:, :32, :36]
    network = convolutionalize(model, image_size=(32, 36))
    assert not network.exact
    one = call(network, images)
    assert one.shape == (2, 1, 1, 3)
    np.testing.assert_allclose(one[:, 0, 0], call(model, images), rtol=1e-4, atol=1e-5)


def test_zeros_of_its_border_are_what_a_padded_classifier_misses():
    """Where the image really is 0 around the window, the padded one is exact, too."""
    model = build(lambda r: Cnn(3, channels=((4,),), inputs=2, padding="SAME", rngs=r))
    network = convolutionalize(model, image_size=(8, 8))
    part = IMAGES[:, :8, :8]
    for around, agree in ((np.zeros, True), (np.ones, False)):
        image = around((2, 12, 12, 2), np.float32)
        image[:, 2:10, 2:10] = part
        difference = call(network, image)[:, 2, 2] - call(model, part)
        assert (np.abs(difference).max() < 1e-5) == agree


def test_only_the_layers_after_the_first_are_1x1():
    """The first dense layer of VGG sees 7×7 cells: as a 1×1 convolution it would see one."""
    size = VggSize((1, 1), (4, 5), hidden=6)
    model = build(lambda r: Vgg(3, size=size, inputs=2, rngs=r))
    network = convolutionalize(model, image_size=(28, 28))
    shapes = [conv.kernel.shape for conv in network.convs]
    assert shapes == [(7, 7, 5, 6), (1, 1, 6, 6), (1, 1, 6, 3)]
    np.testing.assert_array_equal(
        network.convs[0].kernel[...].reshape(-1, 6), model.hidden[0].kernel[...]
    )


def test_the_trunk_keeps_no_dense_layer_and_the_classifier_stays():
    model = build(lambda r: vgg(r, "VALID"))
    before = call(model, IMAGES)
    network = convolutionalize(model, image_size=(26, 22))
    assert isinstance(network, FullyConvolutional)
    assert not hasattr(network.trunk, "hidden")
    assert set(network.features(jnp.asarray(IMAGES))) == {"last_map", "scores"}
    np.testing.assert_array_equal(call(model, IMAGES), before)


def test_others_are_refused():
    network = convolutionalize(build(EXACT["mlp"][0]), image_size=(38, 43))
    with pytest.raises(ValueError, match="images must be 38×43 at least, got 38×42"):
        network(jnp.zeros((1, 38, 42, 2)))
    with pytest.raises(ValueError, match="images must be floats"):
        network(jnp.zeros((1, 38, 43, 1)))
    with pytest.raises(ValueError, match="kernel must have inputs for each of 5×5 cells, got 12"):
        convolutionalize(Mlp((12, 3), rngs=nnx.Rngs(0)), image_size=(5, 5))
    with pytest.raises(
        ValueError, match="images must have 12 rows and columns at least, got 11×13"
    ):
        convolutionalize(build(EXACT["cnn"][0]), image_size=(11, 13))
