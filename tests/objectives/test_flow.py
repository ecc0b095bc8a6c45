"""Maximum likelihood of flows: by hand, and against a model's own density."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import objectives, ops
from lectures_jax.models.flow import coupling_flow
from lectures_jax.models.image_flow import histogram_flow
from tests.nn.flows import perturbed


def test_vectors_cost_minus_their_log_density():
    flow = perturbed(coupling_flow(3, layers=2, hidden=(5,), condition=2, rngs=nnx.Rngs(0)))
    key = jax.random.key(0)
    batch = {"x": jax.random.normal(key, (4, 3)), "condition": jax.random.normal(key, (4, 2))}
    loss, metrics = jax.jit(partial(objectives.flow, flow))(batch, key)
    nats = -jax.jit(flow.log_prob)(batch["x"], batch["condition"]).mean()
    np.testing.assert_allclose(loss, nats, rtol=1e-6)
    np.testing.assert_array_equal(metrics["loss"], loss)


def test_images_cost_bits_and_depend_on_the_label_where_conditional():
    flow = perturbed(histogram_flow((2, 2, 1), levels=5, hidden=(9,), classes=3, rngs=nnx.Rngs(0)))
    key = jax.random.key(0)
    batch = {
        "image": jax.random.randint(key, (6, 2, 2, 1), 0, 5) / 4,
        "labels": jnp.array([0, 1, 2, 0, 1, 2]),
    }
    objective = partial(objectives.flow_bits_per_dim, flow, levels=5, conditional=True)
    loss, _ = jax.jit(objective)(batch, key)
    x = ops.dequantize(jax.random.split(key)[0], batch["image"], levels=5)
    nats = -jax.jit(flow.log_prob)(x, batch["labels"]).mean()
    np.testing.assert_allclose(loss, nats / (4 * np.log(2)) + np.log2(5), rtol=1e-6)
