from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

from lectures_jax.nn.parameters import copy_arrays, count_parameters


def network(rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Sequential(
        nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
    )


@pytest.mark.parametrize("build", [network, partial(nnx.eval_shape, network)])
def test_kernels_biases_and_scales_count_but_running_averages_do_not(build):
    assert count_parameters(build(nnx.Rngs(0))) == (9 * 3 * 4 + 4) + (4 + 4) + (4 * 2 + 2)


def test_a_shared_layer_counts_once():
    layer = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    assert count_parameters(nnx.Sequential(layer, layer)) == 20


def test_parameters_and_running_averages_are_copied():
    source, target = network(nnx.Rngs(0)), network(nnx.Rngs(1))
    source.layers[1].mean[...] += 3
    copy_arrays(source, target)
    values = (jax.tree.leaves(nnx.state(module)) for module in (source, target))
    for a, b in zip(*values, strict=True):
        np.testing.assert_array_equal(a, b)
    target.layers[2].bias[...] += 1
    assert not source.layers[2].bias[...].any()


def test_a_module_of_other_shapes_is_not_copied():
    narrow, wide = (nnx.Linear(4, n, rngs=nnx.Rngs(0)) for n in (2, 3))
    with pytest.raises(ValueError, match=r"^bias: expected \(3,\), got \(2,\)\.$"):
        copy_arrays(narrow, wide)
