"""Formulas of the printed course that differ from what holds, each beside what is right."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lectures_jax import losses, ops, optim

RNG = np.random.default_rng(0)


def test_a_matrix_of_outputs_by_inputs_is_not_transposed():
    """`W a` for W with a row per output; our kernel has a column per output, and `a W`."""
    w, a = RNG.normal(size=(3, 5)).astype(np.float32), RNG.normal(size=5).astype(np.float32)
    by_hand = [sum(w[i, j] * a[j] for j in range(5)) for i in range(3)]
    np.testing.assert_allclose(w @ a, by_hand, rtol=1e-5)
    np.testing.assert_allclose(ops.linear(jnp.asarray(a), jnp.asarray(w.T)), by_hand, rtol=1e-5)
    with pytest.raises(ValueError, match="mismatch"):
        w.T @ a


def test_sigmoids_approximate_on_an_interval_and_nowhere_near_the_whole_line():
    """Outside of [0, 1] a sum of sigmoids is constant in the end; x² is not."""
    width = 64
    edges = (np.arange(1, width + 1) / (width + 1)).astype(np.float32)
    values = ((np.arange(width + 1) + 0.5) / (width + 1)).astype(np.float32) ** 2

    def network(x):
        hidden = jax.nn.sigmoid(500 * (x[:, None] - edges[None]))
        return ops.linear(hidden, jnp.diff(values)[:, None], jnp.asarray(values[:1]))[:, 0]

    inside, outside = jnp.linspace(0, 1, 500), jnp.array([10.0, 100.0])
    assert jnp.max(jnp.abs(network(inside) - inside**2)) < 0.02
    np.testing.assert_allclose(network(outside), values[-1], rtol=1e-4)
    assert jnp.all(jnp.abs(network(outside) - outside**2) > 90)


def steps(form: str, rates: list[float]) -> list[float]:
    """Momentum on f(θ) = θ with the rate inside of the velocity, or in front of it."""
    theta, velocity, path = 0.0, 0.0, []
    for rate in rates:
        gradient = 1.0
        if form == "inside":
            velocity = 0.9 * velocity + rate * gradient
            theta -= velocity
        else:
            velocity = 0.9 * velocity + gradient
            theta -= rate * velocity
        path.append(theta)
    return path


def test_with_a_falling_rate_two_forms_of_momentum_differ():
    constant, falling = [0.1] * 5, [0.1 * 0.5**i for i in range(5)]
    np.testing.assert_allclose(steps("inside", constant), steps("front", constant))
    assert abs(steps("inside", falling)[-1] - steps("front", falling)[-1]) > 0.1
    optimizer = optim.momentum(optax.exponential_decay(0.1, 1, 0.5))
    theta, path = jnp.float32(0), []
    state = optimizer.init(theta)
    for _ in falling:
        updates, state = optimizer.update(jnp.float32(1), state, theta)
        theta = theta + updates
        path.append(float(theta))
    np.testing.assert_allclose(path, steps("front", falling), rtol=1e-5)


ANCHORS = jnp.array([[10.0, 10], [20, 20]])


@partial(jax.jit, static_argnames="valid")
def cells(boxes, *, valid):
    """The target of a head of 2×3 cells and two anchors, with the first boxes or none."""
    return ops.yolo_encode(
        boxes,
        jnp.array([0, 1]),
        jnp.full(2, valid),
        ANCHORS,
        image_size=(64, 96),
        strides=(32,),
        num_classes=2,
    )[0]


BOXES = jnp.array([[11.0, 11, 21, 21], [6, 6, 26, 26]])
printed = jax.jit(partial(losses.yolo_v1_style, stride=32))


def test_two_objects_of_one_cell_have_a_class_each():
    """A cell of two anchors holds two classes: the printed sum over cells has room for one."""
    target = cells(BOXES, valid=True)
    assert target.responsible.sum() == target.responsible[0, 0].sum() == 2

    def head(first, second):  # objectness right, sizes the anchors', centers the cell's
        empty = jnp.full((2, 3, 2, 7), -20.0)
        slots = jnp.array([[0.0, 0, 0, 0, 20, *(20 * jnp.array(c))] for c in (first, second)])
        return empty.at[0, 0].set(slots).reshape(2, 3, 14)

    right = printed(head((1, -1), (-1, 1)), target, ANCHORS)
    same = [printed(head(c, c), target, ANCHORS) for c in ((1, -1), (-1, 1))]
    np.testing.assert_allclose(right, 0, atol=1e-6)
    np.testing.assert_allclose(same, [2, 2], rtol=1e-5)  # both logits of one slot are wrong


def test_the_sums_over_cells_and_boxes_have_as_many_terms_as_there_are():
    """An empty image at logit 0 costs λ · ¼ in each of the h · w · a slots, and in no other."""
    loss = printed(jnp.zeros((2, 3, 14)), cells(BOXES, valid=False), ANCHORS)
    np.testing.assert_allclose(loss, 0.5 * 0.25 * (2 * 3 * 2), rtol=1e-6)


def test_an_expectation_over_codes_is_the_likelihood_and_a_sample_of_it_is_near():
    """`p(x) = E_z p(x | z)` is an equality: here z is one of two, so that both sides are sums."""
    x, means, prior = jnp.array([0.3]), jnp.array([[-1.0], [2.0]]), jnp.array([0.25, 0.75])
    likelihood = jnp.exp(ops.gaussian_log_prob(jnp.broadcast_to(x, (2, 1)), means, 0 * means))
    density = [np.exp(-((0.3 - m) ** 2) / 2) / np.sqrt(2 * np.pi) for m in (-1, 2)]
    exact = float(prior @ likelihood)
    np.testing.assert_allclose(exact, 0.25 * density[0] + 0.75 * density[1], rtol=1e-5)
    draws = np.asarray(likelihood)[(RNG.uniform(size=20_000) > 0.25).astype(int)]
    assert abs(draws[:5].mean() - exact) > 1e-4
    assert abs(draws.mean() - exact) < 4 * draws.std() / np.sqrt(len(draws))


def test_sigma_is_a_deviation_and_its_square_the_variance():
    log_var = jnp.full((20_000, 1), 2 * jnp.log(3.0))
    samples = ops.reparameterize(jax.random.key(0), 0 * log_var, log_var)
    np.testing.assert_allclose(jnp.std(samples), 3, rtol=0.02)


def test_the_squared_distance_leads_to_the_mean_of_the_noise_and_the_distance_does_not():
    """Three of four times the noise is 0, else 4: the mean is 1, the median 0."""
    noise = jnp.array([0.0, 0, 0, 4])[:, None]
    guesses = jnp.linspace(-1, 5, 601)
    mean_loss = jax.vmap(lambda guess: losses.noise_prediction(noise, 0 * noise + guess).mean())
    squared = mean_loss(guesses)
    plain = jnp.abs(noise - guesses[None]).mean(axis=0)
    np.testing.assert_allclose(guesses[jnp.argmin(squared)], 1, atol=0.01)
    np.testing.assert_allclose(guesses[jnp.argmin(plain)], 0, atol=0.01)
