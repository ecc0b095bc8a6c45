import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import train
from lectures_jax.train.learner import _norm
from lectures_jax.train.session import Session
from tests.lowering import lower_for_accelerators
from tests.train.nets import Affine, Net, assert_same, points, squared


def make(model, optimizer, *, objective=squared, ema_decay=None, **options):
    structure, state = train.init(jax.random.key(1), model, optimizer, ema=ema_decay is not None)
    return state, train.make_step(structure, objective, optimizer, ema_decay=ema_decay, **options)


def test_steps_equal_a_loop_written_by_hand():
    model, optimizer = Affine(rngs=nnx.Rngs(0)), optax.adam(0.1)
    params = {"kernel": model.linear.kernel[...], "bias": model.linear.bias[...]}
    expected = optimizer.init(params)

    def loss_of(params, batch):
        error = (batch["x"] @ params["kernel"])[:, 0] + params["bias"][0] - batch["y"]
        return jnp.mean(error**2)

    state, step = make(model, optimizer)
    for batch in points(5):
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        updates, expected = optimizer.update(grads, expected)
        params = optax.apply_updates(params, updates)
        state, metrics = step(state, batch)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(grads), rtol=1e-5)
    assert int(state.step) == 5
    for name, value in params.items():
        np.testing.assert_allclose(state.params["linear"][name], value, rtol=1e-5)


def test_the_norm_is_over_small_and_large_arrays_together():
    tree = {"small": [jnp.array([3.0]), jnp.full((2, 2), 2.0)], "large": jnp.full((100, 50), 0.1)}
    np.testing.assert_allclose(_norm(tree), (9 + 16 + 50) ** 0.5, rtol=1e-6)
    np.testing.assert_allclose(_norm({"large": tree["large"]}), 50**0.5, rtol=1e-6)
    assert _norm({}) == 0


def test_batch_norm_averages_move_as_its_definition_says():
    class Norm(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(3, momentum=0.9, rngs=nnx.Rngs(0))

        def __call__(self, x, *, key=None):
            return self.norm(x)

    state, step = make(Norm(), optax.sgd(0.1))
    (batch,) = points(1)
    state, _ = step(state, batch)
    mean, var = batch["x"].mean(axis=0), batch["x"].var(axis=0)
    np.testing.assert_allclose(state.buffers["norm"]["mean"], 0.1 * mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(state.buffers["norm"]["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_the_state_is_donated_and_the_model_is_not():
    model, key = Net(rngs=nnx.Rngs(0)), jax.random.key(0)
    structure, state = train.init(key, model, optax.sgd(0.1), ema=True)
    step = train.make_step(structure, squared, optax.sgd(0.1), ema_decay=0.9)
    batch = next(points(1))
    step(state, batch)
    assert all(x.is_deleted() for x in jax.tree.leaves((state.params, state.buffers, state.ema)))
    assert not any(x.is_deleted() for x in jax.tree.leaves((nnx.state(model), key)))


@pytest.mark.parametrize("optimizer", [
    optax.adamw(1e-3),
    optax.inject_hyperparams(optax.adam)(optax.cosine_decay_schedule(1e-2, 10)),
    optax.MultiSteps(optax.sgd(0.1, momentum=0.9), 2).gradient_transformation(),
])  # fmt: skip
def test_a_run_is_traced_once(optimizer):
    traces = []

    def objective(model, batch, key):
        traces.append(1)
        return squared(model, batch, key)

    state, step = make(Net(rngs=nnx.Rngs(0)), optimizer, objective=objective, ema_decay=0.9)
    for batch in points(4):
        state, _ = step(state, batch)
    assert len(traces) == 1


def test_the_average_follows_its_formula_with_a_warm_up():
    state, step = make(Net(rngs=nnx.Rngs(0)), optax.sgd(0.1), ema_decay=0.3)
    average = jax.tree.map(np.asarray, state.params), jax.tree.map(np.asarray, state.buffers)
    for n, batch in enumerate(points(6)):
        state, _ = step(state, batch)
        decay = min(0.3, (1 + n) / (10 + n))  # 1/10, 2/11, 3/12, then 0.3
        average = jax.tree.map(
            lambda old, new, d=decay: d * old + (1 - d) * new,
            average,
            (state.params, state.buffers),
        )
    result = state.ema["params"], state.ema["buffers"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), result, average
    )


def test_buffers_that_are_not_floats_are_not_averaged():
    class Counting(Affine):
        def __init__(self):
            super().__init__(rngs=nnx.Rngs(0))
            self.calls = nnx.BatchStat(jnp.zeros((), jnp.int32))

        def __call__(self, x, *, key=None):
            self.calls[...] += 1
            return super().__call__(x)

    state, step = make(Counting(), optax.sgd(0.1), ema_decay=0.9)
    for batch in points(3):
        state, _ = step(state, batch)
    assert int(state.ema["buffers"]["calls"]) == 3


LOW, HIGH = slice(4), slice(4, None)


def test_two_halves_accumulated_equal_the_whole_batch():
    batches = list(points(2))
    halves = [{name: x[part] for name, x in b.items()} for b in batches for part in (LOW, HIGH)]
    whole, step = make(Affine(rngs=nnx.Rngs(0)), optax.adam(0.1), ema_decay=0.5)
    for batch in batches:
        whole, _ = step(whole, batch)
    optimizer = optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation()
    state, step = make(Affine(rngs=nnx.Rngs(0)), optimizer, ema_decay=0.5)
    for half in halves:
        state, _ = step(state, half)
    for got, expected in [(state.params, whole.params), (state.ema, whole.ema)]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), got, expected)


def test_every_step_and_every_use_draws_other_numbers():
    def augment(key, batch):
        return {**batch, "drawn": jax.random.uniform(key)}

    def objective(model, batch, key):
        loss, _ = squared(model, batch, key)
        return loss, {"augment": batch["drawn"], "objective": jax.random.uniform(key)}

    state, step = make(
        Affine(rngs=nnx.Rngs(0)), optax.sgd(0.1), objective=objective, augment=augment
    )
    drawn = []
    for batch in points(3):
        state, metrics = step(state, batch)
        drawn += [float(metrics["augment"]), float(metrics["objective"])]
    assert len(set(drawn)) == 6


def test_the_learning_rate_is_reported_where_the_optimizer_keeps_it():
    schedule = optax.linear_schedule(1.0, 0.0, 4)
    state, step = make(Affine(rngs=nnx.Rngs(0)), optax.inject_hyperparams(optax.sgd)(schedule))
    for batch, expected in zip(points(3), [1.0, 0.75, 0.5], strict=True):
        state, metrics = step(state, batch)
        assert float(metrics["learning_rate"]) == expected


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30])  # the variance of 1e30 is infinite
def test_a_step_that_is_not_finite_freezes_the_state(poison):
    good, bad, *later = points(4)
    later[1]["y"] += np.nan
    bad["x"][1, 2] = poison
    state, step = make(Net(rngs=nnx.Rngs(0)), optax.adam(0.1), ema_decay=0.9)
    state, _ = step(state, good)
    before = jax.tree.map(jnp.copy, state)
    for batch in (bad, *later):
        state, _ = step(state, batch)
    assert bool(state.failed)
    assert int(state.step) == 1
    for name in ("params", "buffers", "optimizer_state", "ema"):
        assert_same(getattr(before, name), getattr(state, name))
    assert before.key == state.key


def test_an_update_that_is_not_finite_is_refused_even_if_the_gradient_is():
    state, step = make(Affine(rngs=nnx.Rngs(0)), optax.sgd(1e38))
    before = jax.tree.map(np.asarray, state.params)
    batch = next(points(1))
    state, metrics = step(state, {**batch, "y": batch["y"] + 1e3})
    assert np.isfinite(metrics["grad_norm"])
    assert bool(state.failed)
    assert_same(before, state.params)


def test_averages_need_both_a_decay_and_a_place():
    structure, state = train.init(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), optax.sgd(0.1))
    step = train.make_step(structure, squared, optax.sgd(0.1), ema_decay=0.9)
    with pytest.raises(ValueError, match="ema_decay must be set exactly where init had ema=True"):
        step(state, next(points(1)))


def test_the_model_is_rebuilt_with_its_averages_and_for_evaluation():
    state, step = make(model := Net(rngs=nnx.Rngs(0)), optax.sgd(0.1), ema_decay=0.9)
    structure = nnx.graphdef(model)
    for batch in points(2):
        state, _ = step(state, batch)
    rebuilt = train.rebuild(structure, state)
    assert_same(nnx.to_pure_dict(nnx.state(rebuilt, nnx.Param)), state.ema["params"])
    x = batch["x"]
    assert_same(rebuilt(x), rebuilt(x))
    assert_same(nnx.to_pure_dict(nnx.state(rebuilt, nnx.BatchStat)), state.ema["buffers"])
    state, _ = step(state, batch)  # the rebuilt model holds copies
    assert np.isfinite(rebuilt(x)).all()


@pytest.mark.parametrize("alone", [False, True])
def test_a_step_for_a_cpu_alone_cannot_be_lowered_for_accelerators(monkeypatch, alone):
    def objective(model, batch, key):
        loss, metrics = squared(model, batch, key)
        return (jax.lax.platform_dependent(loss, cpu=jnp.abs) if alone else loss), metrics

    advance, refused = Session.advance, []

    def advance_and_lower(session, batch):
        advance(session, batch)
        try:
            lower_for_accelerators(session, batch)
        except Exception as error:
            refused.append(str(error))

    monkeypatch.setattr(Session, "advance", advance_and_lower)
    model = Affine(rngs=nnx.Rngs(0))
    train.fit(jax.random.key(0), model, objective, optax.sgd(0.1), points(1))
    assert len(refused) == alone
