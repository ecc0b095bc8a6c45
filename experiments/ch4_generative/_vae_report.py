"""The pages of the VAE's report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _codes import CodeMixture, decode, draw_codes, encode
from _common import Generator, sheet
from _judge import NAMES

from lectures_jax import data, losses, metrics, ops, report, runtime
from lectures_jax.models.vae import Vae
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

SHOWN = 50  # images of a sheet


def pictures_section(
    model: Vae, splits: data.Splits, pictures: Mapping[str, np.ndarray]
) -> Section:
    """Test images, their reconstructions, and what each way of drawing codes gives."""
    real = splits.test["image"][:SHOWN]
    captions = {
        "prior": "Codes from the prior N(0, I).",
        "second stage": "Codes from a second VAE, which learnt the codes.",
        "mixture": "Codes from a Gaussian mixture fitted to the codes.",
    }
    return Section(
        "Images",
        "Decoder means. The prior also draws codes from places where no image was encoded, and "
        "the decoder answers with something between digits or garments; a distribution that was "
        "fitted to the codes afterwards keeps to where they are.",
        figures=[
            Figure(sheet(real), "Test images."),
            Figure(sheet(decode(model, encode(model, real)[0])), "Their reconstructions."),
            *(Figure(sheet(pictures[name][:SHOWN]), text) for name, text in captions.items()),
        ],
    )


def scores_section(
    scores: Mapping[str, Mapping[str, float]], floors: Mapping[str, Mapping[str, float]]
) -> Section:
    """The judge's scores of each way of drawing codes, beside the floors."""
    columns = {**scores, **floors}
    rows = [[text, *(column[name] for column in columns.values())] for name, text in NAMES.items()]
    return Section(
        "Scores",
        "Distances are 0 for equal distributions and grow with too few images; precision, "
        "recall, density and coverage are 1 for perfect samples. A nearest-neighbor ratio far "
        "below 1 gives copies away. The network behind these numbers learnt from images that no "
        "generator saw.",
        table=Table(["score", *columns], rows),
    )


def likelihood_section(
    samples: Sequence[int],
    bounds: Mapping[str, list[dict]],
    numbers: Mapping[str, float],
    figures: Path,
) -> Section:
    """Bounds over the number of samples, with PCA's likelihood as a line."""
    pca = numbers["pca_log_likelihood"]
    with plot(figures / "likelihood.svg", height=3.0) as (ax,):
        for i, (name, found) in enumerate(bounds.items()):
            values = [one["log_likelihood"] for one in found]
            ax.plot(samples, values, marker="o", ms=3, color=color(i), label=name)
        ax.axhline(pca, color=INK, lw=1, ls="--", label="probabilistic PCA (exact)")
        ax.set_xscale("log", base=2)
        top, lowest = numbers["log_likelihood"], min(bounds["naive"][-1]["log_likelihood"], pca)
        reach = max(1.0, top - lowest)
        ax.set_ylim(lowest - 0.5 * reach, top + 0.1 * reach)
        ax.set(xlabel="samples per image", ylabel="log p(x) in nats")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    rows = [
        (name, k, one["log_likelihood"], one["effective_samples"])
        for name, found in bounds.items()
        for k, one in zip(samples, found, strict=True)
    ]
    rows.append(("probabilistic PCA", None, pca, None))
    return Section(
        "Likelihood",
        "Of test images, as a density in nats, with the same number of latent units. One sample "
        "from the encoder gives the evidence lower bound; more come closer to log p(x) from below. "
        "Samples from the prior, the course's first attempt, estimate the same number, but hardly "
        "any of them explains a given image: only some weigh in, and the estimate is far too "
        "low: it enters the plot from far below. Of the levels of the pixels rather than a "
        f"density: {numbers['bits_per_dim']:.2f} bits per dimension.",
        figures=[Figure(figures / "likelihood.svg", "Bounds over the number of samples.")],
        table=Table(("estimate", "samples", "log p(x) in nats", "effective samples"), rows),
    )


def latent_section(model: Vae, splits: data.Splits, figures: Path) -> Section:
    """Codes on the plane of the two units that say most, and every unit's divergence."""
    mean, log_var = encode(model, splits.test["image"][:2000])
    units = by_unit(mean, log_var)
    first, second = np.argsort(-units)[:2]
    report.latent_plane(
        mean[:, [first, second]],
        splits.test["labels"][:2000],
        figures / "plane.svg",
        classes=splits.classes,
        names=(f"unit {first}", f"unit {second}"),
    )
    report.latent_units(units, figures / "units.svg")
    return Section(
        "Latent space",
        "Test images by the means of their posteriors.",
        figures=[
            Figure(figures / "plane.svg", "The two units that say most about the image."),
            Figure(figures / "units.svg", "Mean divergence of each unit; a gray one is collapsed."),
        ],
    )


def by_unit(mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Mean divergence of each unit from the prior, in nats."""
    units = losses.gaussian_kl(jnp.asarray(mean[..., None]), jnp.asarray(log_var[..., None]))
    return np.asarray(units.mean(axis=0))


def diagnose(
    model: Vae,
    mixture: CodeMixture,
    splits: data.Splits,
    pictures: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """A number for each fault that the course lists."""
    real = splits.test["image"][:2000]
    mean, log_var = encode(model, real)
    rebuilt = decode(model, mean)
    codes = draw_codes(jax.random.key(0), model, real)
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
        "sharpness_mixture": float(metrics.high_frequency_energy(pictures["mixture"])) / sharp,
    }


def trouble_section(found: Mapping[str, float]) -> Section:
    """What each number says."""
    rows = [
        (
            "loss balance",
            "decoder's variance, to be about the squared error of a pixel",
            f"{found['variance']:.4f}, {found['squared_error']:.4f}",
        ),
        (
            "collapsed units",
            "units whose mean varies by more than 0.01",
            f"{found['active_units']:.0f} of {found['units']:.0f}",
        ),
        (
            "prior mismatch",
            "log-density of codes in the mixture above that in the prior, in nats: the divergence "
            "of all codes together from the prior is at least that",
            f"{found['mismatch']:.2f}",
        ),
        (
            "information",
            "of a code about which of these images it is, of at most the logarithm of their "
            "number, in nats",
            f"{found['information']:.2f} of {found['most_information']:.2f}",
        ),
        (
            "blur",
            "high-frequency energy of reconstructions and of samples, of the data's",
            f"{found['sharpness_rebuilt']:.2f}, {found['sharpness_mixture']:.2f}",
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


def training_section(generator: Generator, figures: Path) -> Section:
    """The bound and its two parts."""
    report.curves(
        generator.history,
        figures / "loss.svg",
        panels=[["loss", "reconstruction"], ["divergence"], ["active_units"]],
    )
    return Section(
        "Training",
        "Minus the evidence lower bound and its parts, in nats per image.",
        figures=[Figure(figures / "loss.svg", "Means over the batches since the point before.")],
    )


def write_page(out: Path, numbers: Mapping[str, float], sections: Sequence[Section]) -> None:
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
