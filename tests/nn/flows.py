"""Checks that every flow passes, whatever it is made of."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def perturbed(module, *, scale=0.3, dtype=jnp.float32):
    """The module with noise on all its parameters, which often start as the identity."""
    params = nnx.state(module, nnx.Param)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    leaves = [jnp.asarray(x + scale * rng.normal(size=x.shape), dtype) for x in leaves]
    nnx.update(module, jax.tree.unflatten(tree, leaves))
    return module


def check_flow(flow, x, condition=None, *, tolerance=1e-10):
    """The inverse undoes, and the log-determinant is that of the Jacobian, which is not 1."""
    forward = jax.jit(flow.forward)
    z, log_det = forward(x, condition)
    back, log_det_back = jax.jit(flow.inverse)(z, condition)
    np.testing.assert_allclose(back, x, atol=tolerance)
    np.testing.assert_allclose(log_det_back, -log_det, atol=10 * tolerance)

    def one(flat, c):
        c = None if c is None else c[None]
        return flow.forward(flat.reshape(1, *x.shape[1:]), c)[0].ravel()

    flat = x.reshape(len(x), -1)
    jacobians = jax.jit(jax.vmap(jax.jacfwd(one)))(flat, condition)
    sign, expected = np.linalg.slogdet(jacobians)
    assert np.all(sign != 0)
    assert np.all(np.abs(expected) > 1e-3)
    np.testing.assert_allclose(log_det, expected, atol=10 * tolerance)
    return np.asarray(jacobians)
