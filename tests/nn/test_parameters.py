from functools import partial

import pytest
from flax import nnx

from lectures_jax.nn.parameters import count_parameters


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
