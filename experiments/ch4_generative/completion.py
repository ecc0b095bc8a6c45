"""Half a digit completed: a mean, or one that may be. CPU, 1 min; sharpness over real 0.93.

The upper half of a digit is given. A network that is trained on the squared error draws the mean of
all lower halves that may follow; one that is trained against a discriminator, which sees the whole,
draws one of them: it is pushed towards the manifold of the data. The score is the energy of high
frequencies in the completed half, over that of real ones; beside it, the Fréchet distance of the
pixels from those of real images.
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

from lectures_jax import data, losses, metrics, objectives, report, runtime, train
from lectures_jax.models.mlp import Mlp
from lectures_jax.recipes import autoencoder
from lectures_jax.recipes.moves import pixel_distance
from lectures_jax.recipes.optimizers import adam
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.typing import Batch, Key, Metrics

EXPECTED = {
    "adversarial_sharpness": (0.85, None),
    "squared_error_sharpness": (None, 0.75),
    "adversarial_frechet": (None, 0.2),
    "squared_error_frechet": (0.25, None),
}
TINY = {"steps": 2, "adversarial_steps": 2, "coder_steps": 2, "hidden": 4, "seeds": 1}
NAMES = ("real", "squared error", "adversarial")
HALF = 4  # rows of the 8 that are given


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    steps: int = 1500
    """of the training on the squared error"""
    adversarial_steps: int = 4000
    """of the training against a discriminator"""
    coder_steps: int | None = None
    """of the autoencoder whose error measures the distance from the data; None: 1200"""
    batch_size: int = 64
    """images per step"""
    hidden: int = 256
    """units of the two hidden layers of each network"""
    latent: int = 8
    """random numbers that choose among the halves that may follow"""
    learning_rate: float = 1e-3
    """of Adam, falling"""
    r1: float = 0.1
    """γ of the penalty on the discriminator's gradient at real images"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """of the first parameters, order and noise"""


class Completion(nnx.Module):
    """A generator of lower halves, and a discriminator of whole images."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        hidden = (config.hidden, config.hidden)
        self.generator = Mlp((8 * HALF + config.latent, *hidden, 8 * (8 - HALF)), rngs=rngs)
        self.discriminator = Mlp((64, *hidden, 1), rngs=rngs)
        self.latent = config.latent

    def __call__(self, images: jax.Array, *, key: Key | None = None) -> jax.Array:
        """The images with their lower halves replaced; one of those that may follow for a key."""
        given = images[:, :HALF]
        z = jnp.zeros((len(images), self.latent))
        if key is not None:
            z = jax.random.normal(key, z.shape)
        drawn = self.generator(jnp.concatenate([given.reshape(len(given), -1), z], axis=1))
        drawn = jax.nn.sigmoid(drawn).reshape(len(given), 8 - HALF, 8, 1)
        return jnp.concatenate([given, drawn], axis=1)

    def logits(self, images: jax.Array) -> jax.Array:
        """How real whole images are."""
        return self.discriminator(images.reshape(len(images), -1))[:, 0]


def discriminator(model: Any, batch: Batch, key: Key, *, r1: float) -> tuple[jax.Array, Metrics]:
    """The discriminator's loss on real images and on the same ones completed."""
    real = batch["image"]
    fake = jax.lax.stop_gradient(model(real, key=key))
    loss = losses.discriminator_minimax(model.logits(real), model.logits(fake))
    penalty = losses.r1_penalty(model.logits, real)
    return jnp.mean(loss + r1 / 2 * penalty), {}


def generator(model: Any, batch: Batch, key: Key) -> tuple[jax.Array, Metrics]:
    """The generator's loss on completed images."""
    fake = model(batch["image"], key=key)
    return jnp.mean(losses.generator_non_saturating(model.logits(fake))), {}


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains both networks of each seed, measures what they draw, and writes the report."""
    splits = data.read_classified("digits")
    coder = autoencoder.Settings(steps=config.coder_steps)
    coder = autoencoder.with_defaults(coder, "digits")
    measured, shown = {}, []
    for seed in range(config.seed, config.seed + config.seeds):
        folders = [out / str(seed) / name for name in ("squared", "adversarial", "autoencoder")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        model = autoencoder.train(coder, splits.train["image"], folders[2], seed=seed).model
        test = splits.test["image"]
        drawn = {
            "real": test,
            "squared error": draw_halves(train_squared(config, splits, folders[0], seed), test),
            "adversarial": draw_halves(
                train_adversarial(config, splits, folders[1], seed), test, jax.random.key(seed)
            ),
        }
        for name, images in drawn.items():
            scores = measure(model, images, test, splits.train["image"])
            measured.setdefault(name, []).append(scores)
        shown.append(drawn)
    table = {
        name: {score: np.array([row[score] for row in rows]) for score in rows[0]}
        for name, rows in measured.items()
    }
    numbers = {
        f"{name.replace(' ', '_')}_{score}": float(values.mean())
        for name, scores in table.items()
        for score, values in scores.items()
    }
    write_report(config, out, shown[0], table, numbers)
    return numbers


def train_squared(config: Config, splits: data.Splits, out: Path, seed: int) -> Completion:
    """The generator alone, without random numbers, on the squared error."""
    return train.fit(
        jax.random.key(seed),
        Completion(config, rngs=nnx.Rngs(seed)),
        objectives.autoencoder,
        adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        data.batches(splits.train, batch_size=config.batch_size, seed=seed),
        steps=config.steps,
        out=out,
        ema_decay=0.99,
        log_every=max(config.steps // 5, 1),
    )[0]


def train_adversarial(config: Config, splits: data.Splits, out: Path, seed: int) -> Completion:
    """The generator with random numbers, against the discriminator."""
    rate = optax.cosine_decay_schedule(config.learning_rate, config.adversarial_steps)
    optimizer = optax.adam(rate, b1=0.0, b2=0.99)
    return train.fit_adversarial(
        jax.random.key(seed),
        Completion(config, rngs=nnx.Rngs(seed)),
        train.Player(partial(discriminator, r1=config.r1), optimizer),
        train.Player(generator, optimizer),
        data.batches(splits.train, batch_size=config.batch_size, seed=seed),
        steps=config.adversarial_steps,
        out=out,
        ema_decay=0.995,
        log_every=max(config.adversarial_steps // 5, 1),
    )[0]


def draw_halves(model: Completion, images: np.ndarray, key: Key | None = None) -> np.ndarray:
    """The images with their lower halves drawn by a network."""
    return np.asarray(jax.jit(lambda x: model(x, key=key))(images))


def measure(
    coder: Any, images: np.ndarray, real: np.ndarray, training: np.ndarray
) -> dict[str, float]:
    """What tells a mean from an image: sharpness of the lower half, and distances from the data."""
    energy, of_real = (metrics.high_frequency_energy(x[:, HALF:]) for x in (images, real))
    error = autoencoder.reconstruction_error(coder, images).mean()
    rows = (x.reshape(len(x), -1) for x in (images, training))
    return {
        "sharpness": float(energy / of_real),
        "squared_distance": float(np.mean(np.sum((images - real) ** 2, axis=(1, 2, 3)))),
        "coder_error": float(error),
        "neighbor": float(pixel_distance(images, training).min(axis=1).mean()),
        "frechet": float(metrics.frechet_distance(*rows)),
    }


def write_report(
    config: Config,
    out: Path,
    shown: dict[str, np.ndarray],
    table: dict[str, dict[str, np.ndarray]],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    report.page(
        out / "report.html",
        title="Half a digit completed",
        summary="The squared error is least for the mean of all that may follow, which is none of "
        "it; a discriminator does not let it pass.",
        numbers={
            "sharpness, adversarial": numbers["adversarial_sharpness"],
            "sharpness, squared error": numbers["squared_error_sharpness"],
        },
        sections=[completed_section(shown, table), report.configuration(asdict(config))],
        footer=runtime.environment(),
    )


def completed_section(
    shown: dict[str, np.ndarray], table: dict[str, dict[str, np.ndarray]]
) -> Section:
    """Images completed both ways, and what tells them from real ones."""
    given = np.array(shown["real"])
    given[:, HALF:] = 0.5
    images = np.concatenate([rows[:10] for rows in (given, *shown.values())])
    spread = partial(report.mean_and_deviation, digits=2)
    columns = {
        "sharpness": "sharpness",
        "frechet": "Fréchet",
        "squared_distance": "squared error",
        "coder_error": "autoencoder's error",
        "neighbor": "nearest image",
    }
    return Section(
        "Completed digits",
        "The upper half of test images is given. The network that was trained on the squared error "
        "is nearer to the real image on average, and blurred where several digits may follow; the "
        "other draws one of them. Sharpness is the energy of high frequencies over that of real "
        "images, 'Fréchet' the distance between the pixels' distribution and that of training "
        "images.\n\nThe error of an autoencoder and the distance to the nearest training image do "
        "not give a mean away: it lies between the data, nearer to them than they are to each "
        "other.",
        figures=[
            Figure(
                report.sheet(images, columns=10, width=48),
                f"From top to bottom: given, {', '.join(NAMES)}.",
            )
        ],
        table=Table(
            ("", *columns.values()),
            [(name, *(spread(table[name][score]) for score in columns)) for name in NAMES],
        ),
    )
