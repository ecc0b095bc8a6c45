"""One image painted in the style of others. CPU, 5 min; style reached 0.9.

By default a network of textures, which is trained first, gives a built-in photograph the texture of
two others. What is meant is SqueezeNet 1.1 of ImageNet, a photograph and two paintings:
`--network FILE --content IMAGE --styles IMAGE IMAGE`.
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float

from lectures_jax import data, metrics, report, runtime
from lectures_jax.data.images import decode_image
from lectures_jax.input_optimization import Optimized, stylize
from lectures_jax.models.squeezenet import SqueezeNet
from lectures_jax.recipes.feature_network import feature_network
from lectures_jax.recipes.stylizer import resized
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import plot

TINY = {"network_steps": 2, "side": 24, "steps": 2}
EXPECTED = {"style_reached": (0.75, None), "content_psnr": (15.0, None)}


class Layers(NamedTuple):
    """The layers of a network that style transfer looks at.

    Attributes:
        content: in which the content is compared.
        style: in which the style is, from small features to large ones.
        ladder: of which the content is reconstructed.
    """

    content: str
    style: tuple[str, ...]
    ladder: tuple[str, ...]


SQUEEZENET = Layers(
    "fire5",
    ("relu1", "fire2", "fire3", "fire4", "fire5", "fire7", "fire9"),
    ("relu1", "fire3", "fire5", "fire7"),
)
TEXTURES = Layers("stage3", ("stage1", "stage2", "stage3"), ("stage1", "stage2", "stage3"))


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    network: Path | None = None
    """safetensors file of torchvision's SqueezeNet 1.1; None: a network of textures"""
    network_steps: int = 600
    """training steps of the network of textures"""
    content: Path | None = None
    """image whose content is kept; None: the built-in pagoda"""
    styles: tuple[Path, ...] = ()
    """two images whose style is taken; none: the built-in tissue and dahlia"""
    side: int = 256
    """pixels of the longer side of all images"""
    steps: int = 250
    """of each optimization"""
    learning_rate: float = 0.03
    """of Adam"""
    beta: float = 300.0
    """weight of the style; that of the content is 1"""
    variation: float = 0.0
    """weight of the total variation"""
    seed: int = 0
    """of the noise that some images start from"""


class Scene(NamedTuple):
    """A network, its layers, an image and two styles."""

    network: Any
    layers: Layers
    content: Float[np.ndarray, "_ _ 3"]
    styles: list[Float[np.ndarray, "_ _ 3"]]


def run(config: Config, out: Path) -> dict[str, float]:
    """Reconstructs content and style by themselves and together, and writes the report."""
    scene = read(config, out)
    first = scene.styles[:1]
    paint = partial(transfer, config, scene)
    painted = paint(first)
    seconds, _ = timed(paint, first)  # without compilation
    lbfgs = partial(paint, optimizer=optax.lbfgs, learning_rate=1.0, steps=config.steps // 2)
    by_lbfgs = lbfgs(first)
    lbfgs_seconds, _ = timed(lbfgs, first)
    rungs = {
        layer: paint(first, content_layer=layer, beta=0.0, start=noise(config, scene)).inputs
        for layer in scene.layers.ladder
    }
    before, after = (style_loss(paint, scene, x) for x in (scene.content, painted.inputs))
    numbers = {
        "style_reached": 1 - after / before,
        "content_psnr": psnr(rungs[scene.layers.ladder[0]], scene.content),
        "adam_loss": float(painted.losses[-1, 0]),
        "lbfgs_loss": float(by_lbfgs.losses[-1, 0]),
    }
    runs = {"Adam": (painted, seconds), "L-BFGS": (by_lbfgs, lbfgs_seconds)}
    report.page(
        out / "report.html",
        title="Style transfer",
        summary="Images with the features of one image in one layer of a network, and with the "
        "Gram matrices of another in several.",
        numbers={name.replace("_", " "): value for name, value in numbers.items()},
        sections=[
            both(scene, painted, paint(scene.styles[1:])),
            contents(scene, rungs),
            styles(config, scene, paint),
            weights(config, scene, paint, painted),
            colors(paint, scene, painted),
            mixtures(paint, scene),
            optimizers(runs, out / "losses.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def read(config: Config, out: Path) -> Scene:
    """The network and three images of the configured size."""
    if len(config.styles) not in (0, 2):
        raise ValueError(f"--styles: expected two images or none, got {len(config.styles)}.")
    network = feature_network(config.network, steps=config.network_steps)
    images = list(data.photographs("pagoda", "tissue", "dahlia").values())
    if config.content:
        images[0] = decode_image(config.content).astype(np.float32) / 255
    if config.styles:
        images[1:] = [decode_image(path).astype(np.float32) / 255 for path in config.styles]
    content, *styles = (resized(image, config.side) for image in images)
    layers = SQUEEZENET if isinstance(network, SqueezeNet) else TEXTURES
    return Scene(network, layers, content, styles)


def transfer(config: Config, scene: Scene, styles: list[np.ndarray], **options: Any) -> Optimized:
    """The content in these styles; options of `stylize` replace those of the configuration."""
    layers = options.pop("style_layers", scene.layers.style)
    usual = {
        "content_layer": scene.layers.content,
        "beta": config.beta,
        "variation": config.variation,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
    }
    return stylize(
        jax.random.key(config.seed),
        scene.network.features,
        scene.content,
        styles,
        style_weights=dict.fromkeys(layers, 1 / len(layers)),
        **usual | options,
    )


def timed(paint: Any, styles: list[np.ndarray]) -> tuple[float, Optimized]:
    """Seconds, and the image."""
    start = time.perf_counter()
    result = jax.block_until_ready(paint(styles))
    return time.perf_counter() - start, result


def style_loss(paint: Any, scene: Scene, image: Any) -> float:
    """How far an image is from the first style: relative squared error of its Gram matrices."""
    alone = paint(scene.styles[:1], alpha=0.0, beta=1.0, variation=0.0, start=image, steps=1)
    return float(alone.losses[0, 0])


def noise(config: Config, scene: Scene) -> np.ndarray:
    """An image of even noise."""
    rng = np.random.default_rng(config.seed)
    return rng.random(scene.content.shape, np.float32)


def psnr(image: Any, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio of one image in decibels."""
    return float(metrics.psnr(np.asarray(image)[None], target[None])[0])


def both(scene: Scene, painted: Optimized, other: Optimized) -> Section:
    """The images that go in and come out."""
    return Section(
        "One content, two styles",
        f"The content is the map of {scene.layers.content}, the style are the Gram matrices of "
        f"{', '.join(scene.layers.style)}. What moves are the pixels, from the content on.",
        figures=[
            Figure(scene.content, "The content."),
            Figure(scene.styles[0], "The first style."),
            Figure(np.asarray(painted.inputs), "The content in the first style."),
            Figure(scene.styles[1], "The second style."),
            Figure(np.asarray(other.inputs), "The content in the second style."),
        ],
    )


def contents(scene: Scene, rungs: dict[str, Any]) -> Section:
    """What each layer keeps of the content."""
    return Section(
        "Content alone",
        "From noise, the image whose features in one layer are those of the content (β = 0). The "
        "deeper the layer, the less it knows of the pixels.",
        figures=[
            Figure(np.asarray(image), f"{layer}: {psnr(image, scene.content):.1f} dB.")
            for layer, image in rungs.items()
        ],
    )


def styles(config: Config, scene: Scene, paint: Any) -> Section:
    """What layers up to a depth keep of the style."""
    figures, layers = [], scene.layers.style
    for count in sorted({1, (len(layers) + 1) // 2, len(layers)}):
        options = {"alpha": 0.0, "beta": 1.0, "style_layers": layers[:count]}
        image = paint(scene.styles[:1], start=noise(config, scene), **options).inputs
        figures.append(Figure(np.asarray(image), f"{', '.join(layers[:count])}."))
    return Section(
        "Style alone",
        "From noise, the image whose Gram matrices are those of the style (α = 0), in the first "
        "layers and in more of them: texture without arrangement, of ever larger features.",
        figures=figures,
    )


def weights(config: Config, scene: Scene, paint: Any, painted: Optimized) -> Section:
    """Less and more style."""
    figures = []
    for factor in (0.003, 0.03, 1):
        beta = factor * config.beta
        image = painted if factor == 1 else paint(scene.styles[:1], beta=beta)
        figures.append(Figure(np.asarray(image.inputs), f"β = {beta:g}."))
    return Section("The ratio of content and style", "α is 1.", figures=figures)


def colors(paint: Any, scene: Scene, painted: Optimized) -> Section:
    """Three ways to choose the colors."""
    captions = {
        "matched": "The style got the mean and the covariance of the content's colors first.",
        "luminance": "Only the brightness changes.",
    }
    images = {name: paint(scene.styles[:1], colors=name).inputs for name in captions}
    figures = [Figure(np.asarray(painted.inputs), "The colors of the style.")]
    figures += [Figure(np.asarray(images[name]), text) for name, text in captions.items()]
    return Section("Colors that are kept", figures=figures)


def mixtures(paint: Any, scene: Scene) -> Section:
    """Between the two styles."""
    return Section(
        "Two styles at once",
        "The Gram matrices to reach are a weighted mean of those of both styles.",
        figures=[
            Figure(
                np.asarray(paint(scene.styles, mix=(1 - share, share)).inputs),
                f"{1 - share:.0%} of the first, {share:.0%} of the second.",
            )
            for share in (0.25, 0.5, 0.75)
        ],
    )


def optimizers(runs: dict[str, tuple[Optimized, float]], path: Path) -> Section:
    """The loss by the seconds that each optimizer took, without compilation."""
    with plot(path, height=3.2) as (ax,):
        for name, (result, seconds) in runs.items():
            times = np.linspace(0, seconds, len(result.losses))
            ax.plot(times, result.losses[:, 0], label=name)
        ax.set(xlabel="seconds", ylabel="loss", yscale="log")
        ax.legend()
    rows = [
        (name, len(result.losses), 1000 * seconds / len(result.losses), float(result.losses[-1, 0]))
        for name, (result, seconds) in runs.items()
    ]
    return Section(
        "Adam and L-BFGS",
        "A step of L-BFGS searches along a line, which takes several evaluations.",
        figures=[Figure(path, "Loss of the first image.")],
        table=Table(("optimizer", "steps", "milliseconds per step", "last loss"), rows),
    )
