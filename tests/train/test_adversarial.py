"""Two players in turns: the opponent frozen to the last bit, each move by hand, resuming."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import train
from lectures_jax.train.adversarial import _take_turn
from tests.train.nets import arrays, assert_same


class Net(nnx.Module):
    """A dense layer behind batch normalization, which has buffers."""

    def __init__(self, inputs, outputs, *, rngs):
        self.norm = nnx.BatchNorm(inputs, momentum=0.9, rngs=rngs)
        self.linear = nnx.Linear(inputs, outputs, rngs=rngs)

    def __call__(self, x):
        return self.linear(self.norm(x))


class Pair(nnx.Module):
    def __init__(self, *, rngs):
        self.generator = Net(2, 3, rngs=rngs)
        self.discriminator = Net(3, 1, rngs=rngs)


def fake(model, batch, key):
    return model.generator(jax.random.normal(key, (len(batch["x"]), 2)))


def of_discriminator(model, batch, key):
    real, other = model.discriminator(batch["x"]), model.discriminator(fake(model, batch, key))
    loss = jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(other))
    return loss, {"real": jnp.mean(real)}


def of_generator(model, batch, key):
    return jnp.mean(jax.nn.softplus(-model.discriminator(fake(model, batch, key)))), {}


def players(*, discriminator=None, generator=None):
    return (
        train.Player(of_discriminator, discriminator or optax.adam(0.01)),
        train.Player(of_generator, generator or optax.adam(0.02)),
    )


def points(count, *, size=8):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {"x": rng.normal(1, 2, (size, 3)).astype(np.float32)}


def start(pair, **options):
    """A learner, its structure and its first state."""
    learner = train.adversarial(*pair, **options)
    return learner, *learner.init(jax.random.key(1), Pair(rngs=nnx.Rngs(0)))


def one_step(pair, **options):
    learner, structure, state = start(pair, **options)
    before = jax.tree.map(np.asarray, (state.params, state.buffers))
    state, metrics = train.compile_step(structure, learner)(state, next(points(1)))
    return before, jax.tree.map(np.asarray, (state.params, state.buffers)), metrics


@pytest.mark.parametrize(
    ("frozen", "moving"), [("generator", "discriminator"), ("discriminator", "generator")]
)
def test_while_one_moves_nothing_of_the_other_changes(frozen, moving):
    # The frozen one's own move has rate 0, so any change would come from the other's move; its
    # buffers are another matter, they follow its own move alone.
    before, after, _ = one_step(players(**{frozen: optax.sgd(0.0)}))
    assert_same(before[0][frozen], after[0][frozen])
    assert np.any(before[0][moving]["linear"]["kernel"] != after[0][moving]["linear"]["kernel"])


def test_a_move_leaves_the_opponent_s_buffers_to_the_last_bit():
    pair = players()
    _, structure, state = start(pair)
    batch, key = next(points(1)), jax.random.key(5)
    for name, other, player in zip(
        ("discriminator", "generator"), ("generator", "discriminator"), pair, strict=True
    ):
        after, good, _ = _take_turn(
            player.objective, player.optimizer, name, structure, state, batch, key
        )
        assert good
        for part in ("params", "buffers", "optimizer_state"):
            old, new = getattr(state, part), getattr(after, part)
            assert_same(*jax.tree.map(np.asarray, (old[other], new[other])))
        assert np.any(after.buffers[name]["norm"]["mean"] != state.buffers[name]["norm"]["mean"])


def test_steps_equal_moves_written_by_hand():
    pair = players(discriminator=optax.sgd(0.1), generator=optax.sgd(0.2))
    _, structure, state = start(pair)
    params, buffers = state.params, state.buffers
    batch = next(points(1))
    halves = [{"x": batch["x"][:4]}, {"x": batch["x"][4:]}]
    key = jax.random.split(state.key, 3)[2]
    keys = jax.random.split(key, 3)
    moves = [("discriminator", halves[0], 0.1), ("discriminator", halves[1], 0.1)]
    moves.append(("generator", halves[1], 0.2))
    for (name, part, rate), own in zip(moves, keys, strict=True):
        objective = of_generator if name == "generator" else of_discriminator

        def loss(mine, name=name, part=part, own=own, objective=objective):
            model = nnx.merge(structure, {**params, name: mine}, buffers, copy=True)
            value, _ = objective(model, part, own)
            return value, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))[name]

        grads, kept = jax.grad(loss, has_aux=True)(params[name])
        updated = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params[name], grads)
        params, buffers = {**params, name: updated}, {**buffers, name: kept}
    expected = jax.tree.map(np.asarray, (params, buffers))
    _, after, _ = one_step(pair, discriminator_steps=2)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), after, expected)


class Breaking:
    """Batches that break off after some."""

    def __init__(self, batches, until):
        self._batches, self._left = iter(batches), until

    def __iter__(self):
        return self

    def __next__(self):
        if not self._left:
            raise InterruptedError
        self._left -= 1
        return next(self._batches)


def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(tmp_path):
    def fit(batches, **options):
        return train.fit_adversarial(
            *(jax.random.key(2), Pair(rngs=nnx.Rngs(0)), *players(), batches),
            **{"steps": 7, "ema_decay": 0.9, "save_every": 3, "log_every": 2, **options},
        )

    expected, rows = fit(points(7))
    with pytest.raises(InterruptedError):
        fit(Breaking(points(7), 5), out=tmp_path)
    model, resumed = fit(points(7), out=tmp_path)
    assert_same(arrays(model), arrays(expected))
    names = ("step", "discriminator_loss", "generator_loss", "real")
    pick = [[row[name] for name in names] for row in rows]
    assert [[row[name] for name in names] for row in resumed] == pick


def test_the_result_is_the_averaged_generator():
    keep, _ = train.fit_adversarial(
        *(jax.random.key(2), Pair(rngs=nnx.Rngs(0)), *players(), points(30)), ema_decay=0.9
    )
    last, _ = train.fit_adversarial(
        *(jax.random.key(2), Pair(rngs=nnx.Rngs(0)), *players(), points(30))
    )
    first = Pair(rngs=nnx.Rngs(0)).generator.linear.kernel[...]
    way = [float(jnp.abs(m.generator.linear.kernel[...] - first).max()) for m in (keep, last)]
    assert 0 < way[0] < way[1]


def test_a_number_that_is_not_finite_stops_both_and_is_explained():
    batches = [*points(3)]
    batches[1]["x"][0, 0] = np.nan
    with pytest.raises(train.NonFiniteError, match=r"step 2: .*the batch's 'x' is not finite"):
        train.fit_adversarial(
            *(jax.random.key(2), Pair(rngs=nnx.Rngs(0)), *players(), batches), log_every=1
        )


def times(objective, factor):
    """An objective whose loss stops being finite by a factor of its own."""

    def scaled(model, batch, key):
        loss, metrics = objective(model, batch, key)
        return loss * factor, metrics

    return scaled


NAN = np.float32("nan")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            (train.Player(times(of_discriminator, NAN), optax.sgd(0.1)), players()[1]),
            "step 1: discriminator_(loss|grad_norm) is nan; ",
        ),
        (
            (players()[0], train.Player(times(of_generator, NAN), optax.sgd(0.1))),
            "step 1: generator_(loss|grad_norm) is nan; ",
        ),
        (players(discriminator=optax.sgd(NAN)), "step 1: the discriminator's update is not fin"),
        (players(generator=optax.sgd(NAN)), "step 1: the generator's update is not finite; "),
    ],
    ids=["discriminator", "generator", "discriminator's update", "generator's update"],
)
def test_the_player_that_failed_is_named(pair, message):
    with pytest.raises(train.NonFiniteError, match=message):
        train.fit_adversarial(
            *(jax.random.key(2), Pair(rngs=nnx.Rngs(0)), *pair, points(2)), log_every=1
        )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="discriminator_steps must be at least 1, got 0"):
        one_step(players(), discriminator_steps=0)
    with pytest.raises(ValueError, match="discriminator_steps must divide the 8 rows of a batch"):
        one_step(players(), discriminator_steps=3)
    with pytest.raises(ValueError, match="model must have parameters of"):
        train.fit_adversarial(
            *(jax.random.key(2), Net(2, 3, rngs=nnx.Rngs(0)), *players(), points(1))
        )


def test_rows_have_the_learning_rate_of_each_player_that_keeps_it():
    kept = optax.inject_hyperparams(optax.sgd)(optax.linear_schedule(0.4, 0.0, 4))
    pair = players(discriminator=kept)
    _, rows = train.fit_adversarial(
        *(jax.random.key(0), Pair(rngs=nnx.Rngs(0)), *pair, points(3)), log_every=1
    )
    np.testing.assert_allclose(
        [row["discriminator_learning_rate"] for row in rows], [0.4, 0.3, 0.2], rtol=1e-6
    )
    assert "generator_learning_rate" not in rows[-1]
