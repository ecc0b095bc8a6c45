import jax
import jax.numpy as jnp
import numpy as np
import optax

from lectures_jax import optim

PARAMS = {"kernel": jnp.full((2, 3), 4.0), "bias": jnp.full(3, 4.0), "scale": jnp.float32(4.0)}


def updates_of(optimizer: optax.GradientTransformation, gradient: float):
    grads = jax.tree.map(lambda p: jnp.full_like(p, gradient), PARAMS)
    return optimizer.update(grads, optimizer.init(PARAMS), PARAMS)[0]


def test_only_arrays_of_two_or_more_axes_decay():
    updates = updates_of(optim.adamw_on_kernels(0.1, weight_decay=0.5), 0.0)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * 4, rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], 0)
    np.testing.assert_array_equal(updates["scale"], 0)


def test_without_decay_it_is_adam():
    ours = updates_of(optim.adamw_on_kernels(0.1, weight_decay=0.0), 2.0)
    jax.tree.map(np.testing.assert_array_equal, ours, updates_of(optax.adam(0.1), 2.0))


def test_the_rate_may_be_a_schedule_that_scales_the_decay_too():
    schedule = optax.linear_schedule(0.2, 0.0, 10)
    updates = updates_of(optim.adamw_on_kernels(schedule, weight_decay=0.5), 0.0)
    np.testing.assert_allclose(updates["kernel"], -0.2 * 0.5 * 4, rtol=1e-6)
