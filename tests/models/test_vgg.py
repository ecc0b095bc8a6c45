"""VGG: published sizes, its maps and their names, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models import vgg
from lectures_jax.models.vgg import Vgg, VggSize, _to_grid

TINY = VggSize((1, 2), (4, 6), batch_norm=True, hidden=8)


def abstract(classes, **options):
    return nnx.eval_shape(lambda: Vgg(classes, **options, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def tiny():
    return nnx.jit(lambda: Vgg(3, size=TINY, rngs=nnx.Rngs(0)))()


def evaluated(model):
    return nnx.view(model, deterministic=True, use_running_average=True)


# As torchvision's.
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (vgg.VGG11, 132_863_336),
        (vgg.VGG11_BN, 132_868_840),
        (vgg.VGG13, 133_047_848),
        (vgg.VGG13_BN, 133_053_736),
        (vgg.VGG16, 138_357_544),
        (vgg.VGG16_BN, 138_365_992),
        (vgg.VGG19, 143_667_240),
        (vgg.VGG19_BN, 143_678_248),
    ],
)
def test_it_has_the_published_parameters(size, expected):
    state = nnx.state(abstract(1000, size=size), nnx.Param)
    assert sum(p.size for p in jax.tree.leaves(state)) == expected


@pytest.mark.parametrize("size", [vgg.VGG11, vgg.VGG16_BN])
def test_maps_of_the_published_sizes(size):
    # Simonyan & Zisserman, table 1.
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    model = abstract(1000, size=size)
    maps = nnx.eval_shape(lambda network, x: network.features(x), model, images)
    shapes = {name: x.shape[1:] for name, x in maps.items()}
    assert set(shapes) == {*size.layers, "pooled"}
    assert shapes["relu1_1"] == (224, 224, 64)
    assert shapes["relu3_1"] == (56, 56, 256)
    assert shapes["relu5_1"] == (14, 14, 512)
    assert shapes["pool5"] == (7, 7, 512)
    assert shapes["pooled"] == (4096,)


def test_the_layers_are_torchvision_s_by_index():
    # Those of Gatys et al. (2016): relu1_1 to relu5_1, and conv4_2 for the content.
    layers = vgg.VGG19.layers
    names = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1", "conv4_2", "pool5"]
    assert [layers.index(name) for name in names] == [1, 6, 11, 20, 29, 21, 36]
    assert vgg.VGG16_BN.layers[:7] == (
        *("conv1_1", "norm1_1", "relu1_1"),
        *("conv1_2", "norm1_2", "relu1_2"),
        "pool1",
    )


def test_logits_are_those_of_the_last_hidden_units(tiny):
    images = jax.random.uniform(jax.random.key(0), (2, 9, 30, 3))
    both = nnx.jit(lambda model: (model(images), model.classify(model.features(images)["pooled"])))
    logits, expected = both(evaluated(tiny))
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert logits.shape == (2, 3)


@pytest.mark.parametrize("length", [1, 2, 5, 7, 9, 14, 20])
def test_a_cell_of_the_grid_is_the_mean_of_what_it_covers(length):
    x = jax.random.uniform(jax.random.key(0), (1, length, 7, 1))
    covered = [slice(i * length // 7, -(-(i + 1) * length // 7)) for i in range(7)]
    expected = np.stack([np.asarray(x)[:, s].mean(axis=1) for s in covered], axis=1)
    np.testing.assert_allclose(_to_grid(x), expected, rtol=1e-6)
    turned = _to_grid(jnp.swapaxes(x, 1, 2))
    np.testing.assert_allclose(turned, np.swapaxes(expected, 1, 2), rtol=1e-6)


def test_an_image_smaller_than_one_cell_of_the_last_map_is_refused():
    with pytest.raises(ValueError, match="images must have 32 rows and columns at least, got 40×3"):
        nnx.eval_shape(lambda model: model(jnp.zeros((1, 40, 31, 3))), abstract(3))


def test_dropout_is_drawn_by_the_key_and_off_in_evaluation(tiny):
    images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))
    call = nnx.jit(lambda model, key: nnx.clone(model)(images, key=key))
    first, second = (call(tiny, jax.random.key(n)) for n in range(2))
    assert (first != second).any()
    same = [call(evaluated(tiny), jax.random.key(n)) for n in range(2)]
    np.testing.assert_array_equal(*same)


def test_a_hidden_unit_is_dropped_with_the_given_probability():
    size = VggSize((1,), (1,), hidden=1000)
    model = Vgg(1, size=size, dropout=0.25, rngs=nnx.Rngs(0))
    model.classify = lambda x: x  # the units themselves
    model.hidden[1] = jax.nn.identity
    model.hidden[0] = lambda x: jnp.ones((len(x), 1000))
    units = np.asarray(model(jnp.zeros((2, 2, 2, 3)), key=jax.random.key(0)))
    # Twice scaled by 4/3, or dropped by one of the two.
    np.testing.assert_allclose(np.unique(units), [0, 16 / 9], rtol=1e-6)
    np.testing.assert_allclose((units == 0).mean(), 1 - 0.75**2, atol=0.05)


def test_every_parameter_has_a_gradient(tiny):
    images = jax.random.uniform(jax.random.key(1), (4, 12, 12, 3))
    structure, params, rest = nnx.split(tiny, nnx.Param, ...)

    @jax.jit
    def gradient(params):
        def loss(params):
            model = nnx.merge(structure, params, rest, copy=True)
            return jnp.sum(evaluated(model)(images) ** 2)

        return jax.grad(loss)(params)

    for path, g in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(gradient(params))):
        assert np.abs(g).max() > 0, jax.tree_util.keystr(path)
