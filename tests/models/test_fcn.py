"""FCN-32s, 16s and 8s: how each begins where the coarser one ended, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from lectures_jax.models.fcn import Fcn, Skip, refine
from lectures_jax.models.vgg import VggSize
from lectures_jax.nn.upsampling import BilinearUpsampling

SIZE = VggSize((1, 1, 1, 1, 1), (2, 3, 4, 5, 6), hidden=7)
IMAGES = np.random.default_rng(0).random((2, 64, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def coarse():
    return nnx.jit(lambda: Fcn(3, size=SIZE, rngs=nnx.Rngs(0)))()


@jax.jit
def call(model, images):
    return model(images), model.features(images)


def upsampled(x, *factors):
    for factor in factors:
        x = ops.upsample_bilinear(x, factor=factor)
    return x


def test_the_published_network():
    """Counted by hand: VGG-16 without its last layer, scores of 21 classes, two skips."""
    model = nnx.eval_shape(lambda: refine(refine(Fcn(21, rngs=nnx.Rngs(0)))))
    count = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    vgg = 138_357_544 - (4096 + 1) * 1000
    enlargements, scores = 2 * 4 * 4 * 21 * 21, (4096 + 1 + 512 + 1 + 256 + 1) * 21
    assert count == vgg + enlargements + scores
    images = jax.ShapeDtypeStruct((1, 320, 416, 3), jnp.float32)
    maps = nnx.eval_shape(lambda network, x: network.features(x), model, images)
    shapes = {name: maps[name].shape[1:] for name in ("conv6", "scores32", "scores16", "scores8")}
    assert shapes == {
        "conv6": (10, 13, 4096),
        "scores32": (10, 13, 21),
        "scores16": (20, 26, 21),
        "scores8": (40, 52, 21),
    }
    assert nnx.eval_shape(lambda network, x: network(x), model, images).shape == (1, 320, 416, 21)


@pytest.mark.parametrize("join", ["sum", "concat"])
def test_each_begins_with_the_scores_of_the_coarser_one(join):
    model = nnx.jit(lambda: Fcn(3, size=SIZE, join=join, rngs=nnx.Rngs(0)))()
    logits, maps = call(model, IMAGES)
    scores = maps["scores32"]
    np.testing.assert_allclose(logits, upsampled(scores, 32), atol=1e-5)
    middle = refine(model)
    np.testing.assert_allclose(call(middle, IMAGES)[0], upsampled(scores, 2, 16), atol=1e-5)
    fine = refine(middle)
    np.testing.assert_allclose(call(fine, IMAGES)[0], upsampled(scores, 2, 2, 8), atol=1e-5)
    assert [network.stride for network in (model, middle, fine)] == [32, 16, 8]


def test_what_was_trained_is_kept_and_the_coarser_network_stays(coarse):
    middle = refine(coarse)
    middle.skips[0].score.kernel[...] += 1.0
    fine = refine(middle)
    np.testing.assert_array_equal(fine.skips[0].score.kernel[...], np.ones((1, 1, 5, 3)))
    np.testing.assert_array_equal(fine.score.kernel[...], coarse.score.kernel[...])
    assert len(coarse.skips) == 0
    assert len(middle.skips) == 1
    with pytest.raises(ValueError, match="model must be FCN-32s or FCN-16s, got FCN-8s"):
        refine(fine)


def test_a_network_built_fine_is_of_the_same_arrays(coarse):
    built = nnx.eval_shape(lambda: Fcn(3, size=SIZE, stride=8, rngs=nnx.Rngs(0)))
    shapes = [
        jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
        for model in (built, refine(refine(coarse)))
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("join", ["sum", "concat"])
def test_scores_of_the_finer_map_are_joined(join):
    """By hand: one class, one channel; the enlarged score times a, the map times b."""
    skip = Skip(1, 1, join=join, rngs=nnx.Rngs(0))
    kernel = [[3.0]] if join == "sum" else [[2.0], [3.0]]
    skip.score.kernel[...] = jnp.array(kernel)[None, None]
    fine = jnp.arange(4.0).reshape(1, 2, 2, 1)
    y = skip(jnp.full((1, 1, 1, 1), 5.0), fine)
    np.testing.assert_allclose(y, (5 if join == "sum" else 10) + 3 * fine, rtol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_trained_interpolation_starts_as_one_up_to_the_border(factor):
    layer = BilinearUpsampling(3, factor=factor, rngs=nnx.Rngs(0))
    x = jnp.asarray(IMAGES[:, :5, :4])
    y = layer(x)
    np.testing.assert_allclose(y, ops.upsample_bilinear(x, factor=factor), atol=1e-6)


def test_every_parameter_has_a_gradient(coarse):
    model = refine(refine(coarse))
    structure, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def gradient(params):
        def loss(params):
            merged = nnx.merge(structure, params, rest, copy=True)
            logits = merged(jnp.asarray(IMAGES[:, :, :64]), key=jax.random.key(1))
            return jnp.sum(jnp.cos(logits))

        return jax.grad(loss)(params)

    for path, g in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(gradient(params))):
        assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("refinements", [0, 2])
def test_the_border_of_a_tile_is_seen_within_the_reach_only(coarse, refinements):
    model = coarse
    for _ in range(refinements):
        model = refine(model)
        model.skips[-1].score.kernel[...] += 0.1
    model = nnx.view(model, deterministic=True)
    reach = model.sizes.reach
    image = np.random.default_rng(1).random((1, 64, 384 + 64, 3)).astype(np.float32)
    logits = [call(model, image[:, :, i : i + 384])[0][0] for i in (0, 64)]
    first, second = logits[0][:, 64:], logits[1][:, :-64]  # of the same pixels
    assert reach < 160
    np.testing.assert_allclose(first[:, reach:-reach], second[:, reach:-reach], atol=1e-5)
    assert np.abs(first[:, reach - 32 : reach] - second[:, reach - 32 : reach]).max() > 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": VggSize((1,), (2,))}, "size must have five stages with padding SAME, got 1"),
        ({"size": VggSize(padding="VALID")}, "size must have five stages .*, got 5 with .* VALID"),
        ({"stride": 4}, "stride must be one of 32, 16, 8, got 4"),
        ({"join": "mean"}, "join must be one of sum, concat, got 'mean'"),
    ],
)
def test_other_networks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Fcn(2, **({"size": SIZE} | options), rngs=nnx.Rngs(0))


def test_images_of_other_sizes_are_refused(coarse):
    with pytest.raises(ValueError, match=r"32 \+ 32 n pixels, got 64×90: 90 is between 64 and 96"):
        coarse(jnp.zeros((1, 64, 90, 3)))
