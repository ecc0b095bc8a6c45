"""Samplers: diffusers' steps, and Gaussian data, for which the best denoiser is known."""

import itertools
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops._precision import in_float32
from lectures_jax.testing import count_traces
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "diffusion.npz")
RNG = np.random.default_rng(0)
X, NOISE, FRESH = (RNG.normal(size=(2, 3)).astype(np.float32) for _ in range(3))
SCHEDULE = np.float32([0.99, 0.7, 0.4, 0.1, 0.02])
KEY = jax.random.key(0)
MEAN, DEVIATION = 0.5, 0.6
HALF = np.float32(0.5)


def gaussian(x, alpha_bar):
    """The noise that is expected in x if the images are N(MEAN, DEVIATION²)."""
    variance = alpha_bar * DEVIATION**2 + 1 - alpha_bar
    return jnp.sqrt(1 - alpha_bar) * (x - jnp.sqrt(alpha_bar) * MEAN) / variance


def gaussian_parts(x, alpha_bar):
    noise = gaussian(x, alpha_bar)
    gain = DEVIATION**2 * jnp.sqrt(alpha_bar) / (alpha_bar * DEVIATION**2 + 1 - alpha_bar)
    return ops.Denoised(MEAN + gain * (x - jnp.sqrt(alpha_bar) * MEAN), noise)


exact_network = in_float32(gaussian)  # the contract is of the samplers, not of their network

CONTRACT = {
    "per_sample_normal": Contract(
        [(KEY,)], op=lambda key: ops.per_sample_normal(key, (2, 3)), differentiable=False
    ),
    "sampling_schedule": Contract([(SCHEDULE,)], op=partial(ops.sampling_schedule, steps=2)),
    "ddim_step": Contract([(X, NOISE, HALF, np.float32(0.7))], edges=[(X, NOISE, 0 * HALF, HALF)]),
    "ddim_step with fresh noise": Contract(
        [(X, NOISE, HALF, np.float32(0.7), FRESH)],
        edges=[(X, NOISE, 0 * HALF, HALF, FRESH)],
        op=lambda x_t, noise, alpha_bar, alpha_bar_next, fresh_noise: ops.ddim_step(
            x_t,
            noise,
            alpha_bar,
            alpha_bar_next,
            eta=0.5,
            fresh_noise=fresh_noise,
            clip=2.0,
            recompute_noise=True,
        ),
    ),
    "sample_diffusion": Contract(
        [(KEY, SCHEDULE)],
        op=lambda key, alpha_bar: ops.sample_diffusion(
            key, gaussian, (2, 3), alpha_bar, steps=4, eta=0.5
        ),
    ),
    "sample_heun": Contract(
        [(KEY, SCHEDULE)],
        op=lambda key, alpha_bar: ops.sample_heun(key, gaussian, (2, 3), alpha_bar, steps=4),
    ),
    "sample_dpm": Contract(
        [(KEY, SCHEDULE)],
        op=lambda key, alpha_bar: ops.sample_dpm(key, gaussian, (2, 3), alpha_bar, steps=4),
    ),
    "solve_ddim": Contract(
        [(X, SCHEDULE[::-1])], op=lambda x, schedule: ops.solve_ddim(exact_network, x, schedule)
    ),
    "solve_heun": Contract(
        [(X, SCHEDULE[::-1])], op=lambda x, schedule: ops.solve_heun(exact_network, x, schedule)
    ),
    "solve_dpm": Contract(
        [(X, SCHEDULE[:0:-1])], op=lambda x, schedule: ops.solve_dpm(exact_network, x, schedule)
    ),
    "invert_diffusion": Contract(
        [(X, SCHEDULE)],
        op=lambda x0, alpha_bar: ops.invert_diffusion(exact_network, x0, alpha_bar, steps=3),
    ),
}


KINDS = {
    "epsilon": lambda x, output, ratio: ops.Denoised(ops.predict_x0(x, output, ratio), output),
    "sample": lambda x, output, ratio: ops.Denoised(output, ops.noise_from_x0(x, output, ratio)),
    "v_prediction": ops.denoised_from_velocity,
}


@pytest.mark.parametrize(
    ("kind", "clip", "recompute_noise", "eta"),
    [*itertools.product(KINDS, (0, 1), (0, 1), (0.0, 0.3, 1.0))],
)
def test_steps_equal_diffusers(kind, clip, recompute_noise, eta):
    x, output, fresh = (jnp.asarray(GOLDEN[name]) for name in ("x_t", "output", "fresh"))
    linear = jnp.asarray(GOLDEN["linear"])
    for t in (999, 499, 49):
        ratio, ratio_next = linear[t], (linear[t - 50] if t > 50 else jnp.float32(1))
        noise = KINDS[kind](x, output, ratio).noise
        got = ops.ddim_step(
            x,
            noise,
            ratio,
            ratio_next,
            eta=eta,
            fresh_noise=fresh,
            clip=1.0 if clip else None,
            recompute_noise=bool(recompute_noise),
        )
        expected = GOLDEN[f"{kind}/{clip}/{recompute_noise}/{eta}/{t}"]
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got, expected, atol=2e-6 * scale, rtol=0)


def network(x, alpha_bar):
    return jnp.sqrt(1 - alpha_bar) * x + 0.3 * jnp.sin(2 * x)


@pytest.mark.parametrize("name", ["heun", "dpm"])
def test_whole_runs_equal_diffusers(name):
    solve = {"heun": ops.solve_heun, "dpm": ops.solve_dpm}[name]
    schedule = ops.sampling_schedule(jnp.asarray(GOLDEN["linear"]), steps=20)
    got = solve(network, jnp.asarray(GOLDEN["start"]), schedule)
    np.testing.assert_allclose(got, GOLDEN[name], rtol=2e-4, atol=2e-5)


def test_ddpm_is_ddim_with_all_noise_fresh():
    """Ho et al. (2020), eq. 6 and 7: the mean and variance of the posterior."""
    alpha_bar, t = ops.linear_schedule(100), 60
    now, before = alpha_bar[t], alpha_bar[t - 1]
    x, noise, fresh = (jnp.asarray(a) for a in (X, NOISE, FRESH))
    alpha = now / before
    x0 = ops.predict_x0(x, noise, now)
    mean = jnp.sqrt(before) * (1 - alpha) / (1 - now) * x0
    mean += jnp.sqrt(alpha) * (1 - before) / (1 - now) * x
    variance = (1 - before) / (1 - now) * (1 - alpha)
    got = ops.ddim_step(x, noise, now, before, eta=1.0, fresh_noise=fresh)
    np.testing.assert_allclose(got, mean + jnp.sqrt(variance) * fresh, atol=2e-6)


@pytest.mark.parametrize(
    "options", [{}, {"eta": 0.3}, {"eta": 1.0}, {"fresh_noise": True}], ids=str
)
def test_samples_of_gaussian_data_have_the_moments_of_the_recursion(options):
    count, alpha_bar = 40_000, ops.linear_schedule(1000)
    schedule = np.asarray(ops.sampling_schedule(alpha_bar, steps=8), np.float64)
    mean, variance = 0.0, 1.0
    for now, later in itertools.pairwise(schedule):
        at = lambda x, now=now: [np.float64(p) for p in gaussian_parts(jnp.float32(x), now)]
        (x0, noise), (x0_one, noise_one) = at(0.0), at(1.0)
        fresh = options.get("eta", 0.0) ** 2 * (1 - later) / (1 - now) * (1 - now / later)
        fresh = 1 - later if options.get("fresh_noise") else fresh
        kept = np.sqrt(max(1 - later - fresh, 0))
        start = np.sqrt(later) * x0 + kept * noise
        gain = np.sqrt(later) * (x0_one - x0) + kept * (noise_one - noise)
        mean, variance = start + gain * mean, gain**2 * variance + fresh
    x = ops.sample_diffusion(KEY, gaussian, (count, 2), alpha_bar, steps=8, **options)
    tolerance = 4 * np.sqrt(variance / count)
    np.testing.assert_allclose(jnp.mean(x, axis=0), mean, atol=tolerance)
    covariance = np.cov(np.asarray(x), rowvar=False)
    np.testing.assert_allclose(covariance, variance * np.eye(2), atol=6 * variance / count**0.5)


def test_predicted_and_fresh_noise_are_two_samplers():
    """The course's step may be read both ways. The first keeps all that it starts from, and the
    deviation of the data; the second forgets, and of many steps half of the variance is left."""
    alpha_bar = ops.linear_schedule(1000)
    sample = partial(ops.sample_diffusion, KEY, gaussian, (4000, 1), alpha_bar, steps=200)
    predicted, fresh = sample(), sample(fresh_noise=True)
    start = ops.per_sample_normal(jax.random.split(KEY)[0], (4000, 1))
    along = lambda x: np.corrcoef(np.asarray(x)[:, 0], np.asarray(start)[:, 0])[0, 1]
    assert along(predicted) > 0.999
    assert abs(along(fresh)) < 0.1
    np.testing.assert_allclose(np.var(predicted), DEVIATION**2, rtol=0.1)
    np.testing.assert_allclose(np.var(fresh), DEVIATION**2 / 2, rtol=0.1)


def exact_end(x, schedule):
    """Where the probability flow takes x: Gaussian data keep their quantile."""
    spread = lambda a: np.sqrt(a * DEVIATION**2 + 1 - a)
    first, last = schedule[0], schedule[-1]
    return np.sqrt(last) * MEAN + (x - np.sqrt(first) * MEAN) * spread(last) / spread(first)


@pytest.mark.parametrize(
    ("name", "last", "least", "most"),
    [("ddim", 0, 0.9, 1.1), ("heun", 0, 1.8, 2.5), ("heun", 0.2, 1.8, 2.2), ("dpm", 0.2, 1.8, 2.2)],
)
def test_the_order_of_the_error(name, last, least, most):
    """Of DPM++ to a last angle above 0: near ᾱ = 1 steps in log-SNR do not shrink with their
    number, and a logarithm joins the error."""
    solve = {
        "ddim": lambda *args: ops.solve_ddim(*args)[0][-1],
        "heun": ops.solve_heun,
        "dpm": ops.solve_dpm,
    }[name]
    with jax.enable_x64(True):
        x, errors = np.array([1.3]), []
        for steps in (64, 128, 256):
            schedule = np.cos(np.linspace(1.4, last, steps + 1)) ** 2
            got = solve(gaussian_parts, jnp.asarray(x), jnp.asarray(schedule))
            errors.append(abs(float(got[0]) - exact_end(x, schedule)[0]))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((orders > least) & (orders < most)), (orders, errors)


SAMPLERS = {
    "ddim": ops.sample_diffusion,
    "ddpm": partial(ops.sample_diffusion, eta=1.0),
    "fresh": partial(ops.sample_diffusion, fresh_noise=True),
    "heun": ops.sample_heun,
    "dpm": ops.sample_dpm,
}


@pytest.mark.parametrize("sampler", [*SAMPLERS.values()], ids=[*SAMPLERS])
def test_a_sample_does_not_depend_on_its_batch(sampler):
    alpha_bar = ops.linear_schedule(1000)
    sample = partial(sampler, KEY, gaussian, alpha_bar=alpha_bar, steps=4)
    five = sample(shape=(5, 2))
    np.testing.assert_array_equal(sample(shape=(2, 2), first=3), five[3:])
    assert len(np.unique(five)) == 10


@pytest.mark.parametrize("sampler", [*SAMPLERS.values()], ids=[*SAMPLERS])
@pytest.mark.parametrize("predict", [gaussian, gaussian_parts], ids=["noise", "parts"])
def test_zero_terminal_snr_gives_finite_images(sampler, predict):
    alpha_bar = ops.zero_terminal_snr(ops.linear_schedule(1000))
    x = sampler(KEY, predict, (64, 2), alpha_bar, steps=10)
    assert np.all(np.isfinite(x))
    if predict is gaussian_parts:  # the noise alone does not determine the image at the first step
        np.testing.assert_allclose(np.mean(x), MEAN, atol=0.3)


@pytest.mark.parametrize("iterations", [1, 10])
def test_inversion_finds_the_noise_that_leads_back(iterations):
    alpha_bar, steps = ops.linear_schedule(1000), 20
    x0 = jnp.asarray(X)
    noise = ops.invert_diffusion(gaussian_parts, x0, alpha_bar, steps=steps, iterations=iterations)
    schedule = ops.sampling_schedule(alpha_bar, steps=steps)
    images, x0_estimates = ops.solve_ddim(gaussian_parts, noise, schedule)
    assert images.shape == (21, 2, 3)
    assert x0_estimates.shape == (20, 2, 3)
    error = float(jnp.max(jnp.abs(images[-1] - x0)))
    assert error < (0.5 if iterations == 1 else 1e-4)


def test_a_schedule_begins_at_the_last_step_and_ends_without_noise():
    alpha_bar = jnp.arange(10, 0, -1, dtype=jnp.float32) / 20
    np.testing.assert_allclose(ops.sampling_schedule(alpha_bar, steps=2), [1 / 20, 6 / 20, 1])
    np.testing.assert_allclose(ops.sampling_schedule(alpha_bar, steps=10)[:-1], alpha_bar[::-1])


def test_clipping_bounds_the_samples():
    alpha_bar = ops.linear_schedule(1000)
    for sampler in (ops.sample_diffusion, ops.sample_heun, ops.sample_dpm):
        x = sampler(KEY, gaussian, (500, 1), alpha_bar, steps=5, clip=0.7)
        assert 0.69 < float(jnp.max(jnp.abs(x))) <= 0.7001


def test_parameters_of_a_partial_do_not_compile_again():
    alpha_bar = ops.linear_schedule(10)
    traces = []

    def scaled(scale, x, a):
        traces.append(1)
        return scale * gaussian(x, a)

    for scale in (0.9, 1.0):
        predict = jax.tree_util.Partial(scaled, jnp.float32(scale))
        ops.sample_diffusion(KEY, predict, (2, 2), alpha_bar, steps=3)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: ops.sampling_schedule(a, steps=6),
            r"steps must be between 1 and len\(alpha_bar\)",
        ),
        (
            lambda a: ops.sample_diffusion(
                KEY, gaussian, (1, 1), a, steps=2, eta=1.0, fresh_noise=True
            ),
            "fresh_noise replaces eta",
        ),
        (lambda a: ops.ddim_step(a, a, a, a, eta=0.5), "fresh_noise must be given"),
        (
            lambda a: ops.invert_diffusion(gaussian, a, a, steps=2, iterations=0),
            "iterations must be at least 1",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.asarray(SCHEDULE))


RISING = jnp.array([0.1, 0.5, 0.9])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: ops.sampling_schedule(a[::-1], steps=2), "alpha_bar must fall, got 0.1 before"),
        (
            lambda a: ops.sample_dpm(jax.random.key(0), lambda x, _: x, (2, 3), a[::-1], steps=2),
            "alpha_bar must fall",
        ),
        (
            lambda a: ops.sample_diffusion(
                jax.random.key(0), lambda x, _: x, (2, 3), a, steps=2, eta=1.5
            ),
            r"eta must be in \[0, 1\], got 1.5",
        ),
        (
            lambda a: ops.ddim_step(a, a, a, a, eta=-0.5, fresh_noise=a),
            r"eta must be in \[0, 1\], got -0.5",
        ),
        (
            lambda a: ops.solve_heun(lambda x, _: x, a, a, clip=0.0),
            "clip must be positive, got 0.0",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(RISING[::-1])


def test_another_eta_or_clip_is_not_compiled_anew():
    predict = lambda x, _: x
    sample = lambda **options: ops.sample_diffusion(
        jax.random.key(0), predict, (2, 3), RISING[::-1], steps=2, **options
    )
    start = jnp.ones((2, 3))
    sample(eta=0.5, clip=1.0)
    ops.solve_dpm(predict, start, RISING, clip=1.0)
    with count_traces() as traces:
        sample(eta=0.25, clip=2.0)
        ops.solve_dpm(predict, start, RISING, clip=2.0)
    assert not traces
