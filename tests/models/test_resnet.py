"""Residual networks: the large and the published small ones, shortcuts of zeros, normalization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models import resnet
from lectures_jax.models.resnet import ResNet, ResNetSize, ZeroPadding
from lectures_jax.nn.preprocessing import IMAGENET

TINY = ResNetSize((1, 1), (4, 8), large=False, padded=True)


# As torchvision's; the CIFAR form as in akamaster/pytorch_resnet_cifar10 (0.27 million).
@pytest.mark.parametrize(
    ("size", "classes", "expected"),
    [
        (resnet.RESNET101, 1000, 44_549_160),
        (resnet.RESNET152, 1000, 60_192_808),
        (resnet.CIFAR20_PADDED, 10, 269_722),
    ],
)
def test_they_have_the_published_parameters(size, classes, expected):
    model = nnx.eval_shape(lambda: ResNet(classes, size=size, rngs=nnx.Rngs(0)))
    assert sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param))) == expected


def test_a_padded_shortcut_takes_every_other_cell_between_channels_of_zeros():
    x = jnp.arange(1.0, 19).reshape(1, 3, 3, 2)
    y = ZeroPadding(2, 5, stride=2)(x)
    assert y.shape == (1, 2, 2, 5)
    np.testing.assert_array_equal(y[0, :, :, 1:3], x[0, ::2, ::2])
    np.testing.assert_array_equal(y[..., jnp.array([0, 3, 4])], 0)


def test_a_padded_block_whose_last_scale_is_zero_returns_the_shortcut():
    block = resnet.Block(2, 4, stride=2, bottleneck=False, padded=True, rngs=nnx.Rngs(0))
    block.residual.f.layers[-1].norm.scale[...] = jnp.zeros(4)
    x = jax.random.uniform(jax.random.key(0), (2, 5, 4, 2))
    np.testing.assert_array_equal(block(x), ZeroPadding(2, 4, stride=2)(x))


def test_normalization_is_what_the_network_does_first():
    images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    plain = ResNet(3, size=TINY, rngs=nnx.Rngs(0))
    normalizing = ResNet(3, size=TINY, normalize=IMAGENET, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(normalizing(images), plain(IMAGENET(images)))
