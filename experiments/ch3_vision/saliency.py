"""What a network looks at in photographs, and what fools it. CPU, 2 min; deletion gain 0.28.

By default a network of textures, which is trained first; with `--network FILE` SqueezeNet 1.1 of
ImageNet. The classes are those that the network itself sees in the images. The gain is how much
more the class's probability falls when the pixels that the best map marks turn gray than when as
many random ones do. The network of textures has trained on noisy images: 4/255 fool it in a third.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from PIL import Image

from lectures_jax import data, input_optimization, report, runtime
from lectures_jax.input_optimization import as_argument
from lectures_jax.models.squeezenet import SqueezeNet
from lectures_jax.recipes.feature_network import feature_network
from lectures_jax.report.page import Figure, Section, Table

TINY = {"network_steps": 2, "images": 2, "side": 16, "samples": 2, "attack_steps": 2}
EXPECTED = {"deletion_gain": (0.1, None)}
SHOWN = 4  # images of a figure


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    network: Path | None = None
    """safetensors file of torchvision's SqueezeNet 1.1; None: a network of textures"""
    network_steps: int = 600
    """training steps of the network of textures"""
    names: Path | None = None
    """file of the names of the network's classes, one per line; None: their numbers"""
    images: int = 20
    """squares of the built-in photographs, of random place and size"""
    side: int | None = None
    """of an image in pixels; None: 224 for SqueezeNet, 48 otherwise"""
    epsilon: float | None = None
    """largest change of a pixel; None: 1/255 for SqueezeNet, 4/255 otherwise"""
    attack_steps: int = 10
    """of projected gradient descent; towards a class it takes twice as many"""
    samples: int = 32
    """noisy images of a smoothed gradient, points of an integrated one"""
    seed: int = 0
    """of the squares, the noise and the attacks"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Explains and attacks the network, and writes the report."""
    model = feature_network(config.network, steps=config.network_steps)
    images = jnp.asarray(squares(config))
    logits = _logits(as_argument(model), images)
    labels = np.asarray(jnp.argmax(logits, axis=1))
    names = class_names(config, logits.shape[1])
    maps = explain(config, model, images, labels)
    deleted = {name: deletion(model, images, labels, heat) for name, heat in maps.items()}
    random = np.random.default_rng(config.seed).random(images.shape[:3])
    deleted["random pixels"] = deletion(model, images, labels, random)
    attacked, numbers = attack(config, model, images, labels)
    best = max(fall for name, fall in deleted.items() if name != "random pixels")
    numbers["deletion_gain"] = best - deleted["random pixels"]
    report.page(
        out / "report.html",
        title="Saliency and attacks on photographs",
        summary=f"{len(images)} squares of {images.shape[1]} pixels from photographs, and the "
        f"class that {'SqueezeNet 1.1' if config.network else 'a network of textures'} sees.",
        numbers=numbers,
        sections=[
            saliency(images, [names[label] for label in labels], maps, deleted),
            attacks(config, images, attacked, names, numbers, model),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def squares(config: Config) -> np.ndarray:
    """Squares of the photographs, in turns, reduced to one size, [n, side, side, 3]."""
    rng, photographs = np.random.default_rng(config.seed), list(data.photographs().values())
    side, images = config.side or (224 if config.network else 48), []
    for number in range(config.images):
        image = photographs[number % len(photographs)]
        size = round(rng.uniform(0.4, 0.95) * min(image.shape[:2]))
        y, x = (rng.integers(0, n - size + 1) for n in image.shape[:2])
        part = Image.fromarray(np.rint(255 * image[y : y + size, x : x + size]).astype(np.uint8))
        images.append(np.asarray(part.resize((side, side), Image.Resampling.BICUBIC)))
    return np.stack(images).astype(np.float32) / 255


def class_names(config: Config, count: int) -> list[str]:
    """Names of the classes, or their numbers; the network of textures tells photographs apart."""
    if config.names is not None:
        return [line.split("\t")[-1] for line in config.names.read_text().splitlines()]
    if config.network is None:
        return list(data.photographs())
    return [str(number) for number in range(count)]


def explain(
    config: Config, model: Any, images: jax.Array, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Maps [n, h, w] of how much each pixel matters, by each method."""
    key, given = jax.random.key(config.seed), (model, images, labels)
    gradient = input_optimization.gradient_saliency(*given)
    smooth = input_optimization.smooth_grad(key, *given, samples=config.samples)
    gray = jnp.full_like(images, 0.5)
    integrated = input_optimization.integrated_gradients(*given, gray, steps=config.samples)
    size = max(images.shape[1] // 6, 1)
    first, rest = (Partial(part, as_argument(model)) for part in (last_map, head))
    heat = input_optimization.grad_cam(first, rest, images, labels)
    return {
        "gradient": np.abs(gradient).max(axis=-1),
        "smoothed gradient": np.abs(smooth).max(axis=-1),
        "integrated gradient": np.abs(np.sum(integrated, axis=-1)),
        "Grad-CAM": enlarged(heat, images.shape[1]),
        "occlusion": np.asarray(input_optimization.occlusion(*given, size=size)),
    }


def last_map(model: Any, images: jax.Array) -> jax.Array:
    """The last map of the convolutions."""
    maps = model.features(images)
    return maps["fire9" if isinstance(model, SqueezeNet) else "stage3"]


def head(model: Any, maps: jax.Array) -> jax.Array:
    """The logits of the last map."""
    if isinstance(model, SqueezeNet):
        return jnp.mean(jax.nn.relu(model.classify(maps)), axis=(1, 2))
    return model.classify(jnp.mean(maps, axis=(1, 2)))


def enlarged(heat: jax.Array, side: int) -> np.ndarray:
    """A map of some cells at the size of the images."""
    return np.asarray(jax.image.resize(heat, (len(heat), side, side), method="linear"))


def deletion(model: Any, images: jax.Array, labels: np.ndarray, heat: np.ndarray) -> float:
    """The mean fall of the class's probability when the most salient tenth turns gray."""
    least = np.quantile(heat, 0.9, axis=(1, 2), keepdims=True)
    covered = jnp.where((heat >= least)[..., None], 0.5, images)
    rows = np.arange(len(labels))
    before, after = (
        np.asarray(jax.nn.softmax(_logits(as_argument(model), x)))[rows, labels]
        for x in (images, covered)
    )
    return float(np.mean(before - after))


def attack(
    config: Config, model: Any, images: jax.Array, labels: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Attacked images by attack, and the share that fools the network, or answers the target."""
    epsilon, steps = budget(config), config.attack_steps
    key, given = jax.random.key(config.seed), (model, images, labels)
    classes = _logits(as_argument(model), images).shape[1]
    targets = (labels + 1 + np.arange(len(labels)) * 7 % (classes - 1)) % classes
    far = {"epsilon": 4 * epsilon, "step_size": epsilon, "steps": 2 * steps, "targeted": True}
    near = {"epsilon": epsilon, "step_size": epsilon / 4, "steps": steps}
    attacked = {
        "fgsm": input_optimization.fgsm(*given, epsilon=epsilon),
        "pgd": input_optimization.pgd(key, *given, **near),
        "targeted": input_optimization.pgd(key, model, images, targets, **far),
    }
    answers = {
        name: np.asarray(_logits(as_argument(model), x)).argmax(axis=1)
        for name, x in attacked.items()
    }
    numbers = {f"{name}_fooled": float(np.mean(answers[name] != labels)) for name in attacked}
    numbers["targeted_fooled"] = float(np.mean(answers["targeted"] == targets))
    return {name: np.asarray(x) for name, x in attacked.items()}, numbers


def budget(config: Config) -> float:
    """The largest change of a pixel."""
    return config.epsilon or (1 if config.network else 4) / 255


def saliency(
    images: jax.Array, labels: list[str], maps: dict[str, np.ndarray], deleted: dict[str, float]
) -> Section:
    """Some images and their maps, and what covering the most salient pixels does."""
    shown = [np.asarray(image) for image in images[:SHOWN]]
    shown += [_scaled(heat) for values in maps.values() for heat in values[:SHOWN]]
    factor = max(1, round(112 / images.shape[1]))
    cells = [report.enlarge(cell, factor=factor) for cell in shown]
    text = (
        "The class is the one that the network sees. The table has the fall of its probability "
        "when the tenth of the pixels that a map marks most turns gray."
    )
    caption = f"Rows: images ({', '.join(labels[:SHOWN])}), {', '.join(maps)}."
    return Section(
        "Saliency",
        text,
        figures=[Figure(report.grid(cells, columns=min(SHOWN, len(images))), caption)],
        table=Table(("map", "fall of the probability"), list(deleted.items())),
    )


def _scaled(heat: np.ndarray) -> np.ndarray:
    """A map as a gray image: white is its highest percent."""
    low, high = np.quantile(heat, [0, 0.99])
    return np.clip((heat - low) / max(high - low, 1e-12), 0, 1)[..., None].astype(np.float32)


def attacks(
    config: Config,
    images: jax.Array,
    attacked: dict[str, np.ndarray],
    names: list[str],
    numbers: dict[str, float],
    model: Any,
) -> Section:
    """Images, what was added, and sums, with what the network sees in them."""
    epsilon, count = budget(config), min(SHOWN, len(images))
    before, after = np.asarray(images[:SHOWN]), attacked["pgd"][:SHOWN]
    change = 0.5 + (after - before) / (2 * epsilon)
    factor = max(1, round(112 / images.shape[1]))
    cells = [report.enlarge(cell, factor=factor) for cell in (*before, *change, *after)]
    answers = np.asarray(_logits(as_argument(model), jnp.asarray(after))).argmax(axis=1)
    caption = "Images, changes (gray is none, enlarged), and sums, which are taken for "
    steps = config.attack_steps
    rows = [
        (f"FGSM, {255 * epsilon:g}/255", numbers["fgsm_fooled"]),
        (f"PGD, {steps} steps, {255 * epsilon:g}/255", numbers["pgd_fooled"]),
        (f"towards a class, {2 * steps} steps, {1020 * epsilon:g}/255", numbers["targeted_fooled"]),
    ]
    return Section(
        "Attacks",
        "The share of the images whose class becomes another, or the one that was asked for.",
        figures=[
            Figure(
                report.grid(cells, columns=count),
                caption + ", ".join(names[answer] for answer in answers) + ".",
            )
        ],
        table=Table(("attack", "fooled"), rows),
    )


@jax.jit
def _logits(model: Any, images: jax.Array) -> jax.Array:
    return model(images)
