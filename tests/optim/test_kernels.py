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


def trained_by(ours, theirs, schedule):
    """The parameters that each optimizer gets to by the same gradients; ours keeps the rate."""
    states, params = [ours.init(PARAMS), theirs.init(PARAMS)], [PARAMS, PARAMS]
    for step in range(4):
        grads = jax.tree.map(lambda p, step=step: jnp.sin(p + step), PARAMS)
        for i, optimizer in enumerate((ours, theirs)):
            updates, states[i] = optimizer.update(grads, states[i], params[i])
            params[i] = optax.apply_updates(params[i], updates)
        rates = optax.tree.get_all_with_path(states[0], "learning_rate")
        np.testing.assert_allclose(rates[0][1], schedule(step), rtol=1e-6)
    return params


def test_the_rows_of_a_training_have_the_rate_and_the_moves_are_optax_s():
    schedule = optax.cosine_decay_schedule(0.2, 5)
    ours = optim.adamw_on_kernels(schedule, weight_decay=0.5)
    mask = {"kernel": True, "bias": False, "scale": False}
    theirs = optax.adamw(schedule, weight_decay=0.5, mask=mask)
    jax.tree.map(np.testing.assert_array_equal, *trained_by(ours, theirs, schedule))


def convolution(seed: int) -> dict:
    return {"kernel": jax.random.normal(jax.random.key(seed), (3, 3, 4, 8))}


def test_muon_moves_a_kernel_as_far_in_every_direction():
    optimizer, gradients = optim.muon_on_kernels(0.1), convolution(1)
    factors = jnp.geomspace(1, 100, 8).reshape(1, 1, 1, 8)
    stretched = gradients["kernel"] * factors
    update, _ = optimizer.update({"kernel": stretched}, optimizer.init(gradients), convolution(0))
    matrix, steepest = (np.asarray(x).reshape(36, 8) for x in (update["kernel"], stretched))
    left, singular, right = np.linalg.svd(steepest, full_matrices=False)
    assert singular[0] > 50 * singular[-1]
    # 36 × 8 with orthonormal columns has an RMS of 1 / 6.
    np.testing.assert_allclose(np.linalg.svd(matrix)[1], 0.1 * 0.2 * 6, rtol=0.4)
    # Downhill: nearly the orthogonal matrix that is nearest to the gradient.
    cosine = -np.sum(matrix * (left @ right)) / (np.linalg.norm(matrix) * np.sqrt(8))
    assert cosine > 0.95


def test_muon_does_not_depend_on_the_size_of_the_gradients():
    optimizer, gradients = optim.muon_on_kernels(0.1), convolution(1)
    large = jax.tree.map(lambda g: 1000 * g, gradients)
    one, other = (
        optimizer.update(g, optimizer.init(gradients), convolution(0))[0]["kernel"]
        for g in (gradients, large)
    )
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_with_muon_other_arrays_move_by_nadam_and_the_state_has_the_rate():
    schedule = optax.cosine_decay_schedule(0.2, 5)
    ours, theirs = trained_by(optim.muon_on_kernels(schedule), optax.nadam(schedule), schedule)
    for name in ("bias", "scale"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6)
    assert not np.allclose(ours["kernel"], theirs["kernel"])
