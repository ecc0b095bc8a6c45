"""Adversarial losses: by hand, their optimum on known densities, and the Dirac-GAN's dynamics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses
from tests.contract import Contract

REAL, FAKE = np.array([2.0, -1, 0.3], np.float32), np.array([-0.5, 1.5, 0.2], np.float32)
PAIR, POINTS = [(REAL, FAKE)], np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)


def discriminator(x):
    """A smooth discriminator of [b, 2, 4]."""
    return jnp.sum(jnp.sin(x) * x, axis=(1, 2)) + jnp.prod(x[:, 0], axis=-1)


CONTRACT = {
    "discriminator_minimax": Contract(PAIR, edges=[(100 * REAL, 100 * FAKE)]),
    "generator_minimax": Contract([(FAKE,)], edges=[(100 * FAKE,)]),
    "generator_non_saturating": Contract([(FAKE,)], edges=[(100 * FAKE,)]),
    "discriminator_hinge": Contract(PAIR, edges=[(np.ones_like(REAL), -np.ones_like(FAKE))]),
    "discriminator_wasserstein": Contract(PAIR),
    "generator_wasserstein": Contract([(FAKE,)]),
    "discriminator_relativistic": Contract(PAIR, edges=[(100 * REAL, 100 * FAKE)]),
    "r1_penalty": Contract(
        [(POINTS,)], op=lambda x: losses.r1_penalty(discriminator, x), edges=[(0 * POINTS,)]
    ),
    "gradient_penalty": Contract(
        [(POINTS, POINTS[::-1] + 1)],
        op=lambda a, b: losses.gradient_penalty(jax.random.key(0), discriminator, a, b),
        edges=[(0 * POINTS, 0 * POINTS)],
    ),
}


@pytest.mark.parametrize(
    ("loss", "logits", "expected"),
    [
        (losses.discriminator_minimax, (0, 0), np.log(4)),
        (losses.discriminator_minimax, (np.log(3), np.log(1 / 4)), -np.log(3 / 4) - np.log(4 / 5)),
        (losses.generator_minimax, (np.log(3),), np.log(1 / 4)),
        (losses.generator_non_saturating, (np.log(3),), -np.log(3 / 4)),
        (losses.discriminator_hinge, (0.25, 2), 0.75 + 3),
        (losses.discriminator_hinge, (1.5, -1.5), 0),
        (losses.discriminator_wasserstein, (2, 5), 3),
        (losses.generator_wasserstein, (5,), -5),
        (losses.discriminator_relativistic, (np.log(6), np.log(2)), -np.log(3 / 4)),
    ],
)
def test_values_by_hand(loss, logits, expected):
    result = loss(*(jnp.float32(x) for x in logits))
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


def minimize(loss, size):
    """Newton's method on a separable convex function of `size` numbers, in float64."""
    gradient = jax.grad(lambda x: jnp.sum(loss(x)))
    curvature = jax.grad(lambda x: jnp.sum(gradient(x)))
    x = jnp.zeros(size, jnp.float64)
    for _ in range(20):
        x = x - gradient(x) / curvature(x)
    return x


def test_the_best_discriminator_and_the_value_of_the_game_on_known_densities():
    with jax.enable_x64(True):
        p, q = jnp.asarray([0.5, 0.25, 0.15, 0.1]), jnp.asarray([0.2, 0.3, 0.1, 0.4])
        zero = jnp.zeros(4)

        def expected_loss(logits):  # the loss is additive in its two arguments
            real = losses.discriminator_minimax(logits, zero) - np.log(2)
            fake = losses.discriminator_minimax(zero, logits) - np.log(2)
            return p * real + q * fake

        logits = minimize(expected_loss, 4)
        np.testing.assert_allclose(jax.nn.sigmoid(logits), p / (p + q), rtol=1e-10)
        middle = (p + q) / 2
        jensen_shannon = jnp.sum(p * jnp.log(p / middle) + q * jnp.log(q / middle)) / 2
        value = -jnp.sum(expected_loss(logits))
        np.testing.assert_allclose(value, 2 * jensen_shannon - jnp.log(4), rtol=1e-10)


def test_both_generators_have_one_equilibrium_and_only_one_has_a_gradient_far_from_it():
    gradients = [
        float(jax.grad(loss)(jnp.float32(-10)))
        for loss in (losses.generator_minimax, losses.generator_non_saturating)
    ]
    assert -1e-4 < gradients[0] < 0
    assert gradients[1] < -0.99


def dirac_gan(generator_loss, *, gamma, alternating):
    """2000 points (θ, ψ) on the way from (0.2, 0.2): data at 0, samples at θ, D(x) = σ(ψ x)."""
    rate, real = 0.05, jnp.zeros(1)

    def discriminator(psi, theta):
        loss = losses.discriminator_minimax(psi * real, jnp.full(1, psi * theta))
        return jnp.sum(loss + gamma / 2 * losses.r1_penalty(lambda x: psi * x, real))

    def step(point, _):
        theta, psi = point
        new_psi = psi - rate * jax.grad(discriminator)(psi, theta)
        seen = new_psi if alternating else psi
        theta = theta - rate * jax.grad(lambda theta: generator_loss(seen * theta))(theta)
        return (theta, new_psi), jnp.stack([theta, new_psi])

    start = (jnp.float32(0.2), jnp.float32(0.2))
    return np.asarray(jax.lax.scan(step, start, None, length=2000)[1])


@pytest.mark.parametrize("loss", [losses.generator_minimax, losses.generator_non_saturating])
@pytest.mark.parametrize("alternating", [True, False])
def test_the_dirac_gan_circles_without_a_penalty_and_arrives_with_r1(loss, alternating):
    free = dirac_gan(loss, gamma=0.0, alternating=alternating)
    turns = np.count_nonzero(np.diff(np.sign(free[:, 0]))) / 2
    assert 6 < turns < 9  # the derivatives are ½ there, so a turn takes 4π of the time 100
    assert np.linalg.norm(free[-500:], axis=1).min() > 0.7 * np.hypot(0.2, 0.2)
    damped = dirac_gan(loss, gamma=1.0, alternating=alternating)
    assert np.linalg.norm(damped[-1]) < 1e-6


def test_the_gradient_of_a_linear_discriminator_is_its_weight():
    weight = jnp.array([3.0, 4.0])
    x, y = jnp.ones((2, 2)), jnp.zeros((2, 2))
    np.testing.assert_allclose(losses.r1_penalty(lambda x: x @ weight, x), [25, 25])
    result = losses.gradient_penalty(jax.random.key(0), lambda x: x @ weight, x, y)
    np.testing.assert_allclose(result, [16, 16], rtol=1e-6)


def test_the_penalty_is_measured_between_real_and_fake():
    # ‖∇ ½x²‖ = |x|: between 3 and 5 the penalty lies between (3 − 1)² and (5 − 1)²
    real, fake = jnp.full((200, 1), 3.0), jnp.full((200, 1), 5.0)
    result = losses.gradient_penalty(
        jax.random.key(1), lambda x: jnp.sum(x**2, axis=1) / 2, real, fake
    )
    points = np.sqrt(result) + 1
    assert np.all((points >= 3) & (points <= 5))
    np.testing.assert_allclose(points.mean(), 4, atol=0.15)


def test_a_constant_discriminator_has_a_finite_gradient():
    def loss(weight):
        x = jnp.ones((2, 3))
        return jnp.sum(
            losses.gradient_penalty(jax.random.key(0), lambda x: x @ weight, x, jnp.zeros_like(x))
        )

    value, gradient = jax.value_and_grad(loss)(jnp.zeros(3))
    assert value == 2
    assert np.isfinite(gradient).all()
