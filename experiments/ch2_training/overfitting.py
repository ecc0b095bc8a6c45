"""Overfitting on handwritten digits, and each remedy. CPU, 90 s; plain 0.91, more data 0.98.

A network of two hidden layers learns 100 digits by heart. Each remedy is tried alone, from three
seeds, and measured on 361 digits that were never seen; 181 others choose where a remedy has to
choose. The last one shows the other fault, a network too small even for the training digits.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, optim, report, runtime, train
from lectures_jax.models.mlp import Mlp
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

TINY = {"rounds": 2, "steps": 1, "width": 8, "remedies": ("none", "soup of four branches")}


@dataclass(frozen=True)
class Remedy:
    """What differs from plain training. Numbers that are 0 are off."""

    examples: int = 0
    width: int = 0
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    decay: float = 0.0
    ema: float = 0.0
    augmented: bool = False
    choose: str = "last"
    """whose weights count: the last, the best on the validation digits, the mean of the second
    half's (SWA), or the mean of four networks that went on from the middle (soup)"""


ALL = 10_000
"""More digits than there are to learn from."""

REMEDIES = {
    "none": Remedy(),
    "more data (all of them)": Remedy(examples=ALL),
    "smaller model (16 units)": Remedy(width=16),
    "early stopping": Remedy(choose="best"),
    "L1 penalty, 3e-4": Remedy(l1=3e-4),
    "L2 penalty, 1e-3": Remedy(l2=1e-3),
    "decoupled decay, 0.5": Remedy(decay=0.5),
    "dropout, one half": Remedy(dropout=0.5),
    "moving average (EMA)": Remedy(ema=0.99),
    "average of rounds (SWA)": Remedy(choose="mean"),
    "soup of four branches": Remedy(choose="soup"),
    "augmentation": Remedy(augmented=True),
    "all but a smaller model": Remedy(
        examples=ALL, dropout=0.3, decay=0.1, ema=0.99, augmented=True
    ),
    "too small (2 units)": Remedy(width=2),
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    examples: int = 100
    """digits to learn from, except where the remedy is more of them"""
    width: int = 128
    """units of the two hidden layers"""
    rounds: int = 20
    """how often the network is measured"""
    steps: int = 30
    """batches between two measurements"""
    batch_size: int = 32
    """digits per step, drawn with replacement"""
    learning_rate: float = 2e-3
    """of Adam, constant"""
    remedies: tuple[str, ...] = tuple(REMEDIES)
    """which are tried"""
    seeds: int = 3
    """networks per remedy, each with its own digits, start and order"""
    seed: int = 0
    """the first of them"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains each remedy from every seed at once, and compares."""
    sets = {name: data.digits(split=name) for name in ("train", "validation", "test")}
    keys = jax.vmap(jax.random.key)(config.seed + jnp.arange(config.seeds))
    found = {name: attempt(keys, REMEDIES[name], sets, config) for name in config.remedies}
    numbers = {name: float(np.mean(f["test"]["accuracy"])) for name, f in found.items()}
    write_report(config, out, found)
    if config == Config():
        by_heart = np.all(found["none"]["train"]["accuracy"] == 1) and numbers["none"] < 0.94
        if not by_heart or numbers["more data (all of them)"] < 0.97:
            raise RuntimeError(f"expected overfitting, and 0.97 with more data, got {numbers}.")
    return numbers


def attempt(keys: jax.Array, remedy: Remedy, sets: dict, config: Config) -> dict[str, Any]:
    """Trains with one remedy; scores of the final weights [seed], and `curves` [round, seed]."""
    width = remedy.width or config.width
    count = min(remedy.examples or config.examples, len(sets["train"]["labels"]))
    choose_own = partial(choose, examples=sets["train"], count=count, replace=False)
    learnt = jax.vmap(choose_own)(keys)
    go = partial(
        learn,
        learnt=learnt,
        strengths=[jnp.float32(x) for x in (remedy.l1, remedy.l2, remedy.decay)],
        ema=remedy.ema,
        dropout=remedy.dropout,
        augmented=remedy.augmented,
        config=config,
    )
    weights = go(keys, jax.vmap(partial(start, width=width))(keys))  # [round, seed, ...]
    curves = {
        name: jax.device_get(measure(weights, learnt if name == "train" else examples))
        for name, examples in sets.items()
    }
    half = config.rounds // 2
    match remedy.choose:
        case "best":
            best = np.argmin(curves["validation"]["loss"], axis=0)
            final = jax.tree.map(lambda w: w[best, np.arange(len(best))], weights)
        case "mean":
            rounds = range(half, config.rounds)
            final = optim.average_params([jax.tree.map(lambda w: w[i], weights) for i in rounds])  # noqa: B023
        case "soup":
            middle = jax.tree.map(lambda w: w[half], weights)
            others = [jax.vmap(jax.random.fold_in, (0, None))(keys, i) for i in range(4)]
            final = optim.average_params(
                [jax.tree.map(lambda w: w[-1], go(other, middle)) for other in others]
            )
        case _:
            final = jax.tree.map(lambda w: w[-1], weights)
    final = jax.tree.map(lambda w: w[None], final)
    scores = {
        name: {k: np.asarray(v)[0] for k, v in measure(final, examples).items()}
        for name, examples in {"train": learnt, "test": sets["test"]}.items()
    }
    return {**scores, "curves": curves}


def start(key: jax.Array, *, width: int) -> Any:
    """First weights."""
    model = Mlp((64, width, width, 10), rngs=nnx.Rngs(key))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


@partial(jax.jit, static_argnames=("ema", "dropout", "augmented", "config"))
def learn(
    keys, weights, learnt, strengths, *, ema: float, dropout: float, augmented: bool, config: Config
):
    """Trains one network per key; gives their weights at the end of each round."""
    l1, l2, decay = strengths
    width = weights["layers"][1]["kernel"].shape[-1]
    optimizer = optax.chain(
        optax.add_decayed_weights(l2, mask=kernels),
        optim.adam(config.learning_rate),
        # After Adam has divided by the gradient's size: the decay of AdamW.
        optax.add_decayed_weights(-config.learning_rate * decay, mask=kernels),
    )
    network = Mlp((64, width, width, 10), dropout=dropout, rngs=nnx.Rngs(0))
    structure, blank = train.init(jax.random.key(0), network, optimizer, ema=True)
    step = train.make_step(
        structure,
        partial(penalized, l1=l1),
        optimizer,
        ema_decay=ema,
        augment=augment if augmented else None,
    )

    def one(key, weights, learnt):
        key_train, key_batch = jax.random.split(key)
        averages = {**blank.ema, "params": weights}
        state = blank._replace(key=key_train, params=weights, ema=averages)

        def advance(state, key):
            batches = jax.random.split(key, config.steps)
            state, _ = jax.lax.scan(
                lambda s, k: step(s, choose(k, examples=learnt, count=config.batch_size)),
                state,
                batches,
            )
            return state, state.ema["params"]

        return jax.lax.scan(advance, state, jax.random.split(key_batch, config.rounds))[1]

    return jax.vmap(one, out_axes=1)(keys, weights, learnt)


@jax.jit
def measure(weights: Any, examples: dict) -> dict[str, jax.Array]:
    """Loss and accuracy [round, seed]; every seed may have examples of its own."""
    width = weights["layers"][1]["kernel"].shape[-1]
    structure, params = nnx.split(Mlp((64, width, width, 10), rngs=nnx.Rngs(0)), nnx.Param)

    def one(weights, examples):
        nnx.replace_by_pure_dict(params, weights)
        model = nnx.merge(structure, params)
        return objectives.classification(model, examples, jax.random.key(0))[1]

    own = 0 if examples["labels"].ndim == 2 else None
    return jax.vmap(jax.vmap(one, in_axes=(0, own)), in_axes=(0, None))(weights, examples)


def penalized(model, batch, key, *, l1: jax.Array):
    """The classifier's loss, and `λ Σ |w|` over the kernels."""
    loss, metrics = objectives.classification(model, batch, key)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    size = sum(jnp.sum(jnp.abs(p)) for p in jax.tree.leaves(params) if p.ndim > 1)
    return loss + l1 * size, metrics


def kernels(params: Any) -> Any:
    """True for weights, False for biases."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def choose(key: jax.Array, *, examples: dict, count: int, replace: bool = True) -> dict:
    """Examples drawn from a set."""
    rows = jax.random.choice(key, len(examples["labels"]), (count,), replace=replace)
    return jax.tree.map(lambda a: jnp.asarray(a)[rows], examples)


def augment(key: jax.Array, batch: dict) -> dict:
    """Moves each digit by less than a pixel, and adds noise."""

    def one(key, image):
        key_shift, key_noise = jax.random.split(key)
        shifts = jax.random.uniform(key_shift, (2,), minval=-0.8, maxval=0.8)
        for axis, d in enumerate(shifts):  # between the image and itself a pixel away
            neighbor = jnp.where(d > 0, jnp.roll(image, 1, axis), jnp.roll(image, -1, axis))
            image = (1 - jnp.abs(d)) * image + jnp.abs(d) * neighbor
        return image + 0.05 * jax.random.normal(key_noise, image.shape)

    keys = jax.random.split(key, len(batch["labels"]))
    return {**batch, "image": jax.vmap(one)(keys, batch["image"])}


def write_report(config: Config, out: Path, found: dict) -> None:
    """Draws the curves of some and the scores of all, and writes the page."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    steps = config.steps * np.arange(1, config.rounds + 1)
    with plot(figures / "curves.svg", rows=2, height=4.2) as axes:
        for i, name in enumerate(list(found)[:2] + list(found)[-1:]):
            for ax, what in zip(axes, ("loss", "accuracy"), strict=True):
                for split, style in (("train", ":"), ("test", "-")):
                    values = np.mean(found[name]["curves"][split][what], axis=1)
                    label = f"{name}, {split}" if ax is axes[0] else None
                    ax.plot(steps, values, style, color=color(i), label=label)
        axes[0].set(ylabel="loss, nats", yscale="log")
        axes[1].set(xlabel="step", ylabel="accuracy", ylim=(0, 1.02))
        axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7)
    draw_scores(figures / "remedies.svg", found)
    rows = []
    for name, f in found.items():
        accuracy, loss = 100 * f["test"]["accuracy"], f["test"]["loss"]
        rows.append(
            (
                name,
                f"{100 * np.mean(f['train']['accuracy']):.1f}",
                f"{np.mean(accuracy):.1f} ± {np.std(accuracy, ddof=1):.1f}",
                f"{np.mean(loss):.3f} ± {np.std(loss, ddof=1):.3f}",
            )
        )
    report.page(
        out / "report.html",
        title="Overfitting and its remedies",
        summary=f"{config.examples} digits are learnt by heart; what helps with all the others? "
        f"Means and standard deviations of {config.seeds} seeds, on test digits.",
        numbers={name: float(np.mean(found[name]["test"]["accuracy"])) for name in list(found)[:2]},
        sections=[
            Section(
                "Remedies",
                "Only more data moves the accuracy by more than the spread of the seeds. Penalties "
                "and early stopping lower the loss, which also counts how sure a wrong answer is. "
                "A smaller network is worse: this one does not suffer from its size.",
                figures=[
                    Figure(figures / "remedies.svg", "Test accuracy: dots are seeds."),
                    Figure(figures / "curves.svg", "Dotted: training digits. Means of the seeds."),
                ],
                table=Table(
                    ("remedy", "training accuracy, %", "test accuracy, %", "test loss, nats"), rows
                ),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def draw_scores(path: Path, found: dict) -> None:
    names = [name for name in found if not name.startswith("too small")]
    with plot(path, height=4.2) as (ax,):
        for i, name in enumerate(reversed(names)):
            accuracy = found[name]["test"]["accuracy"]
            spread = np.std(accuracy, ddof=1)
            ax.errorbar(np.mean(accuracy), i, xerr=spread, fmt="|", color=INK, ms=10, capsize=3)
            ax.plot(accuracy, [i] * len(accuracy), "o", ms=3.5, color=color(0))
        plain = np.mean(found[names[0]]["test"]["accuracy"])
        ax.axvline(plain, color=INK, lw=0.8, ls=":")
        ax.set_yticks(range(len(names)), list(reversed(names)))
        ax.set(xlabel="test accuracy")
