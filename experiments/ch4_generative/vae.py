"""A variational autoencoder, its faults and their remedies. CPU, 1 min; classifier-Fréchet 5.2.

Images drawn from the prior, from a second VAE of the codes and from a Gaussian mixture fitted
to the codes; the importance-weighted likelihood against probabilistic PCA; a measure of each fault
that the course lists. Digits take dense networks; `--data idx --root DIR` convolutional ones.
The default settings are the best of about ten by these very scores, on digits, which are
therefore a little too good there.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from lectures_jax import data, losses, metrics, objectives, ops, report, runtime
from lectures_jax.models.vae import Vae
from lectures_jax.recipes import vae
from lectures_jax.recipes.evaluator import evaluator
from lectures_jax.recipes.generator import Generator, Kind
from lectures_jax.recipes.mixture import CodeMixture, fit_code_mixture
from lectures_jax.report.page import Figure, Section, Table

EXPECTED = {"frechet": (None, 8), "pca_gain": (0, None)}
TINY = {
    "training": vae.Settings(
        steps=2, batch_size=4, hidden=8, latent=2, components=2, samples=(2,), bound_images=8
    ),
    "second_steps": 2,
    "evaluator_steps": 2,
    "evaluator_images": 64,
}
SHOWN = 50  # images of a sheet


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    training: vae.Settings = field(default_factory=vae.Settings)
    """of the VAE"""
    second_steps: int = 1000
    """training steps of the VAE of the codes"""
    evaluator_steps: int | None = None
    """of the network that scores the samples; None: 500 for digits, 1500 for files"""
    evaluator_images: int = 5000
    """that the scores compare, at most"""
    seed: int = 0
    """of parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, measures on the test split, and writes the report."""
    settings = vae.with_defaults(config.training, config.data)
    config = replace(config, training=settings)
    splits = data.read_classified(config.data, config.root)
    generator = vae.train(settings, splits, out, seed=config.seed)
    scorer = evaluator(
        config.data, config.root, out, steps=config.evaluator_steps, most=config.evaluator_images
    )
    images, mixture = draw(config, generator, splits, scorer.count, out)
    scores = {name: scorer.scores(drawn) for name, drawn in images.items()}
    bounds = likelihoods(settings, generator.model, splits)
    numbers = {
        "frechet": scores["mixture"]["frechet"],
        "frechet_prior": scores["prior"]["frechet"],
        "frechet_second_stage": scores["second stage"]["frechet"],
        "neighbor_ratio": scores["mixture"]["neighbor_ratio"],
        "least_class": scores["mixture"]["least_class"],
        "log_likelihood": bounds["importance-weighted"][-1]["log_likelihood"],
        "pca_log_likelihood": pca_log_likelihood(settings, splits),
        "bits_per_dim": generator.bits_per_dim,
    }
    numbers["pca_gain"] = numbers["log_likelihood"] - numbers["pca_log_likelihood"]
    numbers |= measure_faults(generator.model, mixture, splits, images)
    sections = [
        images_section(generator.model, splits, images, numbers),
        report.sample_scores({**scores, **scorer.baselines}),
        *model_sections(config, out, splits, generator, bounds, numbers),
        report.configuration(asdict(config)),
    ]
    write_page(out, numbers, sections)
    return numbers


def draw(
    config: Config, generator: Generator, splits: data.Splits, count: int, out: Path
) -> tuple[dict[str, np.ndarray], CodeMixture]:
    """Images of codes from the prior, the second VAE and the mixture; and a mixture of codes."""
    model, settings = generator.model, config.training
    sizes = vae.model_settings(settings, splits)
    key = jax.random.key(config.seed + 1)
    key_codes, key_second = jax.random.split(jax.random.key(config.seed + 2))
    codes = vae.draw_codes(key_codes, model, splits.train["image"])
    mixture = fit_code_mixture(codes, components=settings.components, seed=config.seed)
    second = vae.train_second_stage(
        key_second,
        codes,
        # Codes of a VAE that is trained further are others.
        out / f"second-stage-{settings.steps}",
        hidden=min(sizes["hidden"], 256),
        batch_size=settings.batch_size,
        steps=config.second_steps,
    )
    images = {
        "prior": vae.sample(model, sizes, key, count),
        "second stage": vae.decode(model, second(key, count)),
        "mixture": generator.sample(key, count),
    }
    return images, mixture


def likelihoods(settings: vae.Settings, model: Vae, splits: data.Splits) -> dict[str, list[dict]]:
    """Importance-weighted and naive bounds of the test images, for each number of samples."""
    kinds = {"importance-weighted": objectives.iwae, "naive": objectives.naive_likelihood}
    return {
        name: [
            vae.mean_bound(settings, model, partial(kind, samples=k), splits)
            for k in settings.samples
        ]
        for name, kind in kinds.items()
    }


def pca_log_likelihood(settings: vae.Settings, splits: data.Splits) -> float:
    """Of the same images by probabilistic PCA with as many units: Tipping & Bishop (1999)."""
    train, test = splits.train["image"], vae.held_out_images(settings, splits)
    pca = PCA(settings.latent, random_state=0).fit(train.reshape(len(train), -1))
    return float(pca.score(test.reshape(len(test), -1)))


def measure_faults(
    model: Vae, mixture: CodeMixture, splits: data.Splits, images: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """A number for each fault that the course lists."""
    real = splits.test["image"][:2000]
    mean, log_var = vae.encode(model, real)
    rebuilt = vae.decode(model, mean)
    codes = vae.draw_codes(jax.random.key(0), model, real)
    prior = ops.gaussian_log_prob(jnp.asarray(codes), *jnp.zeros((2, *codes.shape)))
    aggregate = metrics.aggregate_posterior(
        jax.random.key(0), jnp.asarray(mean), jnp.asarray(log_var)
    )
    sharp = float(metrics.high_frequency_energy(real))
    return {
        "variance": float(jnp.exp(model.pixel_log_var[...])),
        "squared_error": float(np.mean((real - rebuilt) ** 2)),
        "divergence": float(by_unit(mean, log_var).sum()),
        "active_units": float(metrics.active_units(jnp.asarray(mean))),
        "units": float(mean.shape[1]),
        "information": float(aggregate.information),
        "most_information": float(np.log(len(real))),
        "mismatch": float(np.mean(mixture.log_prob(codes) - np.asarray(prior))),
        "sharpness_rebuilt": float(metrics.high_frequency_energy(rebuilt)) / sharp,
        "sharpness_mixture": float(metrics.high_frequency_energy(images["mixture"])) / sharp,
    }


def by_unit(mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Mean divergence of each unit from the prior, in nats."""
    units = losses.gaussian_kl(jnp.asarray(mean[..., None]), jnp.asarray(log_var[..., None]))
    return np.asarray(units.mean(axis=0))


def images_section(
    model: Vae,
    splits: data.Splits,
    images: Mapping[str, np.ndarray],
    numbers: Mapping[str, float],
) -> Section:
    """Test images, their reconstructions, and what each way of drawing codes gives."""
    real = splits.test["image"][:SHOWN]
    captions = {
        "prior": "Codes from the prior N(0, I), as ljx predict draws them.",
        "second stage": "Codes from a second VAE, which was trained on the codes.",
        "mixture": "Codes from a Gaussian mixture fitted to the codes.",
    }
    rebuilt = vae.decode(model, vae.encode(model, real)[0])
    return Section(
        "Images",
        "Decoder means. The prior can draw codes from places where no image was encoded; a "
        "distribution that was fitted to the codes afterwards keeps to where they are. The "
        f"classifier-Fréchet is {numbers['frechet_prior']:.2f} with the prior, "
        f"{numbers['frechet_second_stage']:.2f} with the second VAE and "
        f"{numbers['frechet']:.2f} with the mixture.",
        figures=[
            Figure(report.sheet(real), "Test images."),
            Figure(report.sheet(rebuilt), "Their reconstructions."),
            *(Figure(report.sheet(images[name][:SHOWN]), text) for name, text in captions.items()),
        ],
    )


def model_sections(
    config: Config,
    out: Path,
    splits: data.Splits,
    generator: Generator,
    bounds: Mapping[str, list[dict]],
    numbers: Mapping[str, float],
) -> list[Section]:
    """The likelihood, the latent space, its faults, and how the training went."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    mean, log_var = vae.encode(generator.model, splits.test["image"][:2000])
    panels = [["loss", "reconstruction"], ["divergence"], ["active_units"]]
    training = report.training(generator.history, figures, losses=panels, scores=[])
    of_encoder, of_prior = bounds["importance-weighted"][-1], bounds["naive"][-1]
    gap = of_prior["log_likelihood"] - of_encoder["log_likelihood"]
    return [
        report.likelihood_bounds(
            bounds,
            figures / "likelihood.svg",
            samples=config.training.samples,
            exact={"probabilistic PCA": numbers["pca_log_likelihood"]},
            text="Of test images, as a density in nats, with the same number of latent units. One "
            "sample from the encoder gives the evidence lower bound; more come closer to log p(x) "
            "from below. Samples from the prior, the course's first attempt, estimate the same "
            f"number: of {config.training.samples[-1]} of them {of_prior['effective_samples']:.1f} "
            f"weigh in, and they give {gap:+.1f} nats beside the encoder's. Of the levels of the "
            f"pixels rather than a density: {numbers['bits_per_dim']:.2f} bits per dimension.",
        ),
        report.latent_space(
            mean,
            by_unit(mean, log_var),
            splits.test["labels"][:2000],
            figures,
            classes=splits.classes,
        ),
        faults_section(numbers),
        replace(training, text=f"{training.text} The loss is in nats per image."),
        report.timing(generator.history, batch_size=config.training.batch_size),
    ]


def faults_section(measured: Mapping[str, float]) -> Section:
    """What each number means."""
    rows = [
        (
            "loss balance",
            "decoder's variance, to be about the squared error of a pixel",
            f"{measured['variance']:.4f}, {measured['squared_error']:.4f}",
        ),
        (
            "collapsed units",
            "units whose mean varies by more than 0.01",
            f"{measured['active_units']:.0f} of {measured['units']:.0f}",
        ),
        (
            "prior mismatch",
            "log-density of codes in the mixture above that in the prior, in nats: the divergence "
            "of all codes together from the prior is at least that",
            f"{measured['mismatch']:.2f}",
        ),
        (
            "information",
            "of a code about which of these images it is, of at most the logarithm of their "
            "number, in nats",
            f"{measured['information']:.2f} of {measured['most_information']:.2f}",
        ),
        (
            "blur",
            "high-frequency energy of reconstructions and of samples, of the data's",
            f"{measured['sharpness_rebuilt']:.2f}, {measured['sharpness_mixture']:.2f}",
        ),
    ]
    return Section(
        "Faults",
        "Each fault that the course lists, measured on test images. The variance that the "
        "decoder assumes sets the balance of reconstruction and divergence. Where all codes "
        "together differ from the prior, samples from the prior meet codes that were never "
        "decoded in training.",
        table=Table(("fault", "measure", "value"), rows),
    )


def write_page(out: Path, numbers: Mapping[str, float], sections: list[Section]) -> None:
    """Writes `report.html`."""
    report.page(
        out / "report.html",
        title="Variational autoencoder",
        summary="A decoder that explains images by a Gaussian code, an encoder that guesses the "
        "code, and a bound of the likelihood that trains both.",
        numbers={
            "classifier-Fréchet, mixture": numbers["frechet"],
            "classifier-Fréchet, prior": numbers["frechet_prior"],
            "log p(x) in nats": numbers["log_likelihood"],
            "probabilistic PCA": numbers["pca_log_likelihood"],
        },
        sections=sections,
        footer=runtime.environment(),
    )
