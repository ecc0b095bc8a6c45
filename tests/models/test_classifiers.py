"""The plain, residual and separable classifiers: published sizes, shapes, and what they share."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models import resnet, xception
from lectures_jax.models.cnn import Cnn
from lectures_jax.models.resnet import ResNet
from lectures_jax.models.xception import Xception


def abstract(build):
    """The network without its arrays: enough to count and to trace."""
    return nnx.eval_shape(build)


def parameters(model) -> int:
    return sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))


def shapes(model, size, inputs=3):
    images = jax.ShapeDtypeStruct((1, size, size, inputs), jnp.float32)
    maps = nnx.eval_shape(lambda network, x: network.features(x), model, images)
    return {name: x.shape[1:] for name, x in maps.items()}


# As torchvision's resnet18, 34 and 50; the CIFAR form as in public reimplementations.
@pytest.mark.parametrize(
    ("size", "classes", "expected"),
    [
        (resnet.RESNET18, 1000, 11_689_512),
        (resnet.RESNET34, 1000, 21_797_672),
        (resnet.RESNET50, 1000, 25_557_032),
        (resnet.CIFAR18, 10, 11_173_962),
    ],
)
def test_residual_networks_have_the_published_parameters(size, classes, expected):
    model = abstract(lambda: ResNet(classes, size=size, rngs=nnx.Rngs(0)))
    assert parameters(model) == expected


def test_xception_has_the_published_parameters():
    assert parameters(abstract(lambda: Xception(1000, rngs=nnx.Rngs(0)))) == 22_855_952


def test_maps_of_the_published_sizes():
    # He et al., table 1, for 224×224; Chollet, fig. 5, gives 19×19×728 for 299×299.
    assert shapes(abstract(lambda: ResNet(1000, rngs=nnx.Rngs(0))), 224) == {
        "stem": (112, 112, 64),
        "stage1": (56, 56, 64),
        "stage2": (28, 28, 128),
        "stage3": (14, 14, 256),
        "stage4": (7, 7, 512),
        "pooled": (512,),
    }
    maps = shapes(abstract(lambda: Xception(1000, rngs=nnx.Rngs(0))), 299)
    assert maps["middle"] == (19, 19, 728)
    assert maps["exit"] == (10, 10, 1024)
    assert maps["top"] == (10, 10, 2048)


def test_the_plain_network_halves_between_stages():
    model = abstract(lambda: Cnn(10, channels=((4,), (6, 6)), inputs=1, rngs=nnx.Rngs(0)))
    first, second = (28, 28, 4), (14, 14, 6)
    maps = {"norm1": first, "stage1": first, "norm2": second, "stage2": second, "pooled": (6,)}
    assert shapes(model, 28, 1) == maps
    # 9·4 + 2·4, 9·4·6 + 2·6, 9·6·6 + 2·6, 6·10 + 10.
    assert parameters(model) == 44 + 228 + 336 + 70


def test_the_plain_network_has_its_maps_before_relu_too():
    model = Cnn(2, channels=((4,), (6, 6)), rngs=nnx.Rngs(0))
    maps = model.features(jax.random.uniform(jax.random.key(0), (2, 8, 6, 3)))
    for number in (1, 2):
        before = np.asarray(maps[f"norm{number}"])
        assert before.min() < 0 < before.max()
        np.testing.assert_array_equal(maps[f"stage{number}"], np.maximum(before, 0))


def test_the_plain_network_refuses_images_of_which_it_would_leave_no_cell():
    model = Cnn(2, channels=((4,), (4,), (4,)), rngs=nnx.Rngs(0))
    assert model(jnp.zeros((1, 4, 5, 3))).shape == (1, 2)
    with pytest.raises(ValueError, match="images must have 4 rows and columns at least, got 3×5"):
        model(jnp.zeros((1, 3, 5, 3)))


def test_a_stage_without_convolutions_is_refused():
    with pytest.raises(ValueError, match="channels must"):
        Cnn(10, channels=((4,), ()), rngs=nnx.Rngs(0))


SMALL_RESNET = resnet.ResNetSize((1, 1), (4, 8), large=False)
SMALL_XCEPTION = xception.XceptionSize((4, 6), 1, (8,), 1, (8, 10), (12, 12))


@pytest.fixture(scope="module", params=["cnn", "resnet", "xception"])
def model(request):
    build = {
        "cnn": partial(Cnn, 3, channels=((4,), (6,)), dropout=0.5),
        "resnet": partial(ResNet, 3, size=SMALL_RESNET),
        "xception": partial(Xception, 3, size=SMALL_XCEPTION),
    }[request.param]
    return nnx.jit(lambda: build(rngs=nnx.Rngs(0)))()  # one compilation, not one for each shape


def test_evaluation_uses_no_statistics_of_the_batch(model):
    model = nnx.view(model, use_running_average=True, deterministic=True, raise_if_not_found=False)
    images = jax.random.uniform(jax.random.key(0), (4, 12, 12, 3))
    together = nnx.jit(lambda m, x: m(x))(model, images)
    alone = nnx.jit(lambda m, x: m(x))(model, images[:1])
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5, atol=1e-5)
    assert together.shape == (4, 3)


def test_every_parameter_has_a_gradient(model):
    images = jax.random.uniform(jax.random.key(1), (4, 12, 12, 3))
    structure, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def gradient(params):
        def loss(params):
            merged = nnx.merge(structure, params, rest, copy=True)
            return jnp.sum(merged(images, key=jax.random.key(2)) ** 2)

        return jax.grad(loss)(params)

    for path, g in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(gradient(params))):
        assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_a_residual_block_whose_last_scale_is_zero_returns_its_input():
    block = resnet.Block(4, 4, stride=1, bottleneck=False, rngs=nnx.Rngs(0))
    block.residual.f.layers[-1].norm.scale[...] = jnp.zeros(4)
    x = jax.random.uniform(jax.random.key(0), (2, 5, 5, 4))
    np.testing.assert_array_equal(block(x), x)


def test_blocks_that_concatenate_pass_their_input_on_and_widen():
    block = resnet.Block(3, 4, stride=1, bottleneck=False, concatenate=True, rngs=nnx.Rngs(0))
    x = jax.random.uniform(jax.random.key(0), (2, 5, 5, 3))
    y = block(x)
    assert y.shape == (2, 5, 5, 3 + 4)
    np.testing.assert_array_equal(y[..., :3], x)
    size = resnet.ResNetSize((2, 1), (4, 6), large=False, concatenate=True)
    model = abstract(lambda: ResNet(10, size=size, rngs=nnx.Rngs(0)))
    assert shapes(model, 8) == {
        "stem": (8, 8, 4),
        "stage1": (8, 8, 4 + 4 + 4),
        "stage2": (4, 4, 12 + 6),
        "pooled": (18,),
    }
