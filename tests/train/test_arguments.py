"""Wrong arguments are refused in one line that says what to do, before the first step."""

import subprocess
import sys

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import train
from lectures_jax.train.arguments import (
    check_batch,
    check_run,
    check_updates,
    loss_and_metrics,
)
from tests.train.nets import Affine, points, squared


class Tensor:
    """Looks like torch's."""

    __module__ = "torch"
    dtype, shape = "torch.float32", (2,)

    def numpy(self):
        return np.zeros(2)


GOOD = {
    "key": jax.random.key(0),
    "model": Affine(rngs=nnx.Rngs(0)),
    "batches": [],
    "steps": None,
    "evaluate": None,
    "out": None,
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"key": 0}, r"key must be a PRNG key such as jax.random.key\(0\), got the int 0."),
        ({"key": jnp.zeros(3)}, "key must be .*, got an array of float32 and shape"),
        ({"model": flax.linen.Dense(3)}, "that makes one, got a flax.Dense; nnx.bridge.ToN"),
        ({"model": Affine}, "must be an nnx.Module or .* that makes one, got the class Affine."),
        ({"model": lambda x: x}, "a function without arguments that makes one, got a function."),
        ({"model": {"w": 1}}, "model must be an nnx.Module or .*, got a dict."),
        (
            {"batches": {"x": np.zeros(2)}},
            "batches must be an iterable of dictionaries.*got a dict",
        ),
        ({"batches": "digits"}, "batches must be an iterable .* got the str 'digits'."),
        ({"batches": lambda: []}, "batches must be an iterable .* got a function."),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0."),
        ({"steps": -5}, "steps must be a whole number of at least 1, got -5."),
        ({"steps": 1.5}, "steps must be a whole number of at least 1, got 1.5."),
        ({"evaluate": 3}, "evaluate must be a function of the model, got the int 3."),
        ({"out": 3}, "out must be the path of a folder, got the int 3."),
        ({"out": ""}, "out must be the path of a folder, got the str ''."),
    ],
)
def test_an_argument_of_another_kind_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        check_run(**GOOD | wrong)


def test_what_is_meant_passes():
    check_run(**GOOD)
    check_run(**GOOD | {"key": jax.random.PRNGKey(0), "steps": np.int64(3), "out": "runs"})
    check_batch({"x": np.zeros(2), "y": (jnp.ones(2), np.float32(0)), "scale": 3.0})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            (np.zeros(2), np.zeros(2)),
            "each batch must be a dictionary of arrays by name, got a tup",
        ),
        (
            {"x": Tensor()},
            r"hold NumPy .* got a torch.Tensor at \['x'\], which .numpy\(\) converts.",
        ),
        ({"x": "a.png"}, r"must hold NumPy or JAX arrays, got the str 'a.png' at \['x'\]."),
        ({"x": [1.0, 2.0]}, r"got the float 1.0 at \['x'\]\[0\]"),
        ({"x": np.array([None])}, r"got an array of object and shape \(1,\) at \['x'\]"),
    ],
)
def test_a_batch_that_holds_something_else_is_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        check_batch(batch)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (jnp.float32(0), r"as `return loss, \{\}` does, got an array of float32 and shape \(\)"),
        ((jnp.float32(0), 3), "got the int 3 in place of the metrics."),
        ((jnp.zeros(8), {}), r"got a loss of shape \(8,\); take its mean."),
        (None, "objective must return a scalar and a dictionary of metrics.* got a NoneType."),
    ],
)
def test_an_objective_returns_a_scalar_and_metrics(result, message):
    with pytest.raises(ValueError, match=message):
        loss_and_metrics(result)
    with pytest.raises(ValueError, match=message):
        train.fit(
            *(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), lambda m, b, k: result),
            *(optax.sgd(0.1), points(1)),
        )


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0, float("nan"), float("inf")])
def test_averages_need_a_decay_below_one(decay):
    with pytest.raises(ValueError, match=r"ema_decay must be in \[0, 1\), got"):
        train.descent(squared, optax.sgd(0.1), ema_decay=decay)
    player = train.Player(squared, optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"ema_decay must be in \[0, 1\), got"):
        train.adversarial(player, player, ema_decay=decay)


def test_other_options_of_a_learner_that_cannot_be_meant_are_refused():
    for optimizer, shown in ((0.1, "the float 0.1"), (optax.adam, "a function")):
        with pytest.raises(ValueError, match=f"optimizer must be an Optax .*, got {shown}."):
            check_updates(optimizer, ema_decay=None)
    with pytest.raises(ValueError, match="precision must be a float dtype, got int32"):
        check_updates(ema_decay=None, precision=jnp.int32)


def test_a_model_without_parameters_is_refused():
    class Plain(nnx.Module):
        def __init__(self):
            self.scale = nnx.Variable(jnp.ones(()))

        def __call__(self, x, *, key=None):
            return self.scale * x[:, :1]

    with pytest.raises(ValueError, match=r"model must have an nnx\.Param to train, got Plain"):
        train.fit(jax.random.key(0), Plain(), squared, optax.sgd(0.1), points(1))


def test_fit_checks_its_arguments_and_keeps_the_type_of_the_model(root):
    # In a process of its own, without the suite's type checker, which would be the first to object.
    code = """
import flax.linen, jax, optax
from flax import nnx
from lectures_jax import train
from tests.train.nets import Affine, points, squared

model = Affine(rngs=nnx.Rngs(0))
for wrong in (flax.linen.Dense(1), Affine, {"w": 1}, lambda: 3):
    try:
        train.fit(jax.random.key(0), wrong, squared, optax.sgd(0.1), points(1))
    except ValueError as error:
        print(error)
fitted, _ = train.fit(jax.random.key(0), model, squared, optax.sgd(0.1), points(1))
print(type(fitted).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True
    )
    wanted = "model must be an nnx.Module or a function without arguments that makes one"
    assert done.stdout.splitlines() == [
        f"{wanted}, got a flax.Dense; nnx.bridge.ToNNX makes one of it.",
        f"{wanted}, got the class Affine.",
        f"{wanted}, got a dict.",
        "model must make an nnx.Module, got int.",
        "Affine",
    ]
