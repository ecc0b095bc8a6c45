"""A module's dtype is what it computes in; parameters, statistics and losses stay float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import data, objectives, train, weights
from lectures_jax.models.cnn import Cnn
from lectures_jax.nn.convolution import ConvTranspose
from lectures_jax.nn.diffusion import GroupNorm
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.nn.precision import compute_in, promote
from tests.weights.test_saved import IDS, MODELS

DENSITIES = {"flow"}


@pytest.mark.parametrize(("kind", "settings", "function", "shape"), MODELS, ids=IDS)
def test_every_network_computes_in_half_precision_with_its_parameters_in_float32(
    kind, settings, function, shape
):
    model = nnx.eval_shape(lambda: weights.build_model(kind, settings, rngs=nnx.Rngs(0)))
    half = compute_in(train.state.evaluation_view(model), jnp.bfloat16)
    structure, state = nnx.split(half)

    def run(state, x):
        return function(nnx.merge(structure, state), x)

    out = jax.eval_shape(run, state, jnp.ones((2, *shape)))
    expected = jnp.float32 if kind in DENSITIES else jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype(expected)}
    params = jax.tree.leaves(nnx.state(half, nnx.Param))
    assert {leaf.dtype for leaf in params} == {jnp.dtype(jnp.float32)}


LAYERS = {
    "BatchNorm": (lambda dtype: BatchNorm(3, dtype=dtype, rngs=nnx.Rngs(0))),
    "GroupNorm": (lambda dtype: GroupNorm(3, groups=1, dtype=dtype, rngs=nnx.Rngs(0))),
    "ConvTranspose": (lambda dtype: ConvTranspose(3, 3, 3, dtype=dtype, rngs=nnx.Rngs(0))),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_of_our_own_has_flax_s_dtype(layer):
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    exact = LAYERS[layer](None)(x)
    half = LAYERS[layer](jnp.bfloat16)(x)
    assert exact.dtype == jnp.float32
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), exact, atol=0.05)


def test_without_a_dtype_mixed_arrays_are_promoted_as_flax_does():
    x = jnp.ones((2, 4, 4, 3), jnp.bfloat16)
    ours = ConvTranspose(3, 3, 3, rngs=nnx.Rngs(0))(x)
    theirs = nnx.ConvTranspose(3, 3, (3, 3), rngs=nnx.Rngs(0))(x)
    assert ours.dtype == theirs.dtype == jnp.float32
    assert promote(None, x, None)[1] is None


def test_batch_statistics_of_half_precision_are_float32():
    norm = BatchNorm(1, momentum=0.0, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = 30 + jax.random.normal(jax.random.key(0), (64, 8, 8, 1))
    norm(x.astype(jnp.bfloat16))
    assert norm.mean[...].dtype == jnp.float32
    np.testing.assert_allclose(norm.mean[...], x.mean(), rtol=2e-3)
    np.testing.assert_allclose(norm.var[...], x.var(), rtol=0.05)


def test_the_arrays_are_shared_and_the_model_is_left_as_it_is():
    model = Cnn(2, channels=((4,),), inputs=1, rngs=nnx.Rngs(0))
    half = compute_in(model, jnp.bfloat16)
    assert model.classify.dtype is None
    assert half.classify.kernel[...] is model.classify.kernel[...]
    assert compute_in(half, None).classify.dtype is None
    with pytest.raises(ValueError, match="dtype must be one of floats, such as bfloat16, got int"):
        compute_in(model, "int32")


def test_training_in_bfloat16_reaches_the_score_of_float32():
    splits = data.read_classified("digits")
    accuracy = {}
    for name, dtype in {"float32": None, "bfloat16": jnp.bfloat16}.items():
        model = Cnn(10, channels=((16,), (32,)), inputs=1, rngs=nnx.Rngs(0))
        model, history = train.fit(
            jax.random.key(0),
            compute_in(model, dtype),
            objectives.classification,
            optax.adam(optax.cosine_decay_schedule(1e-2, 200)),
            data.batches(splits.train, batch_size=64, seed=0),
            steps=200,
        )
        assert {x.dtype for x in jax.tree.leaves(nnx.state(model))} == {jnp.dtype(jnp.float32)}
        assert np.isfinite(history[-1]["loss"])
        predicted = train.predict(model, splits.test["image"])
        accuracy[name] = np.mean(predicted.argmax(1) == splits.test["labels"])
    assert accuracy["float32"] > 0.95
    assert abs(accuracy["float32"] - accuracy["bfloat16"]) < 0.02
