"""The two usual trainings: of one network, and of two against each other."""

from collections.abc import Callable, Iterable
from typing import Unpack

import optax
from jaxtyping import DTypeLike

from lectures_jax.train.adversarial import Player, adversarial
from lectures_jax.train.descent import descent
from lectures_jax.train.history import Row
from lectures_jax.train.learner import Augment
from lectures_jax.train.run import Model, RunOptions, run
from lectures_jax.typing import Batch, Key, Objective


def fit(
    key: Key,
    model: Model | Callable[[], Model],
    objective: Objective,
    optimizer: optax.GradientTransformation,
    batches: Iterable[Batch],
    *,
    ema_decay: float | None = None,
    accumulate: int = 1,
    augment: Augment | None = None,
    precision: DTypeLike | None = None,
    **options: Unpack[RunOptions],
) -> tuple[Model, list[Row]]:
    """Trains a model on one objective, and returns it with what was measured on the way.

    It is `run` with the learner `descent`. With `out`, the same call again resumes from the newest
    sound checkpoint and ends with the same parameters, bit for bit.

    Args:
        key: source of the run's random numbers.
        model: an `nnx` module, left as it is; or a function that makes one, which a mesh then has
            on no device as a whole (see `use_mesh`).
        objective: `(model, batch, key) -> (scalar to minimize, metrics)`.
        optimizer: an Optax transformation.
        batches: dictionaries of arrays, all of the same shapes (see `run`).
        ema_decay: of moving averages of the parameters, which `evaluate` and the result then use.
        accumulate: batches whose gradients are averaged before the optimizer updates.
        augment: `(key, batch) -> batch` of the whole batch, compiled into the step.
        precision: float dtype that the layers compute in during training, such as `jnp.bfloat16`,
            None for their own (see `descent`).
        options: of `run`: `fixed`, `steps`, `out`, `evaluate`, `evaluate_every`, `best`,
            `save_every`, `log_every`.

    Returns:
        The model, with averaged parameters where they are on, dropout off and batch norm on its
        running averages (see `rebuild`); and the rows, as in `metrics.jsonl`.

    Raises:
        NonFiniteError: if a loss, gradient or update was not finite, at the next row. Nothing was
            updated or saved since.
        Stopped: after a signal and a checkpoint, if there is `out`.
        ValueError: if an argument is of another kind, the batches end before `steps`, or `out`
            holds another model's run or belongs to a process that runs.
        OSError: if `out` cannot be written.
    """
    learner = descent(
        objective,
        optimizer,
        ema_decay=ema_decay,
        accumulate=accumulate,
        augment=augment,
        precision=precision,
    )
    return run(key, model, learner, batches, **options)


def fit_adversarial(
    key: Key,
    model: Model | Callable[[], Model],
    discriminator: Player,
    generator: Player,
    batches: Iterable[Batch],
    *,
    discriminator_steps: int = 1,
    ema_decay: float | None = None,
    augment: Augment | None = None,
    **options: Unpack[RunOptions],
) -> tuple[Model, list[Row]]:
    """Trains a discriminator and a generator in turns, and returns both with the rows.

    It is `run` with the learner `adversarial`.

    Args:
        key: source of the run's random numbers.
        model: an `nnx` module with the attributes `discriminator` and `generator`, left as it is.
        discriminator: its objective and optimizer.
        generator: its objective and optimizer.
        batches: dictionaries of arrays, all of the same shapes; each is cut into
            `discriminator_steps` equal parts, the last of which the generator sees as well. A step
            is one update of the generator.
        discriminator_steps: updates of the discriminator for each of the generator.
        ema_decay: of moving averages of the parameters, which `evaluate` and the result then use.
        augment: `(key, batch) -> batch` of the whole batch, compiled into the step.
        options: of `run`: `fixed`, `steps`, `out`, `evaluate`, `evaluate_every`, `best`,
            `save_every`, `log_every`.

    Returns:
        The model, as `fit` returns it, and the rows: `discriminator_loss`, `generator_loss`, `loss`
        (their sum), the norms of the gradients, the learning rates where the optimizers keep them,
            and what the objectives measure.

    Raises:
        NonFiniteError: if a loss, gradient or update was not finite, at the next row.
        Stopped: after a signal and a checkpoint, if there is `out`.
        ValueError: if the model lacks one of the networks, or the batches end before `steps`.
        OSError: if `out` cannot be written.
    """
    learner = adversarial(
        discriminator,
        generator,
        discriminator_steps=discriminator_steps,
        ema_decay=ema_decay,
        augment=augment,
    )
    return run(key, model, learner, batches, **options)
