"""A variational autoencoder, its faults and their remedies. CPU, 1 min; classifier-Fréchet 5.2.

Images drawn from the prior, from a second VAE of the codes and from a Gaussian mixture fitted
to the codes; the importance-weighted likelihood against probabilistic PCA; a measure of each fault
that the course lists. Digits take dense networks; `--data idx --root DIR` convolutional ones.
The default settings are the best of about ten by these very scores, on digits, which are
therefore a little too good there.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import _judge
import _vae_report
import jax
import numpy as np
import optax
from _codes import decode, draw_codes, fit_mixture, learn_second_stage
from _common import Generator, Kind, parameters, read
from flax import nnx
from sklearn.decomposition import PCA

from lectures_jax import data, losses, objectives, report, train
from lectures_jax.models.autoencoder import ConvDecoder, ConvEncoder, DenseDecoder, dense_encoder
from lectures_jax.models.vae import Vae

TINY = {
    "steps": 2,
    "batch_size": 4,
    "hidden": 8,
    "latent": 2,
    "components": 2,
    "second_steps": 2,
    "samples": (1, 2),
    "judge_steps": 2,
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    steps: int | None = None
    """training steps; None: 1200 for digits, 6000 for files"""
    batch_size: int = 64
    """images per step"""
    latent: int | None = None
    """units of the code; None: 16 for digits, 32 for files"""
    hidden: int | None = None
    """units of the dense layers; None: 512 for digits, 256 for files"""
    learning_rate: float = 3e-3
    """of Adam, falling as a cosine"""
    ema_decay: float = 0.99
    """of the averaged parameters"""
    beta: float = 1.0
    """weight of the divergence"""
    warmup: int = 0
    """steps in which the weight rises from 0"""
    free_bits: float = 0.0
    """nats of each unit that cost nothing"""
    computed_variance: bool = False
    """compute the decoder's variance from the error (Asperti & Trentin) instead of learning it"""
    components: int = 10
    """Gaussians of the mixture fitted to the codes"""
    second_steps: int = 1000
    """training steps of the VAE of the codes"""
    samples: tuple[int, ...] = (1, 8, 64, 512)
    """K of the likelihood bounds"""
    judge_steps: int | None = None
    """of the network that scores the samples; None: what `_judge.judge` takes"""
    seed: int = 0
    """of parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, measures on the test split, and writes the report."""
    default = config == Config(seed=config.seed)
    config = filled(config)
    splits = read(config.data, config.root)
    generator = learn(config, splits, out)
    model = generator.model
    judge = _judge.judge(config.data, config.root, steps=config.judge_steps)
    key = jax.random.key(config.seed + 1)
    key_codes, key_second = jax.random.split(jax.random.key(config.seed + 2))
    codes = draw_codes(key_codes, model, splits.train["image"])
    mixture = fit_mixture(codes, components=config.components, seed=config.seed)
    second = learn_second_stage(
        key_second,
        codes,
        hidden=min(config.hidden, 256),
        batch_size=config.batch_size,
        steps=config.second_steps,
    )
    prior = jax.random.normal(key, (judge.count, config.latent))
    pictures = {
        "prior": decode(model, np.asarray(prior)),
        "second stage": decode(model, second(key, judge.count)),
        "mixture": generator.sample(key, judge.count),
    }
    scores = {name: judge.scores(found) for name, found in pictures.items()}
    bounds = likelihoods(config, model, splits)
    numbers = {
        "frechet": scores["mixture"]["frechet"],
        "frechet_prior": scores["prior"]["frechet"],
        "frechet_second_stage": scores["second stage"]["frechet"],
        "neighbor_ratio": scores["mixture"]["neighbor_ratio"],
        "least_class": scores["mixture"]["least_class"],
        "log_likelihood": bounds["importance-weighted"][-1]["log_likelihood"],
        "pca_log_likelihood": pca_log_likelihood(config, splits),
        "bits_per_dim": generator.bits_per_dim,
    }
    (out / "figures").mkdir(exist_ok=True)
    trouble = _vae_report.diagnose(model, mixture, splits, pictures)
    sections = [
        _vae_report.pictures_section(model, splits, pictures),
        _vae_report.scores_section(scores, judge.floors),
        _vae_report.likelihood_section(config.samples, bounds, numbers, out / "figures"),
        _vae_report.latent_section(model, splits, out / "figures"),
        _vae_report.trouble_section(trouble),
        _vae_report.training_section(generator, out / "figures"),
        report.timing(generator.history, batch_size=config.batch_size),
        report.configuration(asdict(config)),
    ]
    _vae_report.write_page(out, numbers, sections)
    numbers |= trouble
    if default:
        check(numbers)
    return numbers


def filled(config: Config) -> Config:
    """The defaults that depend on the data."""
    small = config.data == "digits"
    return replace(
        config,
        steps=config.steps or (1200 if small else 6000),
        latent=config.latent or (16 if small else 32),
        hidden=config.hidden or (512 if small else 256),
    )


def check(numbers: dict[str, float]) -> None:
    """Refuses a result that is worse than other seeds give."""
    better = numbers["log_likelihood"] > numbers["pca_log_likelihood"]
    if numbers["frechet"] > 8 or not better:
        raise RuntimeError(
            f"expected a classifier-Fréchet of 8 and a likelihood above PCA's, got {numbers}."
        )


def learn(config: Config, splits: data.Splits, out: Path) -> Generator:
    """Trains a VAE on `splits.train`, and fits the mixture to its codes."""
    config = filled(config)
    key_init, key_train, key_codes = jax.random.split(jax.random.key(config.seed), 3)
    start = time.process_time()
    model, history = train.fit(
        key_train,
        build(config, splits, nnx.Rngs(key_init)),
        objective(config),
        optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        data.batches(splits.train, batch_size=config.batch_size, seed=config.seed),
        steps=config.steps,
        out=out,
        ema_decay=config.ema_decay,
        log_every=max(config.steps // 30, 1),
    )
    codes = draw_codes(key_codes, model, splits.train["image"])
    mixture = fit_mixture(codes, components=config.components, seed=config.seed)
    seconds = time.process_time() - start
    bits = bits_per_dim(model, splits, samples=max(config.samples))

    def sample(key: jax.Array, count: int) -> np.ndarray:
        return decode(model, mixture.sample(key, count))

    return Generator(sample, parameters(model), seconds, bits, history, model)


def build(config: Config, splits: data.Splits, rngs: nnx.Rngs) -> Vae:
    """Dense networks for digits, convolutional ones for larger images."""
    shape = splits.train["image"].shape[1:]
    learned = not config.computed_variance
    if config.data == "digits":
        encoder = dense_encoder(shape, 2 * config.latent, hidden=(config.hidden,), rngs=rngs)
        decoder = DenseDecoder(config.latent, shape, hidden=(config.hidden,), rngs=rngs)
    else:
        encoder = ConvEncoder(shape, 2 * config.latent, hidden=config.hidden, rngs=rngs)
        decoder = ConvDecoder(config.latent, shape, hidden=config.hidden, rngs=rngs)
    return Vae(encoder, decoder, learned_variance=learned, variance=0.05 if learned else 1.0)


def objective(config: Config) -> Callable:
    """The evidence lower bound, as the configuration weighs it."""
    beta = config.beta
    if config.warmup:
        beta = optax.linear_schedule(0.0, config.beta, config.warmup)
    pixels = objectives.gaussian_nll
    if config.computed_variance:
        pixels = objectives.optimal_sigma_nll
    return partial(objectives.elbo, beta=beta, free_bits=config.free_bits, reconstruction=pixels)


def likelihoods(config: Config, model: Vae, splits: data.Splits) -> dict[str, list[dict]]:
    """Importance-weighted and naive bounds of the test images, for each number of samples."""
    kinds = {
        "importance-weighted": objectives.iwae,
        "naive": objectives.naive_likelihood,
    }
    return {
        name: [measure(model, partial(kind, samples=k), splits) for k in config.samples]
        for name, kind in kinds.items()
    }


def measure(model: Vae, objective: Callable, splits: data.Splits) -> dict[str, float]:
    """The objective's mean over the first test images, in nats."""
    images = first_pictures(splits)
    batches = ({"image": images[i : i + 40]} for i in range(0, len(images), 40))
    return train.evaluate(model, objective, batches)


def pca_log_likelihood(config: Config, splits: data.Splits) -> float:
    """Of the same images by probabilistic PCA with as many units: Tipping & Bishop (1999)."""
    learn, test = splits.train["image"], first_pictures(splits)
    pca = PCA(config.latent, random_state=0).fit(learn.reshape(len(learn), -1))
    return float(pca.score(test.reshape(len(test), -1)))


def first_pictures(splits: data.Splits) -> np.ndarray:
    """1000 small test images; of larger ones, each decoded many hundred times, 200."""
    images = splits.test["image"]
    return images[: 1000 if images[0].size < 500 else 200]


def bits_per_dim(model: Vae, splits: data.Splits, *, samples: int) -> float:
    """An upper bound of the bits per pixel of the test images' levels."""

    def level_pixels(model, x, z):
        flat = (v.reshape(len(v), -1) for v in (x, model.decode(z)))
        log_var = model.pixel_log_var[...]
        return losses.discretized_gaussian_reconstruction(*flat, log_var, levels=splits.levels)

    bound = partial(objectives.iwae, samples=samples, reconstruction=level_pixels)
    pixels = splits.test["image"][0].size
    return -measure(model, bound, splits)["log_likelihood"] / (pixels * np.log(2))
