"""A mean is no sample, and a decoder needs codes of images. CPU, 30 s; a mean is off 0.72.

Where a target has two values, y = ±√x, a network that is trained on the squared error predicts
their mean, which never occurs, and a conditional generative model draws either. A decoder that is
trained on latents alone, random codes beside images, gives the mean image whatever the code. Models
that compress (autoencoder, VAE) lose part of an image, flow and diffusion next to nothing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import data, losses, objectives, ops, report, runtime, weights
from lectures_jax.models.autoencoder import Autoencoder
from lectures_jax.models.diffusion import DenseDenoiser
from lectures_jax.models.flow import coupling_flow
from lectures_jax.models.mlp import Mlp
from lectures_jax.recipes.ensemble import Ensemble, train_ensemble
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import MUTED, color, plot
from lectures_jax.typing import Batch, Key, Metrics, Objective

EXPECTED = {
    "mean_off": (0.6, None),
    "samples_off": (None, 0.1),
    "samples_above": (0.4, 0.6),
    "error_of_samples_over_mean": (1.6, None),
    "variation_of_latents_alone": (None, 0.15),
    "variation_of_autoencoder": (0.85, None),
    "compressing_over_keeping": (20, None),
}
TINY = {"steps": 2, "hidden": 8, "seeds": 1}
NOISE = 0.05  # deviation of y from ±√x
LEVELS = 17  # of a pixel


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    steps: int = 1500
    """of each training"""
    hidden: int = 128
    """units of the hidden layers"""
    latent: int = 16
    """numbers of the compressing models' codes"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters, order and noise"""


class ConditionalLine(nnx.Module):
    """The velocity of flow matching of one number y, given x."""

    def __init__(self, hidden: int, *, rngs: nnx.Rngs):
        self.layers = Mlp((3, hidden, hidden, 1), activation=jax.nn.silu, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b 1"], y_t: Float[Array, "b 1"], t: Float[Array, " b"]
    ) -> Float[Array, "b 1"]:
        """Returns the velocity at a time between noise, 0, and y, 1."""
        return self.layers(jnp.concatenate([x, y_t, t[:, None]], axis=1))


def match(model: ConditionalLine, batch: Batch, key: Key) -> tuple[Array, Metrics]:
    """Flow matching of y, given x."""
    key_time, key_noise = jax.random.split(key)
    y, t = batch["y"], jax.random.uniform(key_time, (len(batch["y"]),))
    noise = jax.random.normal(key_noise, y.shape)
    y_t = noise + t[:, None] * (y - noise)
    loss = jnp.mean(losses.flow_matching(y, noise, model(batch["x"], y_t, t)))
    return loss, {"loss": loss}


def latents_alone(model: Any, batch: Batch, key: Key) -> tuple[Array, Metrics]:
    """The squared error of an image and what a random code is decoded to."""
    images = batch["image"]
    z = jax.random.normal(key, (len(images), model.encode(images).shape[1]))
    loss = jnp.mean(losses.squared_error(model.decode(z), images))
    return loss, {"loss": loss}


def likelihood(model: Any, batch: Batch, key: Key) -> tuple[Array, Metrics]:
    """Minus the log-likelihood of dequantized images as vectors."""
    images = ops.dequantize(key, batch["image"], levels=LEVELS)
    return objectives.flow(model, {"x": images.reshape(len(images), -1)}, key)


def schedule() -> Array:
    """The cosine schedule, to where a little of the image is left."""
    return ops.cosine_schedule(1000, max_beta=0.05)


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all models, measures them, and writes the report."""
    (folder := out / "figures").mkdir(parents=True, exist_ok=True)
    splits = data.read_classified("digits")
    train, test = splits.train["image"], jnp.asarray(splits.test["image"])
    build = partial(build_autoencoder, config, "autoencoder")
    autoencoder = fit(config, build, objectives.autoencoder, {"image": train})
    parts = [
        two_values(config, folder / "values.svg"),
        from_latents(config, autoencoder, train, test),
        side_by_side(config, autoencoder, train, test),
    ]
    numbers = {k: float(np.mean(v)) for scores, _ in parts for k, v in scores.items()}
    report.page(
        out / "report.html",
        title="Means, samples and codes",
        summary="What a generative model does that regression does not, and what its codes hold.",
        numbers={name.replace("_", " "): numbers[name] for name in list(EXPECTED)[:2]},
        sections=[*(section for _, section in parts), report.configuration(asdict(config))],
        footer=runtime.environment(),
    )
    return numbers


def fit(
    config: Config, build: Callable[..., nnx.Module], objective: Objective, examples: Batch
) -> Ensemble:
    """Networks of each seed."""
    return train_ensemble(
        [build(rngs=nnx.Rngs(config.seed + i)) for i in range(config.seeds)],
        lambda model, batch, key, _: objective(model, batch, key),
        examples,
        jnp.zeros(config.seeds),
        steps=config.steps,
        batch_size=128,
        learning_rate=2e-3,
        seed=config.seed,
    )


def square_roots(key: Key, count: int) -> dict[str, Float[Array, "n 1"]]:
    """Points x, uniform, and y = ±√x with noise, either sign as often."""
    key_x, key_sign, key_noise = jax.random.split(key, 3)
    x = jax.random.uniform(key_x, (count, 1), minval=0.1)
    sign = jax.random.rademacher(key_sign, (count, 1), dtype=x.dtype)
    return {"x": x, "y": sign * jnp.sqrt(x) + NOISE * jax.random.normal(key_noise, (count, 1))}


def draw(model: ConditionalLine, x: Float[Array, "n 1"], key: Key) -> Float[Array, "n 1"]:
    """One y for each x."""
    velocity = partial(at_one_level, lambda y, t: model(x, y, t))
    return ops.sample_flow_matching(key, velocity, x.shape, steps=50)


def at_one_level(network: Callable[..., Array], x: Array, level: Array) -> Array:
    """A network as samplers call it, with one level for all."""
    return network(x, jnp.broadcast_to(level, len(x)))


def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far each y is from the nearer of ±√x, [..., n, 1]."""
    return np.abs(np.abs(y) - np.sqrt(x))


def two_values(config: Config, path: Path) -> tuple[dict[str, np.ndarray], Section]:
    """Regression and a generative model of a target that has two values."""
    points = square_roots(jax.random.key(config.seed), 4000)
    test = square_roots(jax.random.key(config.seed + 1000), 1000)
    hidden = config.hidden
    regression = fit(config, partial(Mlp, (1, hidden, hidden, 1)), objectives.regression, points)
    model = fit(config, partial(ConditionalLine, hidden), match, points)
    x, y = test["x"], np.asarray(test["y"])
    mean = regression.call(Mlp.__call__, x)
    drawn = model.call(draw, x, jax.random.key(0))
    errors = [np.mean((some - y) ** 2, axis=(1, 2)) for some in (mean, drawn)]
    scores = {
        "mean_off": distance(np.asarray(x), mean).mean(axis=(1, 2)),
        "samples_off": distance(np.asarray(x), drawn).mean(axis=(1, 2)),
        "samples_above": np.mean(drawn > 0, axis=(1, 2)),
        "error_of_samples_over_mean": errors[1] / errors[0],
    }
    with plot(path, height=2.8) as (ax,):
        ax.plot(x[:, 0], y[:, 0], ".", ms=2, color=MUTED, label="test points")
        ax.plot(x[:, 0], drawn[0, :, 0], ".", ms=2, color=color(1), label="samples")
        order = np.argsort(x[:, 0])
        ax.plot(x[order, 0], mean[0, order, 0], color=color(0), label="regression")
        ax.set(xlabel="x", ylabel="y")
        ax.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    text = (
        "y is √x or -√x, with a little noise. Regression has the least squared error and predicts "
        "what never occurs; a model of y given x that was trained by flow matching draws either "
        "value, and has twice that error. 'Off' is the mean distance from the nearer value; that "
        f"of the points themselves is {float(distance(np.asarray(x), y).mean()):.3f}."
    )
    figures = [Figure(path, "Of the first seed.")]
    return scores, Section("Two values", text, figures, table_of(scores))


def table_of(scores: dict[str, np.ndarray]) -> Table:
    """Means and deviations of the seeds."""
    spread = partial(report.mean_and_deviation, digits=3)
    return Table(
        ("measure", "value"), [(k.replace("_", " "), spread(v)) for k, v in scores.items()]
    )


def build_autoencoder(config: Config, kind: str, *, rngs: nnx.Rngs) -> Any:
    """An autoencoder or a VAE of digits."""
    sizes = {"shape": [8, 8, 1], "latent": config.latent, "hidden": config.hidden, "dense": True}
    if kind == "vae":
        sizes |= {"variance": 0.05, "learned_variance": True}
    return weights.build_model(kind, sizes, rngs=rngs)


def from_latents(
    config: Config, autoencoder: Ensemble, train: np.ndarray, test: Array
) -> tuple[dict[str, np.ndarray], Section]:
    """A decoder that is trained on random codes, and one that is trained on codes of images."""
    build = partial(build_autoencoder, config, "autoencoder")
    alone = fit(config, build, latents_alone, {"image": train})
    z = jax.random.normal(jax.random.key(config.seed), (len(test), config.latent))
    random, rebuilt = alone.call(Autoencoder.decode, z), autoencoder.call(through_code, test)
    deviation, mean = float(np.asarray(test).std(axis=0).mean()), train.mean(axis=0)
    scores = {
        "variation_of_latents_alone": random.std(axis=1).mean(axis=(1, 2, 3)) / deviation,
        "variation_of_autoencoder": rebuilt.std(axis=1).mean(axis=(1, 2, 3)) / deviation,
        "distance_to_mean_image": np.sqrt(np.mean((random - mean) ** 2, axis=(1, 2, 3, 4))),
    }
    caption = "From top to bottom: test images, rebuilt, ten random codes decoded, the mean image."
    rows = [np.asarray(test[:10]), rebuilt[0, :10], random[0, :10], np.stack([mean] * 10)]
    return scores, Section(
        "Latents alone",
        "A decoder is trained on pairs of a random code and an image. The code tells nothing of "
        "the image, so that the best is the mean of all, whatever the code: latents are "
        "worth something once an encoder, or a discriminator, ties them to images. 'Variation' is "
        "the deviation among decoded images over that among test images, 'distance' a root mean "
        "square, where black to white is 1.",
        figures=[Figure(report.sheet(np.concatenate(rows)), caption)],
        table=table_of(scores),
    )


def through_flow(model: Any, images: Array) -> Array:
    """Images to vectors of the same size and back."""
    x = (images.reshape(len(images), -1) * (LEVELS - 1) + 0.5) / LEVELS  # middles of the levels
    back = model.inverse(model.forward(x)[0])[0]
    return ((back * LEVELS - 0.5) / (LEVELS - 1)).reshape(images.shape)


def through_noise(model: Any, images: Array) -> Array:
    """Images to the noise that DDIM makes them of, and back."""
    predict = partial(at_one_level, model)
    x, steps = 2 * images - 1, 50
    noise = ops.invert_diffusion(predict, x, schedule(), steps=steps, iterations=5)
    path = ops.sampling_schedule(schedule(), steps=steps)
    return (ops.solve_ddim(predict, noise, path)[0][-1] + 1) / 2


def side_by_side(
    config: Config, autoencoder: Ensemble, train: np.ndarray, test: Array
) -> tuple[dict[str, np.ndarray], Section]:
    """Sizes of codes and errors of reconstruction of four kinds of models."""
    wide = (config.hidden, config.hidden)
    vae = partial(build_autoencoder, config, "vae")
    flow = partial(coupling_flow, 64, layers=4, hidden=wide, mix=True)
    denoiser = partial(DenseDenoiser, (8, 8, 1), hidden=config.hidden)
    noise = partial(objectives.diffusion_noise, alpha_bar=schedule())
    trained = partial(fit, config, examples={"image": train})
    rebuilt = {
        "autoencoder": autoencoder.call(through_code, test),
        "VAE": trained(vae, objectives.elbo).call(through_code, test),
        "flow": trained(flow, likelihood).call(through_flow, test),
        "diffusion": trained(denoiser, noise).call(through_noise, test),
    }
    errors = {
        name: np.sqrt(np.mean((x - np.asarray(test)) ** 2, axis=(1, 2, 3, 4)))
        for name, x in rebuilt.items()
    }
    rows = [
        (name, size, report.mean_and_deviation(errors[name], digits=4))
        for name, size in zip(errors, (config.latent, config.latent, 64, 64), strict=True)
    ]
    images = [np.asarray(test[:10]), *(x[0, :10] for x in rebuilt.values())]
    scores = {f"error_of_{name}": values for name, values in errors.items()}
    caption = f"From top to bottom: test images; {'; '.join(rebuilt)}."
    scores["compressing_over_keeping"] = errors["autoencoder"] / errors["diffusion"]
    return scores, Section(
        "Compressing or keeping the size",
        "An image of 64 pixels goes to its code and back. Few numbers do not hold all of it; as "
        "many as pixels do, by a flow exactly, by DDIM to noise and back nearly.",
        figures=[Figure(report.sheet(np.concatenate(images)), caption)],
        table=Table(("", "numbers of a code", "root mean square error"), rows),
    )


def through_code(model: Any, images: Array) -> Array:
    """Images to their codes and back."""
    return model.decode(model.encode(images))
