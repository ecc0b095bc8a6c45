"""Schedules against diffusers, the parts of a noisy image by hand and as each other's inverse."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "diffusion.npz")
RNG = np.random.default_rng(0)
X, NOISE = (RNG.normal(size=(2, 3, 4)).astype(np.float32) for _ in range(2))
RATIO = np.float32([0.3, 0.8])
SCHEDULE = np.float32([0.99, 0.7, 0.4, 0.1, 0.02])
ENDS = np.float32([0, 1])

CONTRACT = {
    "linear_schedule": "takes no arrays",
    "cosine_schedule": "takes no arrays",
    "zero_terminal_snr": Contract([(SCHEDULE,)], edges=[(0 * SCHEDULE + 0.5,)]),
    "log_snr": Contract([(SCHEDULE,)], edges=[(ENDS,)]),
    "sinusoidal_embedding": Contract(
        [(SCHEDULE,)], edges=[(1000 * SCHEDULE,)], op=partial(ops.sinusoidal_embedding, dim=6)
    ),
    "signal_embedding": Contract(
        [(SCHEDULE,)], edges=[(ENDS,)], op=partial(ops.signal_embedding, dim=6)
    ),
    "add_noise": Contract([(X, NOISE, RATIO)], edges=[(X, NOISE, ENDS)]),
    "predict_x0": Contract([(X, NOISE, RATIO)], edges=[(X, NOISE, ENDS)]),
    "noise_from_x0": Contract([(X, NOISE, RATIO)], edges=[(X, NOISE, ENDS)]),
    "velocity": Contract([(X, NOISE, RATIO)], edges=[(X, NOISE, ENDS)]),
    "denoised_from_velocity": Contract([(X, NOISE, RATIO)], edges=[(X, NOISE, ENDS)]),
    "from_x0_prediction": "makes a function of a function",
    "from_velocity_prediction": "makes a function of a function",
    "classifier_free_guidance": "makes a function of two functions",
}


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("linear", ops.linear_schedule(1000)),
        ("cosine", ops.cosine_schedule(1000)),
        ("zero", ops.zero_terminal_snr(ops.linear_schedule(1000))),
    ],
)
def test_schedules_equal_diffusers(name, schedule):
    np.testing.assert_allclose(schedule, GOLDEN[name], rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("schedule", [ops.linear_schedule, ops.cosine_schedule])
def test_the_signal_ratio_falls_as_time_grows(schedule):
    alpha_bar = np.asarray(schedule(50))
    assert alpha_bar.shape == (50,)
    assert np.all(np.diff(alpha_bar) < 0)
    assert np.all((alpha_bar > 0) & (alpha_bar < 1))


def test_zero_terminal_snr_keeps_the_first_ratio_and_ends_at_nothing():
    alpha_bar = ops.zero_terminal_snr(ops.linear_schedule(10))
    assert alpha_bar[-1] == 0
    np.testing.assert_allclose(alpha_bar[0], ops.linear_schedule(10)[0], rtol=1e-6)


def test_noise_by_hand():
    three, five = jnp.array([3.0]), jnp.array([5.0])
    np.testing.assert_allclose(
        ops.add_noise(three, five, jnp.float32(0.36)), [5.8], rtol=1e-6
    )  # .6·3 + .8·5
    np.testing.assert_allclose(
        ops.velocity(three, five, jnp.float32(0.36)), [0.6], rtol=1e-6
    )  # .6·5 − .8·3
    np.testing.assert_allclose(ops.log_snr(jnp.float32(0.8)), np.log(4), rtol=1e-6)


@pytest.mark.parametrize("ratio", [RATIO, np.float32(0.5), RATIO[:, None, None]])
def test_conversions_are_each_other_s_inverse(ratio):
    x0, noise, ratio = jnp.asarray(X), jnp.asarray(NOISE), jnp.asarray(ratio)
    x_t = ops.add_noise(x0, noise, ratio)
    np.testing.assert_allclose(ops.predict_x0(x_t, noise, ratio), x0, atol=1e-6)
    np.testing.assert_allclose(ops.noise_from_x0(x_t, x0, ratio), noise, atol=1e-6)
    parts = ops.denoised_from_velocity(x_t, ops.velocity(x0, noise, ratio), ratio)
    np.testing.assert_allclose(parts.x0, x0, atol=1e-6)
    np.testing.assert_allclose(parts.noise, noise, atol=1e-6)


def test_each_image_may_have_its_own_ratio():
    together = ops.add_noise(jnp.asarray(X), jnp.asarray(NOISE), jnp.asarray(RATIO))
    for i, ratio in enumerate(RATIO):
        alone = ops.add_noise(jnp.asarray(X[i]), jnp.asarray(NOISE[i]), jnp.asarray(ratio))
        np.testing.assert_array_equal(together[i], alone)


def test_without_signal_the_image_is_unknown_and_finite():
    x0 = ops.predict_x0(jnp.asarray(X), jnp.asarray(NOISE), jnp.float32(0))
    np.testing.assert_array_equal(x0, 0)


def test_the_first_half_of_an_embedding_is_sines():
    angles = np.array([2.0, 2 / 100])
    expected = [*np.sin(angles), *np.cos(angles)]
    got = ops.sinusoidal_embedding(jnp.float32(2), dim=4)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_embedding_of_a_ratio_tells_all_ratios_apart():
    codes = np.asarray(ops.signal_embedding(ops.linear_schedule(1000), dim=32))
    gap = np.linalg.norm(codes[1:] - codes[:-1], axis=1)
    assert gap.min() > 0.005
    nearest = np.linalg.norm(codes[::50, None] - codes[None, ::50], axis=-1) + 9 * np.eye(20)
    assert nearest.min() > 0.1


def test_guidance_goes_past_the_class():
    towards, without = (lambda x, _, c=c: 0 * x + c for c in (3.0, 1.0))
    for scale, expected in [(0.0, 1), (1.0, 3), (2.5, 6)]:
        guided = ops.classifier_free_guidance(towards, without, scale=scale)(
            jnp.zeros(2), jnp.float32(0.5)
        )
        np.testing.assert_allclose(guided, [expected] * 2)


def test_predictors_of_x0_and_velocity_give_both_parts():
    x0, noise, ratio = jnp.asarray(X), jnp.asarray(NOISE), jnp.float32(0.3)
    x_t, v = ops.add_noise(x0, noise, ratio), ops.velocity(x0, noise, ratio)
    for predict in (
        ops.from_x0_prediction(lambda x, _: x0),
        ops.from_velocity_prediction(lambda x, _: v),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
            tuple(predict(x_t, ratio)),
            (x0, noise),
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.linear_schedule(0), "steps must be at least 1, got 0"),
        (lambda: ops.linear_schedule(3, last=1.0), "first and last must be in"),
        (lambda: ops.cosine_schedule(3, offset=-1.0), "offset must be at least 0"),
        (lambda: ops.zero_terminal_snr(jnp.ones(1)), "alpha_bar must have at least 2 steps"),
        (lambda: ops.sinusoidal_embedding(jnp.ones(1), dim=3), "dim must be even"),
        (lambda: ops.add_noise(jnp.ones(2), jnp.ones(2), jnp.ones((2, 1))), "must be one number"),
        (lambda: ops.add_noise(*[jnp.ones((1, 3))] * 2, jnp.ones(3)), "must be one number"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_schedule_that_does_not_fall_gets_a_last_ratio_of_zero():
    got = ops.zero_terminal_snr(jnp.full(4, 0.5))
    np.testing.assert_array_equal(got, [0.5, 0.5, 0.5, 0])


def test_without_a_limit_the_cosine_schedule_ends_at_zero():
    assert float(ops.cosine_schedule(1000, max_beta=1.0)[-1]) == 0
