import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lectures_jax import optim


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0), (5, 2 / 16), (9, 2 * 0.6561), (10, 2), (99, 2)]
)
def test_burn_in_rises_with_the_fourth_power(step, expected):
    np.testing.assert_allclose(optim.burn_in(2.0, steps=10)(step), expected, rtol=1e-6)


def test_burn_in_scales_the_schedule_that_follows():
    after = optax.linear_schedule(1.0, 0.0, 100)
    schedule = optim.burn_in(after, steps=10, power=1.0)
    np.testing.assert_allclose(schedule(5), 0.95 * 0.5, rtol=1e-6)
    np.testing.assert_allclose(schedule(60), 0.4, rtol=1e-6)


# 90 steps: rise to 10, flat to 60, half a cosine to 90
@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0), (5, 2), (10, 4), (60, 4), (75, 2), (70, 3), (80, 1), (90, 0), (1000, 0)],
)
def test_flat_cosine_rises_stays_and_falls(step, expected):
    schedule = optim.flat_cosine(4.0, steps=90, warmup=10)
    np.testing.assert_allclose(schedule(step), expected, atol=1e-6)


def test_flat_cosine_without_its_flat_part_is_optax_warmup_cosine():
    ours = optim.flat_cosine(0.3, steps=50, warmup=10, decay_share=0.8)
    theirs = optax.warmup_cosine_decay_schedule(0.0, 0.3, 10, 50)
    steps = jnp.arange(60)
    np.testing.assert_allclose(jax.vmap(ours)(steps), jax.vmap(theirs)(steps), rtol=1e-5, atol=1e-7)


def test_flat_cosine_may_be_flat_only():
    schedule = optim.flat_cosine(1.0, steps=10, decay_share=0.0)
    np.testing.assert_array_equal([schedule(0), schedule(9)], [1.0, 1.0])


@pytest.mark.parametrize("schedule", [
    optim.burn_in(0.1, steps=4), optim.flat_cosine(0.1, steps=30, warmup=4),
])  # fmt: skip
def test_schedules_run_inside_a_compiled_optimizer(schedule):
    counts = jnp.arange(32)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(schedule))(counts), [schedule(n) for n in range(32)], rtol=1e-5, atol=1e-8
    )
    optimizer = optax.sgd(schedule)
    state = optimizer.init({"w": jnp.ones(2)})
    updates, _ = jax.jit(optimizer.update)({"w": jnp.ones(2)}, state)
    np.testing.assert_array_equal(updates["w"], 0)


@pytest.mark.parametrize("options", [{"warmup": 60}, {"warmup": -1}, {"decay_share": 1.5}])
def test_flat_cosine_refuses_parts_that_do_not_fit(options):
    with pytest.raises(ValueError, match="fit into steps = 50"):
        optim.flat_cosine(1.0, steps=50, **options)


def test_burn_in_needs_a_step():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        optim.burn_in(1.0, steps=0)
