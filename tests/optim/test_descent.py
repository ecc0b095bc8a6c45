"""The course's optimizers: first steps by hand, and Optax's step by step."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lectures_jax import optim

SCHEDULE = optax.linear_schedule(0.1, 0.01, 20)
PAIRS = {
    "gradient_descent": (optim.gradient_descent(0.01), optax.sgd(0.01)),
    "momentum": (optim.momentum(0.005, decay=0.8), optax.sgd(0.005, momentum=0.8)),
    "nesterov": (optim.nesterov(0.002), optax.sgd(0.002, momentum=0.9, nesterov=True)),
    "adagrad": (optim.adagrad(0.3), optax.adagrad(0.3)),
    "rmsprop": (optim.rmsprop(0.05), optax.rmsprop(0.05)),
    "adam": (optim.adam(0.1, b1=0.8), optax.adam(0.1, b1=0.8)),
    "adamw": (optim.adamw(0.1, weight_decay=0.3), optax.adamw(0.1, weight_decay=0.3)),
    "adamw with a schedule": (optim.adamw(SCHEDULE), optax.adamw(SCHEDULE)),
}
START = {"w": np.array([[1.0, -2.0], [0.5, 3.0]]), "b": np.array([0.1, 0.0])}


def loss(params):
    """A ravine: curvatures 10 and 1, coupled."""
    w, b = params["w"], params["b"]
    return 5 * jnp.sum((w @ b - 1) ** 2) + jnp.sum(w**2) / 2 + jnp.sum(jnp.cosh(b))


@lru_cache
def trajectory(name, whose):
    """Thirty steps in float64: rounding would hide a difference, and oscillation blow it up."""
    optimizer = PAIRS[name][whose]

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    def run(start):
        return jax.lax.scan(step, (start, optimizer.init(start)), length=30)[1]

    with jax.enable_x64(True):
        path = jax.jit(run)(jax.tree.map(jnp.asarray, START))
        return jax.device_get((path, jax.vmap(loss)(path)))


@pytest.mark.parametrize("name", PAIRS)
def test_every_step_equals_optax_s(name):
    ours, theirs = (trajectory(name, whose)[0] for whose in (0, 1))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("optimizer", "first", "second"),
    [  # of the updates, for gradients 2 and 1
        (optim.gradient_descent(0.1), -0.2, -0.1),
        (optim.momentum(0.1, decay=0.5), -0.2, -0.1 * (0.5 * 2 + 1)),
        (optim.nesterov(0.1, decay=0.5), -0.1 * (0.5 * 2 + 2), -0.1 * (0.5 * 2 + 1)),
        (optim.adagrad(0.1, initial=0.0, epsilon=0.0), -0.1, -0.1 / np.sqrt(4 + 1)),
        (
            optim.rmsprop(0.1, decay=0.75, epsilon=0.0),
            -0.1 * 2 / 1,
            -0.1 * 1 / np.sqrt(0.75 + 0.25),
        ),
        # m = 0.5·1 + 0.5·1 = 1 over 1 − 0.25; s = 0.75·1 + 0.25 = 1 over 1 − 0.75² = 0.4375
        (optim.adam(0.1, b1=0.5, b2=0.75), -0.1, -0.1 / 0.75 * np.sqrt(0.4375)),
        (optim.adamw(0.1, b2=0.5, weight_decay=0.5), -0.1 * (1 + 0.5 * 3), None),
    ],
)
def test_two_steps_by_hand(optimizer, first, second):
    params = jnp.array([3.0])
    update, state = optimizer.update(jnp.array([2.0]), optimizer.init(params), params)
    np.testing.assert_allclose(update, [first], rtol=1e-6)
    if second is not None:
        update, _ = optimizer.update(jnp.array([1.0]), state, params)
        np.testing.assert_allclose(update, [second], rtol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_descent_subtracts_the_gradient(name):
    _, losses = trajectory(name, 0)
    assert losses[-1] < losses[0] < loss(START)  # the course's plus sign would climb


def test_mini_batches_arrive_only_if_the_rate_falls_or_the_data_agree():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=64).astype(np.float32)
    orders = np.stack([np.random.default_rng(i).permutation(64) for i in range(300)])

    @partial(jax.jit, static_argnames=("rate", "size"))
    def distance(y, rate, size):
        optimizer = optim.gradient_descent(rate)

        def step(carry, rows):
            w, state = carry
            error = x_[rows] @ w - y[rows]
            updates, state = optimizer.update(error @ x_[rows] / len(rows), state)
            return (w + updates, state), None

        w = jnp.zeros(3)
        (w, _), _ = jax.lax.scan(
            step, (w, optimizer.init(w)), jnp.asarray(orders).reshape(-1, size)
        )
        return jnp.sum((w - jnp.linalg.lstsq(x_, y)[0]) ** 2)

    x_ = jnp.asarray(x)
    agreeing, noisy = jnp.asarray(x.sum(axis=1)), jnp.asarray(x.sum(axis=1) + noise)
    falling = optax.polynomial_schedule(0.1, 0.0, 1, 300 * 64 // 8)
    assert distance(noisy, 0.1, 64) < 1e-8
    assert distance(noisy, 0.1, 8) > 1e-4
    assert distance(noisy, falling, 8) < 1e-5
    assert distance(agreeing, 0.1, 8) < 1e-8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.momentum(0.1, decay=1.0), "decay must be in"),
        (lambda: optim.rmsprop(0.1, decay=-0.1), "decay must be in"),
        (lambda: optim.adam(0.1, b2=1.5), r"b2 must be in \[0, 1\), got 1.5"),
    ],
)
def test_an_average_that_never_ends_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
