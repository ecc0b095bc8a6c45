"""Codes by another seed, network, loss or optimizer differ by a linear map. CPU, 2 min; least 0.92.

Each pair of models differs in one thing: the seed, dense layers or convolutions, an autoencoder or
a VAE, Adam or gradient descent with momentum. One model's codes of test images are mapped and then
decoded by the other one. The score is the share of the image error that is recovered, as in
`latent_map`. Controls: shuffled pairs, an encoder without training, and principal components.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from sklearn.decomposition import PCA

from lectures_jax import data, objectives, ops, report, runtime, train
from lectures_jax.models import autoencoder as networks
from lectures_jax.models.vae import Vae
from lectures_jax.recipes.latent_spaces import share_recovered
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, MUTED, color, plot

EXPECTED = {
    "seed": (0.88, None),
    "architecture": (0.87, None),
    "objective": (0.89, None),
    "training": (0.9, None),
    "shuffled": (None, 0.1),
    "principal components": (0.88, None),
    "untrained encoder": (None, 0.8),
}
THREADED_CONVOLUTIONS = True  # the maps are small, so the convolutions are XLA's own
TINY = {"steps": 2, "hidden": 8, "channels": (2, 2), "seeds": 1}
LATENT = 16  # size of all codes, as in `latent_map`
SUPPORTS = (16, 64, 256, 1024)  # images of which a map is fitted
SCORED = SUPPORTS.index(4 * LATENT)  # as in `latent_map`
DRAWS = 5  # support sets of each size, over which errors are averaged
SINGLE = ("seed", "architecture", "objective", "training")  # the one thing that differs
CONTROLS = ("principal components", "untrained encoder")


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    hidden: int = 256
    """units of the dense layers"""
    channels: tuple[int, ...] = (16, 32)
    """of the convolutions"""
    steps: int = 600
    """training steps of each model, on 64 images each"""
    adam_rate: float = 3e-3
    """of Adam, falling as a cosine; the best of two on validation images and other seeds"""
    descent_rate: float = 0.03
    """of gradient descent with momentum 0.9, the best of three"""
    seeds: int = 3
    """models of each kind"""
    seed: int = 0
    """the first of them: of parameters and order; the other seed of a pair is 100 more"""


Images = tuple[np.ndarray, np.ndarray]
"""Those that support sets are drawn from, and those that no model was trained on."""


class Coded(NamedTuple):
    """The codes of the images, and the way back."""

    trained: np.ndarray
    unseen: np.ndarray
    decode: Callable[[np.ndarray], np.ndarray]

    def rebuilt(self) -> np.ndarray:
        """The model's own reconstruction of the images that it was not trained on."""
        return self.decode(self.unseen)


@dataclass(frozen=True)
class Pair:
    """One row of the table: what differs, and the share recovered."""

    differs: str
    shares: np.ndarray
    """[way, seed, support]: from the first model to the other one, and back if there is a way"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains the models, maps every pair both ways, and writes the report."""
    splits = data.read_classified("digits")
    images = splits.train["image"], splits.test["image"]
    seeds = range(config.seed, config.seed + config.seeds)
    coded = [code_all(config, images, out, seed) for seed in seeds]
    pairs = measure(images, coded)
    numbers = {pair.differs: float(pair.shares[..., SCORED].mean()) for pair in pairs}
    numbers["shuffled"] = max(score for name, score in numbers.items() if "shuffled" in name)
    for name in ("base", *SINGLE, CONTROLS[0]):
        errors = [np.mean((codes[name].rebuilt() - images[1]) ** 2) for codes in coded]
        numbers[f"{name}, error"] = float(np.mean(errors))
    write_report(config, out, images, coded[0], pairs, numbers)
    return numbers


def code_all(config: Config, images: Images, out: Path, seed: int) -> dict[str, Coded]:
    """Codes of all models of one seed, and of the two that are controls."""
    coded, shape = {}, images[0].shape[1:]
    for name in ("base", *SINGLE):
        folder, first = out / f"{name}{seed}", seed + 100 * (name == "seed")
        folder.mkdir(parents=True, exist_ok=True)
        coded[name] = encode(fitted(config, name, images[0], folder, first), images)
    rows = [x.reshape(len(x), -1) for x in images]
    pca = PCA(LATENT, random_state=0).fit(rows[0])
    trained, test = (pca.transform(x) for x in rows)
    coded[CONTROLS[0]] = Coded(
        trained, test, lambda z: pca.inverse_transform(z).reshape(-1, *shape)
    )
    coded[CONTROLS[1]] = encode(build(config, "base", shape, seed), images)
    return coded


def build(config: Config, differs: str, shape: tuple[int, ...], seed: int) -> Any:
    """A model with fresh parameters: of the dense kinds with one seed, all hidden layers agree."""
    rngs, hidden, channels = nnx.Rngs(seed), config.hidden, config.channels
    outputs = 2 * LATENT if differs == "objective" else LATENT
    if differs == "architecture":
        sizes = {"hidden": hidden, "rngs": rngs}
        encoder = networks.ConvEncoder(shape, outputs, channels=channels, **sizes)
        decoder = networks.ConvDecoder(LATENT, shape, channels=channels[::-1], **sizes)
    else:
        encoder = networks.dense_encoder(shape, outputs, hidden=(hidden,), rngs=rngs)
        decoder = networks.DenseDecoder(LATENT, shape, hidden=(hidden,), rngs=rngs)
    if differs == "objective":
        return Vae(encoder, decoder, learned_variance=True)
    return networks.Autoencoder(encoder, decoder)


def fitted(config: Config, differs: str, images: np.ndarray, out: Path, seed: int) -> Any:
    """A model that differs from the first one in this, trained."""
    decay = partial(optax.cosine_decay_schedule, decay_steps=config.steps)
    optimizer = optax.adam(decay(config.adam_rate))
    if differs == "training":
        optimizer = optax.sgd(decay(config.descent_rate), momentum=0.9)
    model, _ = train.fit(
        jax.random.key(seed),
        build(config, differs, images.shape[1:], seed),
        objectives.elbo if differs == "objective" else objectives.autoencoder,
        optimizer,
        data.batches({"image": images}, batch_size=64, seed=seed),
        steps=config.steps,
        out=out,
        ema_decay=0.99,
        log_every=config.steps,
    )
    return model


def encode(model: Any, images: Images) -> Coded:
    """Everything about a model that maps from it and to it need."""
    trained, unseen = (train.predict(model, x, function=type(model).encode) for x in images)
    return Coded(trained, unseen, partial(train.predict, model, function=type(model).decode))


def measure(images: Images, coded: list[dict[str, Coded]]) -> list[Pair]:
    """Pairs with one difference, with that and the seed, and the controls."""
    plan = {name: ("base", name) for name in SINGLE}
    plan |= {f"{name} and seed": ("seed", name) for name in SINGLE[1:]}
    plan |= {f"{name}, shuffled": ("base", name) for name in SINGLE}
    plan |= {name: (name, "base") for name in CONTROLS}
    pairs = []
    for differs, (a, b) in plan.items():
        share = partial(recovered, images, shuffled="shuffled" in differs)
        ways = [(a, b)] if a == CONTROLS[1] else [(a, b), (b, a)]
        shares = [
            [[share(codes[x], codes[y], count) for count in SUPPORTS] for codes in coded]
            for x, y in ways
        ]
        pairs.append(Pair(differs, np.array(shares)))
    return pairs


def recovered(images: Images, source: Coded, target: Coded, count: int, *, shuffled: bool) -> float:
    """The share of the image error that maps from so many images recover."""
    trained, test = images
    mapped = target.decode(map_codes(source, target, count, shuffled=shuffled))
    mapped = mapped.reshape(-1, *test.shape)
    mean = trained.mean(axis=0)
    return share_recovered(test, mapped, rebuilt=target.rebuilt(), mean=mean)


def map_codes(source: Coded, target: Coded, count: int, *, shuffled: bool) -> np.ndarray:
    """The test images' codes by the map of each support set; shuffled, of pairs of two images."""
    orders = [np.random.default_rng(i).permutation(len(source.trained)) for i in range(DRAWS)]
    support = np.stack(orders)[:, :count]
    partner = np.roll(support, 1, axis=1) if shuffled else support
    mapped = map_all(source.trained[support], target.trained[partner], source.unseen)
    return np.asarray(mapped).reshape(-1, target.trained.shape[1])


@jax.jit
def map_all(source: jax.Array, target: jax.Array, unseen: jax.Array) -> jax.Array:
    """Codes after a map from each of several support sets [draw, pair, unit]."""
    maps = jax.vmap(ops.fit_latent_map)(source, target)
    return jax.vmap(ops.apply_latent_map, in_axes=(0, None))(maps, unseen)


def write_report(
    config: Config, out: Path, images: Images, codes: dict, pairs: list[Pair], numbers: dict
) -> None:
    """Writes `report.html`."""
    (figures := out / "figures").mkdir(exist_ok=True)
    single = {f"other {name}": numbers[name] for name in SINGLE}
    draw_shares(pairs, figures / "shares.svg")
    draw_sizes(pairs, figures / "sizes.svg")
    show, rows = partial(report.mean_and_deviation, digits=3), []
    for pair in pairs:
        ways = [*(show(way[:, SCORED]) for way in pair.shares), "–"][:2]
        rows.append((pair.differs, *ways, *map(show, pair.shares.mean(axis=0).T)))
    shares = Section(
        "Shares recovered",
        discussion(images, numbers),
        [
            Figure(figures / "shares.svg", "Triangles: each seed, there (right) and back (left)."),
            Figure(figures / "sizes.svg", "By the size of the support, mean of both directions."),
        ],
        Table(("what differs", "there", "back", *(f"{n} images" for n in SUPPORTS)), rows),
    )
    report.page(
        out / "report.html",
        title="Latent spaces by seed, architecture, objective and training",
        summary="A linear map between the codes of models that differ in one thing recovers "
        f"{min(single.values()):.2f} to {max(single.values()):.2f} of the image error.",
        numbers=single | {"at most, pairs shuffled": numbers["shuffled"]},
        sections=[shares, images_section(images, codes), report.configuration(asdict(config))],
        footer=runtime.environment(),
    )


def discussion(images: Images, numbers: dict[str, float]) -> str:
    """What the shares say and what they do not."""
    own = (numbers["base, error"] + numbers["seed, error"]) / 2
    worst = float(np.mean((images[1] - images[0].mean(axis=0, keepdims=True)) ** 2))
    ratio = (worst - numbers["seed"] * (worst - own)) / own
    return (
        "0 is the error of the mean image, 1 that of the target's own reconstruction. A map is "
        "fitted by least squares to 64 images. The first model is a dense autoencoder trained by "
        f"Adam. No map is exact: with another seed the error is {ratio:.1f} times the models' "
        "own. Dense models of one seed begin with the same hidden layers, but for 'and seed'."
        f"\n\nPrincipal components, which no network computes, recover {numbers[CONTROLS[0]]:.2f}: "
        "the trained codes are about linear in the pixels. An untrained encoder recovers "
        f"{numbers[CONTROLS[1]]:.2f}. Whether larger images keep this is not shown here."
    )


def draw_shares(pairs: list[Pair], path: Path) -> None:
    """A bar of each pair's mean, and a mark for each seed and direction."""
    with plot(path, height=4.2) as (ax,):
        for row, pair in enumerate(pairs):
            shade = color(0) if pair.differs in SINGLE else MUTED
            ax.barh(row, pair.shares[..., SCORED].mean(), color=shade, alpha=0.35, height=0.7)
            for way, mark in zip(pair.shares, "><", strict=False):
                ax.plot(way[:, SCORED], [row] * len(way), mark, ms=3.5, color=shade)
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_yticks(range(len(pairs)), [pair.differs for pair in pairs])
        ax.invert_yaxis()
        ax.set(xlabel="share recovered")


def draw_sizes(pairs: list[Pair], path: Path) -> None:
    """The shares over the number of images in the support set."""
    shown = (*SINGLE, "seed, shuffled", *CONTROLS)
    with plot(path, height=3.6) as (ax,):
        for i, pair in enumerate(pair for pair in pairs if pair.differs in shown):
            style = "o-" if pair.differs in SINGLE else "o--"
            means = pair.shares.mean(axis=(0, 1))
            ax.plot(SUPPORTS, means, style, ms=3, color=color(i), label=pair.differs)
        ax.set_xscale("log", base=2)
        ax.set_xticks(SUPPORTS, [str(count) for count in SUPPORTS])
        ax.set(xlabel="images in the support set", ylabel="share recovered", ylim=(-1, 1.02))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=7)


def images_section(images: Images, codes: dict[str, Coded]) -> Section:
    """Test images as the first model decodes the codes of the others."""
    base, drawn = codes["base"], [images[1][:12], codes["base"].rebuilt()[:12]]
    for name in (*SINGLE, *CONTROLS, "shuffled"):
        source, shuffled = codes.get(name, codes["seed"]), name == "shuffled"
        mapped = map_codes(source, base, SUPPORTS[SCORED], shuffled=shuffled)
        drawn.append(base.decode(mapped[:12]))
    names = (*(f"other {name}" for name in SINGLE), *CONTROLS, "other seed with shuffled pairs")
    text = "The first model decodes the codes of the others after the map, here of the first seed."
    caption = f"From top to bottom: the image, the first model's own, {', '.join(names)}."
    sheet = report.sheet(np.concatenate(drawn), columns=12)
    return Section("Images", text, [Figure(sheet, caption)])
