"""The receptive field of each model's maps: the formula equals the support of the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from lectures_jax.models import resnet, xception
from lectures_jax.models.cnn import Cnn
from lectures_jax.models.darknet import Darknet
from lectures_jax.models.resnet import ResNet
from lectures_jax.models.xception import Xception
from lectures_jax.models.yolo import Yolo, YoloSize

CONV, DOWN, POOL = (3, 1), (3, 2), (2, 2)
BLOCK = [(1, 1), (3, 1)]  # Darknet's: 1×1, then 3×3

# The longest way from the image to the map, as (size, stride) of its convolutions and poolings.
CASES = {
    "cnn": (
        lambda: Cnn(3, channels=((2,), (2, 2), (2,)), rngs=nnx.Rngs(0)),
        {"stage2": [CONV, POOL, CONV, CONV]},
    ),
    "resnet": (
        lambda: ResNet(3, size=resnet.ResNetSize((1, 1), (2, 4), large=False), rngs=nnx.Rngs(0)),
        {"stage2": [CONV] * 3 + [DOWN, CONV]},
    ),
    "resnet with bottlenecks, for photographs": (
        lambda: ResNet(
            3, size=resnet.ResNetSize((1, 1), (2, 2), bottleneck=True), rngs=nnx.Rngs(0)
        ),
        {"stage2": [(7, 2), DOWN, CONV, DOWN]},
    ),
    "xception": (
        lambda: Xception(
            3, size=xception.XceptionSize((2, 2), 1, (2,), 1, (2, 2), (2, 2)), rngs=nnx.Rngs(0)
        ),
        {
            "middle": [CONV] * 4 + [DOWN] + [CONV] * 3,
        },
    ),
    "darknet": (
        lambda: Darknet(stem=2, channels=(4, 4), blocks=(1, 2), rngs=nnx.Rngs(0)),
        {
            "stage2": [CONV, DOWN, *BLOCK, DOWN, *BLOCK, *BLOCK],
        },
    ),
    "yolo": (
        lambda: Yolo(
            2,
            size=YoloSize(2, 2, (4, 4, 4, 4), (1, 0, 0, 0), (4, 4, 4), 0),
            rngs=nnx.Rngs(0),
        ),
        {"stage1": [DOWN, DOWN, *BLOCK], "neck32": [DOWN, DOWN, *BLOCK, DOWN, DOWN, DOWN]},
    ),
}


def support(build, name: str, side: int) -> int:
    """Rows of the image on which the gradient of the map's middle row is not 0.

    All weights are positive, so nothing cancels. Where a maximum passes only its winner on, an
    image that rises and one that falls show the two ends.
    """
    model = nnx.view(
        build(), use_running_average=True, deterministic=True, raise_if_not_found=False
    )
    structure, params, rest = nnx.split(model, nnx.Param, ...)
    params = jax.tree.map(lambda p: jnp.ones_like(p) / p.size if p.ndim > 1 else p, params)

    @jax.jit
    def seen(images):
        def middle(images):
            maps = nnx.merge(structure, params, rest).features(images)[name]
            return jnp.sum(maps[:, maps.shape[1] // 2])

        return jnp.any(jax.grad(middle)(images) != 0, axis=(2, 3))

    ramp = np.linspace(1, 2, side, dtype=np.float32)[:, None, None]
    by_image = np.asarray(
        seen(np.stack([ramp, ramp[::-1]]) * np.ones((1, side, 32, 3), np.float32))
    )
    rows = np.flatnonzero(by_image.any(axis=0))
    assert min(rows[0], side - 1 - rows[-1]) > 0, "the image is too small to see an end"
    return int(rows[-1] - rows[0] + 1)


@pytest.mark.parametrize(
    ("build", "name", "chain"),
    [
        pytest.param(build, name, chain, id=f"{model} {name}")
        for model, (build, chains) in CASES.items()
        for name, chain in chains.items()
    ],
)
def test_the_formula_is_the_support_of_the_gradient(build, name, chain):
    field = ops.receptive_field(chain)
    side = 32 * (2 * field.size // 32 + 2)  # a multiple of every stride, with room around
    assert support(build, name, side) == field.size
