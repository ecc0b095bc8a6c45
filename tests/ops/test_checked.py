"""Every op refuses arrays of another shape or dtype than its annotations say, by a ValueError."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops.latent import LatentMap
from lectures_jax.typing import checked

CHECKED = checked(lambda: None).__code__
FUNCTIONS = {name: getattr(ops, name) for name in ops.__all__}
TAKES_ARRAYS = [
    name
    for name, function in FUNCTIONS.items()
    if not inspect.isclass(function)
    and any("Array" in str(p.annotation) for p in inspect.signature(function).parameters.values())
]
INTEGERS = jnp.arange(4, dtype=jnp.int32)


@pytest.mark.parametrize("name", TAKES_ARRAYS)
def test_its_arguments_are_checked(name):
    layers = [FUNCTIONS[name]]
    while hasattr(layers[-1], "__wrapped__"):
        layers.append(layers[-1].__wrapped__)
    assert any(getattr(layer, "__code__", None) is CHECKED for layer in layers)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.iou(INTEGERS, INTEGERS), r"iou: a must be floats .*, got int32\[4\]"),
        (lambda: ops.iou(np.uint8([0, 0, 9, 9]), np.ones(4)), r"a must be floats .*, got uint8"),
        (lambda: ops.sinusoidal_embedding(INTEGERS, dim=4), "t must be floats"),
        (
            lambda: ops.batch_norm(jnp.ones((2, 1)), *[jnp.ones(3)] * 4),
            r"mean must be floats of shape \(c\) beside x float32\[2,1\], got float32\[3\]",
        ),
        (
            lambda: ops.apply_latent_map(
                LatentMap(jnp.ones((4, 1), int), jnp.ones(1)), jnp.ones(4)
            ),
            "map must hold floats, got int32 and float32",
        ),
        (
            lambda: ops.backprop(
                [{"kernel": jnp.ones((4, 1), int), "bias": jnp.ones(1)}],
                jnp.ones((2, 4)),
                jnp.ones((2, 1)),
            ),
            r"params\[0\] must hold floats, got int32 and float32",
        ),
    ],
)
def test_what_would_promote_or_broadcast_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_there_are_functions_with_arrays():
    assert {"iou", "conv2d", "nms", "kmeans_anchors", "per_sample_normal"} <= set(TAKES_ARRAYS)
    assert not {"count_conv", "linear_schedule"} & set(TAKES_ARRAYS)
