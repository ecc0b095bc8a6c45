"""Learners: what is fixed, other kinds of training, half precision, and one set of options."""

import inspect
import typing
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import train
from lectures_jax.nn.precision import compute_in
from lectures_jax.train.run import RunOptions
from tests.train.nets import Affine, Net, arrays, assert_same, points, squared


class Teacher(nnx.Module):
    """Random features, 5 MB of them, that no training changes."""

    def __init__(self, *, rngs, width=1_250_000 // 3):
        self.dense = nnx.Linear(3, width, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return jnp.mean(jnp.tanh(self.dense(x)), axis=1)


def distillation(model, batch, key, teacher):
    """Squared distance from the teacher's answers."""
    loss = jnp.mean((model(batch["x"])[:, 0] - teacher(batch["x"])) ** 2)
    return loss, {}


def test_a_fixed_network_is_an_argument_of_the_step_and_no_constant():
    learner = train.descent(distillation, optax.sgd(0.1))
    structure, state = learner.init(jax.random.key(0), Affine(rngs=nnx.Rngs(0)))
    teacher, batch = Teacher(rngs=nnx.Rngs(1)), next(points(1))
    assert sum(x.nbytes for x in jax.tree.leaves(nnx.state(teacher))) > 4_900_000
    lowered = train.compile_step(structure, learner).lower(state, batch, teacher)
    assert len(lowered.as_text()) < 50_000
    assert len(lowered.compile().as_text()) < 200_000


def test_a_second_fixed_network_of_the_same_shapes_does_not_compile_again():
    traces = []

    def counted(*args):
        traces.append(1)
        return distillation(*args)

    learner = train.descent(counted, optax.sgd(0.1))
    structure, state = learner.init(jax.random.key(0), Affine(rngs=nnx.Rngs(0)))
    step = train.compile_step(structure, learner)
    losses = []
    for seed in (1, 2):
        teacher = Teacher(rngs=nnx.Rngs(seed), width=4)
        state, metrics = step(state, next(points(1)), teacher)
        losses.append(float(metrics["loss"]))
    assert len(traces) == 1
    assert losses[0] != losses[1]


def test_what_is_fixed_is_neither_donated_nor_saved_nor_averaged(tmp_path):
    teacher = Teacher(rngs=nnx.Rngs(1), width=400_000)
    before = arrays(teacher)
    fit = partial(train.fit, jax.random.key(0), Affine(rngs=nnx.Rngs(0)), distillation)
    for _ in range(2):  # the second call reads back
        model, rows = fit(
            optax.sgd(0.1), points(4), fixed=teacher, steps=4, out=tmp_path, ema_decay=0.9
        )
    assert_same(arrays(teacher), before)
    assert rows[-1]["step"] == 4
    assert arrays(model).keys() == {"linear"}
    size = sum(f.stat().st_size for f in (tmp_path / "checkpoints").rglob("*") if f.is_file())
    assert size < 500_000


def test_players_get_what_is_fixed_too():
    class Pair(nnx.Module):
        def __init__(self, *, rngs):
            self.generator = nnx.Linear(2, 3, rngs=rngs)
            self.discriminator = nnx.Linear(3, 1, rngs=rngs)

    def objective(model, batch, key, scale):
        fake = model.generator(jax.random.normal(key, (len(batch["x"]), 2)))
        return scale * jnp.mean(model.discriminator(fake)), {}

    player = train.Player(objective, optax.sgd(0.1))
    _, rows = train.fit_adversarial(
        *(jax.random.key(0), Pair(rngs=nnx.Rngs(0)), player, player, points(1)),
        fixed=jnp.float32(0),
    )
    assert rows[-1]["loss"] == 0


def slow_weights(objective, optimizer, *, period, share):
    """Lookahead, a third kind of training: fast weights, and slow ones that follow them.

    Source: Zhang et al. (2019), "Lookahead optimizer", algorithm 1.
    """
    fast = train.descent(objective, optimizer)

    def init(key, model):
        structure, state = fast.init(key, model)
        slow = jax.tree.map(jnp.copy, state.params)
        return structure, state._replace(optimizer_state=(state.optimizer_state, slow))

    def step(structure, state, batch, fixed):
        inner, slow = state.optimizer_state
        new, metrics = fast.step(structure, state._replace(optimizer_state=inner), batch, fixed)
        due = (state.step + 1) % period == 0
        slow = jax.tree.map(lambda s, f: jnp.where(due, s + share * (f - s), s), slow, new.params)
        params = jax.tree.map(lambda s, f: jnp.where(due, s, f), slow, new.params)
        new = new._replace(params=params, optimizer_state=(new.optimizer_state, slow))
        return new, metrics

    return train.Learner(init, step, forward=fast.forward)


def test_a_third_kind_of_training_is_one_function(tmp_path):
    learner = slow_weights(squared, optax.sgd(0.05), period=3, share=0.5)
    model = Affine(rngs=nnx.Rngs(0))
    result, _ = train.run(jax.random.key(0), model, learner, points(3), out=tmp_path, steps=3)
    fast, _ = train.fit(jax.random.key(0), model, squared, optax.sgd(0.05), points(3))
    expected = jax.tree.map(lambda a, b: (a + b) / 2, arrays(model), arrays(fast))
    chex.assert_trees_all_close(arrays(result), expected, rtol=1e-6)
    resumed, rows = train.run(jax.random.key(0), model, learner, points(6), out=tmp_path, steps=6)
    whole, _ = train.run(jax.random.key(0), model, learner, points(6), steps=6)
    assert_same(arrays(resumed), arrays(whole))
    assert [row["step"] for row in rows] == [3, 6]


def test_a_third_kind_that_fails_is_stopped_and_explained_too():
    batches = list(points(3))
    batches[1]["x"][0, 0] = np.nan
    learner = slow_weights(squared, optax.sgd(0.05), period=3, share=0.5)
    with pytest.raises(train.NonFiniteError, match=r"step 2: .*the batch's 'x' is not finite"):
        train.run(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), learner, batches)


@pytest.mark.parametrize("precision", [jnp.bfloat16, jnp.float16])
def test_a_step_in_half_precision_keeps_its_state_in_single(precision):
    dtypes = []

    def objective(model, batch, key):
        dtypes.append((model.layers[0].kernel[...].dtype, model(batch["x"], key=key).dtype))
        return squared(model, batch, key)

    learner = train.descent(objective, optax.adam(0.05), ema_decay=0.9, precision=precision)
    model = Net(rngs=nnx.Rngs(0))
    structure, state = learner.init(jax.random.key(0), model)
    before = jax.tree.map(lambda x: x.dtype, state)
    step = train.compile_step(structure, learner)
    losses = []
    for batch in points(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert set(dtypes) == {(jnp.dtype(jnp.float32), jnp.dtype(precision))}
    assert jax.tree.map(lambda x: x.dtype, state) == before
    assert metrics["loss"].dtype == metrics["grad_norm"].dtype == jnp.float32
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) / 2


def test_half_precision_is_that_of_training_and_not_of_its_result():
    model, _ = train.fit(
        *(jax.random.key(0), Net(rngs=nnx.Rngs(0)), squared, optax.adam(0.05), points(3)),
        precision=jnp.bfloat16,
    )
    assert model.layers[0].dtype is None
    assert model(jnp.ones((2, 3))).dtype == jnp.float32


def test_half_precision_equals_a_model_that_computes_in_it():
    fit = partial(train.fit, jax.random.key(0), objective=squared, optimizer=optax.adam(0.05))
    model = Net(rngs=nnx.Rngs(0))
    by_option, _ = fit(model=model, batches=points(5), precision=jnp.bfloat16)
    by_layers, _ = fit(model=compute_in(model, jnp.bfloat16), batches=points(5))
    exact, _ = fit(model=model, batches=points(5))
    assert_same(arrays(by_option), arrays(by_layers))
    kernels = [model.layers[0].kernel[...] for model in (by_option, exact)]
    assert 0 < jnp.abs(kernels[0] - kernels[1]).max() < 0.05


def test_what_overflows_in_half_precision_only_is_located():
    model = Net(rngs=nnx.Rngs(0))
    model.layers[0].kernel[...] = model.layers[0].kernel[...] * 1e6
    fit = partial(train.fit, jax.random.key(0), model, squared, optax.adam(0.05), points(1))
    with pytest.raises(train.NonFiniteError, match=r"not finite is layers\.0 \(Linear\)\.$"):
        fit(precision=jnp.float16)
    train.fit(jax.random.key(0), model, squared, optax.adam(0.05), points(1))


def test_half_precision_without_a_layer_that_has_a_dtype_is_refused():
    class Plain(nnx.Module):
        def __init__(self):
            self.weight = nnx.Param(jnp.ones((3, 1)))

        def __call__(self, x, *, key=None):
            return x @ self.weight[...]

    with pytest.raises(ValueError, match="model must have layers with a dtype, got Plain"):
        train.fit(
            *(jax.random.key(0), Plain(), squared, optax.adam(0.05), points(1)),
            precision=jnp.bfloat16,
        )


def test_a_fixed_network_is_in_its_evaluation_view():
    def follow(model, batch, key, teacher):
        return jnp.mean((model(batch["x"], key=key) - teacher(batch["x"])) ** 2), {}

    teacher = Net(rngs=nnx.Rngs(1))  # with batch norm and dropout, in training mode
    before = arrays(teacher)
    fixed = {"teacher": teacher, "scale": jnp.ones(2)}

    def nested_teacher(model, batch, key, fixed):
        return follow(model, batch, key, fixed["teacher"])

    model, alone = train.fit(
        *(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), follow, optax.sgd(0.1), points(3)),
        fixed=teacher,
    )
    _, nested = train.fit(
        *(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), nested_teacher, optax.sgd(0.1), points(3)),
        fixed=fixed,
    )
    assert alone[-1]["loss"] == nested[-1]["loss"]
    assert_same(arrays(teacher), before)
    measured = train.evaluate(model, follow, [next(points(1))], fixed=teacher)
    own = train.state.evaluation_view(teacher)(next(points(1))["x"])
    expected = jnp.mean((model(next(points(1))["x"]) - own) ** 2)
    np.testing.assert_allclose(measured["loss"], expected, rtol=1e-6)


def test_the_guard_counts_steps_and_moves_the_key_on():
    fast = train.descent(squared, optax.sgd(0.1))
    structure, state = fast.init(jax.random.key(0), Affine(rngs=nnx.Rngs(0)))
    key = train.split_key(state.key)[0]
    new, _ = fast.step(structure, state, next(points(1)), None)
    assert new.step == 0
    stepped, _ = train.compile_step(structure, fast)(state, next(points(1)))
    assert stepped.step == 1
    assert stepped.key == key


def test_a_learner_without_a_loss_is_refused():
    fast = train.descent(squared, optax.sgd(0.1))

    def step(*args):
        state, metrics = fast.step(*args)
        return state, {"error": metrics["loss"]}

    model = Affine(rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"must measure a 'loss', got \['error'\]"):
        train.run(jax.random.key(0), model, fast._replace(step=step), points(1))


def test_the_options_of_a_training_are_spelled_in_one_place():
    options = set(typing.get_type_hints(RunOptions))
    own = inspect.signature(train.run).parameters.values()
    assert options == {p.name for p in own if p.kind is p.KEYWORD_ONLY}
    with pytest.raises(TypeError, match="every_save"):
        train.fit(
            *(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), squared, optax.sgd(0.1), points(1)),
            every_save=3,
        )
