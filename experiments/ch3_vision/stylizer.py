"""A network that repaints images in one style at once. CPU, 11 min; style reached 0.95.

By default the loss network is one of textures, which is trained first, and the style a built-in
photograph of tissue. What is meant is SqueezeNet 1.1 of ImageNet, a painting, and photographs of
your own besides the built-in ones: `--network FILE --style IMAGE --photographs FOLDER`. Then
`ljx predict RUN_DIR IMAGES` repaints images of any size.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lectures_jax import data, objectives, report, runtime
from lectures_jax.data.images import SUFFIXES, decode_image
from lectures_jax.models.squeezenet import SqueezeNet
from lectures_jax.models.transform_net import SMALL, TransformNetSize
from lectures_jax.recipes import stylizer
from lectures_jax.recipes.feature_network import feature_network
from lectures_jax.report.page import Figure, Section, Table

TINY = {
    "network_steps": 2,
    "image_size": 16,
    "style_size": 32,
    "shown_size": 24,
    "steps": 2,
    "channels": (2, 2, 2),
    "blocks": 1,
}
EXPECTED = {"style_reached": (0.8, None)}
HELD_OUT = ("cat", "coffee")
USUAL = ("pagoda", "dahlia", "astronaut", "motorcycle", "rocket", "retina", "galaxies", "tissue")


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    network: Path | None = None
    """safetensors file of torchvision's SqueezeNet 1.1; None: a network of textures"""
    network_steps: int = 600
    """training steps of the network of textures"""
    style: Path | None = None
    """image whose style is taken; None: the built-in tissue"""
    photographs: Path | None = None
    """folder of photographs to train on, besides the built-in ones"""
    image_size: int = 192
    """rows and columns of a crop, in pixels"""
    style_size: int = 320
    """pixels of the longer side of the style: more make finer strokes"""
    shown_size: int = 256
    """pixels of the longer side of the images in the report"""
    steps: int = 1500
    """training steps, of one crop each"""
    learning_rate: float = 3e-3
    """highest of Adam's one-cycle schedule"""
    beta: float = 2.5
    """weight of the style; that of the content is 1"""
    variation: float = 5.0
    """weight of the mean squared difference of neighboring pixels"""
    channels: tuple[int, int, int] = SMALL.channels
    """of the network's three maps; published: 32 64 128"""
    blocks: int = SMALL.blocks
    """residual blocks"""
    seed: int = 0
    """of parameters and crops"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains the network, measures it on photographs that it was not trained on, and reports."""
    network = feature_network(config.network, steps=config.network_steps)
    painting = read(config.style) if config.style else data.photographs("tissue")["tissue"]
    layers = stylizer.SQUEEZENET
    if not isinstance(network, SqueezeNet):
        network = stylizer.WithPixels(network, painting.mean(axis=(0, 1)))
        layers = stylizer.TEXTURES
    settings = stylizer.Settings(
        image_size=config.image_size,
        style_size=config.style_size,
        steps=config.steps,
        learning_rate=config.learning_rate,
        beta=config.beta,
        variation=config.variation,
        size=TransformNetSize(config.channels, config.blocks),
    )
    trained = stylizer.train(
        settings, photographs(config), painting, network, out, layers=layers, seed=config.seed
    )
    shown = {
        name: stylizer.resized(image, config.shown_size)
        for name, image in data.photographs(*HELD_OUT).items()
    }
    painted, seconds = {}, {}
    for name, image in shown.items():
        stylizer.paint(trained.model, image)  # compiles
        start = time.perf_counter()
        painted[name] = stylizer.paint(trained.model, image)
        seconds[name] = time.perf_counter() - start
    fixed = objectives.LossNetwork(
        network, stylizer.grams(settings, painting, network, tuple(layers.style))
    )
    distances = {name: distance(settings, layers, fixed, image) for name, image in shown.items()}
    after = {name: distance(settings, layers, fixed, image) for name, image in painted.items()}
    numbers = {"style_reached": 1 - sum(after.values()) / sum(distances.values())}
    milliseconds = 1000 * float(np.mean(list(seconds.values())))
    shown_numbers = numbers | {"milliseconds_per_image": milliseconds}
    write_report(
        config, out, trained, painting, (shown, painted), (distances, after), shown_numbers
    )
    return numbers


def read(path: Path) -> Float[np.ndarray, "h w 3"]:
    """An image in [0, 1]."""
    return decode_image(path).astype(np.float32) / 255


def photographs(config: Config) -> list[Float[np.ndarray, "_ _ 3"]]:
    """What it is trained on."""
    images = list(data.photographs(*USUAL).values())
    if config.photographs:
        files = sorted(p for p in config.photographs.iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(f"--photographs: expected images in {config.photographs}, got none.")
        images += [read(file) for file in files]
    return images


def distance(
    settings: stylizer.Settings, layers: stylizer.Layers, fixed: Any, image: np.ndarray
) -> float:
    """How far an image is from the style: relative squared error of its Gram matrices."""
    _, terms = objectives.stylizer(
        lambda images, key: images,
        {"image": jnp.asarray(image)[None]},
        jax.random.key(0),
        fixed,
        content_layer=layers.content,
        style_weights=layers.style,
    )
    return float(terms["style"])


def write_report(
    config: Config,
    out: Path,
    trained: stylizer.Trained,
    painting: np.ndarray,
    images: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
    distances: tuple[dict[str, float], dict[str, float]],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    shown, painted = images
    pairs = [Figure(stylizer.resized(painting, config.shown_size), "The style.")]
    for name in shown:
        pairs += [Figure(shown[name], f"{name}."), Figure(painted[name], f"{name}, repainted.")]
    rows = [(name, distances[0][name], distances[1][name]) for name in shown]
    report.page(
        out / "report.html",
        title="Stylizer",
        summary="A network that gives any image the style of one, in one pass; it was trained "
        "against the features of another network, not against images.",
        numbers={name.replace("_", " "): value for name, value in numbers.items()},
        sections=[
            Section(
                "Photographs that it was not trained on",
                "The distance is the relative squared error of the Gram matrices.",
                figures=pairs,
                table=Table(("image", "distance from the style", "repainted"), rows),
            ),
            report.training(trained.history, figures, losses=[["content"], ["style"]], scores=[]),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
