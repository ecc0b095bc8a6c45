"""DCGAN: sizes, layers that double, spectral norm, and each objective's gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import losses, objectives
from lectures_jax.models.gan import Discriminator, Gan, Generator, dcgan
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.spectral import SpectralNorm
from lectures_jax.nn.upsampling import ResizeConv, SubpixelConv, TransposedConv


@pytest.mark.parametrize(
    ("shape", "channels"), [((8, 8, 1), (6, 4)), ((28, 28, 1), (6, 4, 2)), ((32, 32, 3), (4,) * 4)]
)
def test_images_and_maps_have_their_size(shape, channels):
    def draw():
        model = dcgan(shape, latent=5, channels=channels, rngs=nnx.Rngs(0))
        images = model(jnp.ones((2, 5)))
        return images, model.logits(images), model.discriminator.features(images)

    images, logits, maps = jax.eval_shape(draw)
    assert (images.shape, logits.shape) == ((2, *shape), (2,))
    assert list(maps) == [f"conv{i + 1}" for i in range(len(channels))]


def test_images_lie_between_0_and_1():
    generator = Generator((4, 4, 1), latent=5, channels=(4, 4), rngs=nnx.Rngs(0))
    images = nnx.jit(lambda model, z: model(z))(generator, 9 * jnp.eye(5))
    assert np.all((images > 0) & (images < 1))
    assert np.std(images) > 0.01


@pytest.mark.parametrize("up", [SubpixelConv, ResizeConv, TransposedConv])
def test_each_way_doubles_a_map_and_keeps_its_variance(up):
    x = jax.random.normal(jax.random.key(0), (8, 6, 6, 32))
    y = nnx.jit(lambda up, x: up(jax.nn.relu(x)))(up(32, 16, rngs=nnx.Rngs(0)), x)
    assert y.shape == (8, 12, 12, 16)
    assert 0.4 < float(jnp.std(y[:, 2:-2, 2:-2])) < 1.6


def test_a_fresh_subpixel_layer_repeats_cells():
    y = SubpixelConv(2, 3, rngs=nnx.Rngs(0))(jax.random.normal(jax.random.key(0), (1, 4, 4, 2)))
    np.testing.assert_allclose(y[:, ::2, ::2], y[:, 1::2, 1::2], rtol=1e-5, atol=1e-6)


def test_a_size_that_does_not_halve_raises():
    with pytest.raises(ValueError, match="channels must double to 10×10 pixels, got 3"):
        Generator((10, 10, 1), channels=(4, 4, 4), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_the_kernel_of_a_spectrally_normalized_layer_has_norm_1(kind):
    rngs = nnx.Rngs(0)
    inner = nnx.Linear(4, 3, rngs=rngs) if kind == "dense" else Conv(4, 3, (1, 1), rngs=rngs)
    inner.kernel[...] = 5 * inner.kernel[...]
    layer, shape = SpectralNorm(inner, rngs=rngs), (4,) if kind == "dense" else (1, 1, 4)
    for _ in range(30):
        layer(jnp.ones((1, *shape)))
    evaluated = nnx.view(layer, use_running_average=True)
    matrix = evaluated(jnp.eye(4).reshape(4, *shape)).reshape(4, 3)
    np.testing.assert_allclose(np.linalg.norm(matrix, 2), 1, rtol=1e-4)
    np.testing.assert_allclose(evaluated.layer.kernel[...], inner.kernel[...])  # not written back


def test_a_view_for_evaluation_leaves_the_direction():
    layer = SpectralNorm(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    before = np.asarray(layer.direction[...])
    nnx.view(layer, use_running_average=True)(jnp.ones((1, 4)))
    np.testing.assert_array_equal(layer.direction[...], before)
    layer(jnp.ones((1, 4)))
    assert np.any(np.asarray(layer.direction[...]) != before)


class Line(nnx.Module):
    """`w · x`, as generator and as discriminator of single numbers."""

    def __init__(self, weight):
        self.weight = nnx.Param(jnp.float32(weight))

    def __call__(self, x):
        return self.weight[...] * x


BATCH = {"image": jnp.array([[1.0], [3.0]])}


def test_objectives_by_hand():
    model = Gan(Line(0.0), Line(np.log(3)), latent=1)  # every sample is 0, every D(G(z)) is ½
    loss, metrics = objectives.gan_discriminator(model, BATCH, jax.random.key(0), r1=0.5)
    real = (np.log(4 / 3) + np.log(28 / 27)) / 2
    penalty = 0.25 * np.log(3) ** 2
    np.testing.assert_allclose(loss, real + np.log(2) + penalty, rtol=1e-5)
    np.testing.assert_allclose(metrics["real"], (3 / 4 + 27 / 28) / 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["fake"], 0.5)
    np.testing.assert_allclose(metrics["penalty"], penalty, rtol=1e-5)
    for objective, expected in (
        (objectives.gan_generator, np.log(2)),
        (partial(objectives.gan_generator, loss=losses.generator_minimax), -np.log(2)),
        (objectives.gan_generator_relativistic, (np.log(4) + np.log(28)) / 2),
    ):
        loss, _ = objective(model, BATCH, jax.random.key(0))
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_both_other_penalties_are_added():
    model = Gan(Line(2.0), Line(3.0), latent=1)
    plain, _ = objectives.gan_discriminator(model, BATCH, jax.random.key(0))
    for options, expected in (({"r2": 0.5}, 0.25 * 9), ({"gradient_penalty": 10.0}, 10 * 2**2)):
        loss, _ = objectives.gan_discriminator(model, BATCH, jax.random.key(0), **options)
        np.testing.assert_allclose(loss - plain, expected, rtol=1e-5)


def test_the_discriminator_s_loss_has_no_gradient_to_the_generator():
    def loss(weight):
        model = Gan(Line(weight), Line(1.0), latent=1)
        return objectives.gan_discriminator(model, BATCH, jax.random.key(0), r1=1.0)[0]

    assert jax.grad(loss)(2.0) == 0


def test_spectral_norm_and_a_penalty_go_together():
    model = dcgan((4, 4, 1), channels=(4, 4), spectral=True, rngs=nnx.Rngs(0))
    structure, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def grads(params):
        def loss(params):
            model = nnx.merge(structure, params, rest, copy=True)
            batch = {"image": jnp.ones((2, 4, 4, 1))}
            return objectives.gan_discriminator(model, batch, jax.random.key(0), r1=1.0)[0]

        return jax.grad(loss)(params)

    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads(params)))
    assert isinstance(model.discriminator, Discriminator)
