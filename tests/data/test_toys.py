import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data


def test_exclusive_or_is_one_where_exactly_one_input_is():
    batch = data.xor()
    np.testing.assert_array_equal(batch["y"], batch["x"].sum(axis=1) == 1)
    assert len(np.unique(batch["x"], axis=0)) == 4


def test_repeat_gives_the_same_batch_each_step():
    batch = data.xor()
    assert [b is batch for b in data.repeat(batch, 3)] == [True] * 3


def test_two_moons_lie_on_their_half_circles():
    batch = data.two_moons(jax.random.key(0), count=500, noise=0.0)
    x, labels = np.asarray(batch["x"]), np.asarray(batch["labels"])
    center = np.where(labels[:, None] == 1, [[1.0, 0.5]], [[0.0, 0.0]])
    np.testing.assert_allclose(np.linalg.norm(x - center, axis=1), 1, rtol=1e-5)
    up = np.where(labels == 1, -1, 1) * (x - center)[:, 1]
    assert np.all(up > -1e-6)
    assert 0.4 < labels.mean() < 0.6


def test_two_moons_have_their_density_and_entropy():
    x, y = np.meshgrid(np.linspace(-1.7, 2.7, 177), np.linspace(-1.2, 1.7, 117))
    points = jnp.asarray(np.stack([x, y], axis=-1).reshape(-1, 2), jnp.float32)
    log_prob = np.asarray(jax.jit(data.two_moons_log_prob)(points), np.float64)
    share = np.exp(log_prob) * (4.4 / 176) * (2.9 / 116)
    np.testing.assert_allclose(share.sum(), 1, rtol=1e-4)
    np.testing.assert_allclose(-(share * log_prob).sum(), 1.0076, atol=1e-4)
    sample = data.two_moons(jax.random.key(1), count=20_000)["x"]
    nats = -jax.jit(data.two_moons_log_prob)(sample)
    assert abs(float(nats.mean()) - 1.0076) < 4 * float(nats.std()) / 20_000**0.5


def test_the_board_s_dark_squares_get_all_points():
    x = np.floor(np.asarray(data.checkerboard(jax.random.key(0), count=800)["x"])).astype(int)
    squares, counts = np.unique(x, axis=0, return_counts=True)
    assert np.all(squares.sum(axis=1) % 2 == 0)
    assert len(squares) == 8
    assert counts.min() > 60


def test_the_25_gaussians_lie_two_apart_and_their_labels_name_the_center():
    modes = np.asarray(data.grid_modes())
    assert sorted(map(tuple, modes)) == [(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)]
    drawn = data.gaussian_grid(jax.random.key(0), count=5000, deviation=0.1)
    away = np.asarray(drawn["x"]) - modes[np.asarray(drawn["labels"])]
    np.testing.assert_allclose(away.std(axis=0), 0.1, rtol=0.05)
    assert np.bincount(drawn["labels"], minlength=25).min() > 140
