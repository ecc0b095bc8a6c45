"""An autoencoder finds few numbers for an image, and removes noise. CPU, 3 min; gain in dB 4.0.

The decibels are those by which a network that was trained to remove noise is better than the best
of the classical filters, each at its best strength. By the size of the code, dense and
convolutional autoencoders are compared with principal components, which a linear one equals.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from sklearn.decomposition import PCA

from lectures_jax import data, report, runtime, train
from lectures_jax.models.autoencoder import Autoencoder, DenseDecoder, dense_encoder
from lectures_jax.recipes import autoencoder
from lectures_jax.recipes.denoising import decibels, tuned_filters, wiener_filter
from lectures_jax.recipes.generator import Kind
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

EXPECTED = {"gain": (3.0, None), "linear_over_pca": (0.99, 1.05)}
THREADED_CONVOLUTIONS = True  # the maps are small, so the convolutions are XLA's own
TINY = {
    "training": autoencoder.Settings(hidden=4, latent=2, noise=0.3, steps=2),
    "codes": (2,),
    "seeds": 1,
    "images": 8,
}
NETWORKS = {"dense": True, "convolutional": False}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    training: autoencoder.Settings = field(
        default_factory=lambda: autoencoder.Settings(latent=32, hidden=512, noise=0.3)
    )
    """of the networks that remove noise; those that are compared by their codes have other sizes
    of the code and no noise"""
    codes: tuple[int, ...] = (2, 8, 32)
    """sizes of the code that are compared"""
    images: int = 500
    """training images that filters are tuned on, and test images that measure, at most"""
    seeds: int = 3
    """networks of each kind that remove noise"""
    seed: int = 0
    """of the first parameters, order and noise"""


class Noisy(NamedTuple):
    """Images with noise and without."""

    noisy: np.ndarray
    clean: np.ndarray


def run(config: Config, out: Path) -> dict[str, float]:
    """Compares codes by their size, removes noise, and writes the report."""
    splits = data.read_classified(config.data, config.root)
    errors, rebuilt = compare_codes(config, splits, out)
    tuning, test = (
        with_noise(config, examples["image"], seed=config.seed + number)
        for number, examples in enumerate((splits.train, splits.test))
    )
    denoised = {"noisy": test.noisy}
    for name, remove in tuned_filters(*tuning, noise=config.training.noise).items():
        denoised[name] = remove(test.noisy)
    classical = max(decibels(images, test.clean) for images in denoised.values())
    linear = wiener_filter(splits.train["image"], noise=config.training.noise)
    denoised["linear"] = linear(test.noisy)
    scores = {name: np.array([decibels(x, test.clean)]) for name, x in denoised.items()}
    for name, dense in NETWORKS.items():
        results = denoise(config, splits, test.noisy, out / f"denoise_{name}", dense=dense)
        scores[name] = np.array([decibels(x, test.clean) for x in results])
        denoised[name] = results[0]
    middle = len(config.codes) // 2
    numbers = {f"{name.replace(' ', '_')}_db": float(v.mean()) for name, v in scores.items()}
    numbers["gain"] = max(float(scores[name].mean()) for name in NETWORKS) - classical
    numbers["linear_over_pca"] = errors["linear"][middle] / errors["PCA"][middle]
    numbers["dense_over_pca"] = errors["dense"][middle] / errors["PCA"][middle]
    write_report(config, out, errors, rebuilt, scores, {"clean": test.clean, **denoised}, numbers)
    return numbers


def compare_codes(
    config: Config, splits: data.Splits, out: Path
) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Mean squared error of test pixels by the size of the code, and images of the middle one."""
    images, test = splits.train["image"], splits.test["image"][: config.images]
    errors, rebuilt = {}, {"original": test}
    for name in ("PCA", "linear", *NETWORKS):
        results = []
        for size in config.codes:
            settings = replace(
                config.training, latent=size, dense=NETWORKS.get(name, True), noise=0.0
            )
            settings = autoencoder.with_defaults(settings, config.data)
            folder = out / f"{name.lower()}_{size}"
            folder.mkdir(parents=True, exist_ok=True)
            results.append(reconstruct(name, settings, images, test, folder, seed=config.seed))
        errors[name] = [float(np.mean((result - test) ** 2)) for result in results]
        rebuilt[name] = results[len(results) // 2]
    return errors, rebuilt


def reconstruct(
    name: str,
    settings: autoencoder.Settings,
    images: np.ndarray,
    test: np.ndarray,
    out: Path,
    *,
    seed: int,
) -> np.ndarray:
    """The test images after a code of `settings.latent` numbers."""
    shape, latent = images.shape[1:], settings.latent
    if name == "PCA":
        rows = images.reshape(len(images), -1)
        pca = PCA(min(latent or 0, *rows.shape), random_state=0).fit(rows)
        codes = pca.transform(test.reshape(len(test), -1))
        return pca.inverse_transform(codes).reshape(test.shape)
    if name == "linear":
        rngs = nnx.Rngs(seed)
        model = Autoencoder(
            dense_encoder(shape, latent or 0, hidden=(), rngs=rngs),
            DenseDecoder(latent or 0, shape, hidden=(), rngs=rngs),
            squash=jax.nn.identity,
        )
        # Without layers between, convergence is slow, and a step costs next to nothing.
        steps, rate = 4 * (settings.steps or 0), 3 * settings.learning_rate
        settings = replace(settings, steps=steps, learning_rate=rate)
        return train.predict(autoencoder.fit_network(settings, model, images, out).model, test)
    return train.predict(autoencoder.train(settings, images, out, seed=seed).model, test)


def with_noise(config: Config, images: np.ndarray, *, seed: int) -> Noisy:
    """The first images, with Gaussian noise that is not cut off at black and white."""
    clean = images[: config.images]
    noise = np.random.default_rng(seed).normal(size=clean.shape).astype(np.float32)
    return Noisy(clean + config.training.noise * noise, clean)


def denoise(
    config: Config, splits: data.Splits, noisy: np.ndarray, out: Path, *, dense: bool
) -> list[np.ndarray]:
    """The noisy images as networks of several seeds clean them."""
    settings = replace(config.training, dense=dense)
    settings = autoencoder.with_defaults(settings, config.data)
    results = []
    for seed in range(config.seed, config.seed + config.seeds):
        folder = out / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        model = autoencoder.train(settings, splits.train["image"], folder, seed=seed).model
        results.append(train.predict(model, noisy))
    return results


def write_report(
    config: Config,
    out: Path,
    errors: dict[str, list[float]],
    rebuilt: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    denoised: dict[str, np.ndarray],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title="Autoencoders",
        summary="Trained to remove noise, a network is "
        f"{numbers['gain']:.1f} dB better than the best classical filter.",
        numbers={
            "dB above the best classical filter": numbers["gain"],
            "error of the linear autoencoder over PCA's": numbers["linear_over_pca"],
            "of the dense autoencoder": numbers["dense_over_pca"],
        },
        sections=[
            denoising_section(config, scores, denoised),
            codes_section(config, errors, rebuilt, figures / "codes.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def denoising_section(
    config: Config, scores: dict[str, np.ndarray], denoised: dict[str, np.ndarray]
) -> Section:
    """The images, and the decibels of each way to clean them."""
    count = min(10, len(denoised["clean"]))
    shown = np.concatenate([np.clip(images[:count], 0, 1) for images in denoised.values()])
    rows = [(name, report.mean_and_deviation(values, digits=2)) for name, values in scores.items()]
    return Section(
        "Noise",
        f"Test images with Gaussian noise of deviation {config.training.noise}. Each classical "
        "filter has its best strength on training images. 'Linear' is the linear map of least "
        "error, fitted to the training images. The networks saw the training images with fresh "
        "noise in each step; the table has mean and standard deviation over the seeds.",
        figures=[
            Figure(
                report.sheet(shown, columns=count, width=48),
                f"From top to bottom: {', '.join(denoised)}.",
            )
        ],
        table=Table(("", "peak signal-to-noise ratio in dB"), rows),
    )


def codes_section(
    config: Config, errors: dict[str, list[float]], rebuilt: dict[str, np.ndarray], path: Path
) -> Section:
    """Error by the size of the code, and images after the middle one."""
    with plot(path, height=3.2) as (ax,):
        for number, (name, values) in enumerate(errors.items()):
            style = "o--" if name == "linear" else "o-"
            ax.plot(config.codes, values, style, color=color(number), label=name, ms=3)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(config.codes, [str(size) for size in config.codes])
        ax.set(xlabel="numbers in the code", ylabel="mean squared error")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    middle = config.codes[len(config.codes) // 2]
    count = min(10, len(rebuilt["original"]))
    shown = np.concatenate([np.clip(images[:count], 0, 1) for images in rebuilt.values()])
    return Section(
        "Size of the code",
        "A linear autoencoder can do no better than principal components, and gets there by "
        "gradient descent. Layers between make more of few numbers.",
        figures=[
            Figure(path, "Mean squared error of the pixels of test images."),
            Figure(
                report.sheet(shown, columns=count, width=48),
                f"{middle} numbers each. From top to bottom: {', '.join(rebuilt)}.",
            ),
        ],
    )
