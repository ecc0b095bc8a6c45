"""A network paints what it sees into a photograph. CPU, 5 min; gain of a layer 1.8.

Without a file the network is a small one that knows the textures of ten photographs; with
`--network squeezenet1_1.safetensors` it has seen ImageNet, and paints eyes and muzzles. The guided
dream takes its features from another image; the zoom is an animation.
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from lectures_jax import data, report, runtime
from lectures_jax.data.images import decode_image
from lectures_jax.input_optimization import deep_dream, zoom
from lectures_jax.recipes.feature_network import feature_network
from lectures_jax.report.page import Figure, Section, Table

TINY = {
    **{"size": 24, "steps": 1, "octaves": 1, "frames": 2, "network_steps": 2},
    "layers": ("stage1",),
}
EXPECTED = {"gain": (1.3, None)}
LAYERS = {"squeezenet": ("fire5", "fire7", "fire9"), "textures": ("stage1", "stage2", "stage3")}
RATES = {"squeezenet": 0.008, "textures": 0.004}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    network: Path | None = None
    """safetensors file of torchvision's SqueezeNet 1.1; None: a network of textures"""
    image: Path | None = None
    """to dream of; None: a pagoda"""
    guide: Path | None = None
    """whose features the guided dream has; None: a dahlia"""
    layers: tuple[str, ...] = ()
    """each dreamt of by itself, the middle one also with a guide; empty: three of the network's"""
    size: int = 384
    """longer side of the image, in pixels"""
    octaves: int = 5
    """sizes of the image"""
    steps: int = 20
    """at each size"""
    learning_rate: float | None = None
    """mean change of a pixel in a step; None: 0.008 for SqueezeNet, 0.004 for the other"""
    frames: int = 40
    """of the zoom, at half the size"""
    network_steps: int = 600
    """training steps of the network of textures"""
    seed: int = 0
    """of the shifts"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Dreams by each layer, by a guide, and on the way down, and writes the report."""
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    model = feature_network(config.network, steps=config.network_steps)
    kind = "textures" if config.network is None else "squeezenet"
    rate = RATES[kind] if config.learning_rate is None else config.learning_rate
    image, guide = read(config.image, "pagoda", config), read(config.guide, "dahlia", config)
    dream = partial(
        *(deep_dream, jax.random.key(config.seed), model.features),
        octaves=config.octaves,
        steps=config.steps,
        smallest=min(64, config.size // 3),
    )
    dreams, seconds, gains = {}, {}, {}
    layers = config.layers or LAYERS[kind]
    for layer in layers:
        start = time.perf_counter()
        dreams[layer] = np.asarray(dream(image, {layer: 1.0}, learning_rate=rate))
        seconds[layer] = time.perf_counter() - start
        gains[layer] = energy(model, dreams[layer], layer) / energy(model, image, layer)
    middle = layers[len(layers) // 2]
    guided = np.asarray(dream(image, {middle: 1.0}, guide=guide, learning_rate=rate))
    fall(config, model, image, middle, rate, figures / "zoom.webp")
    numbers = {
        "gain": min(gains.values()),
        **{f"gain_{layer}": gain for layer, gain in gains.items()},
    }
    sections = [
        by_layer(image, dreams, gains, seconds),
        by_guide(guide, guided, middle),
        Section(
            "Falling in",
            f"{config.frames} dreams, each of the middle of the one before.",
            figures=[Figure(figures / "zoom.webp", f"By {middle}.")],
        ),
        report.configuration(asdict(config)),
    ]
    write_report(out, sections, numbers["gain"], seconds[middle])
    return numbers


def write_report(out: Path, sections: list[Section], gain: float, seconds: float) -> None:
    """Writes `report.html`."""
    report.page(
        out / "report.html",
        title="Deep dream",
        summary="What a layer already sees in an image is enhanced by gradient ascent on it.",
        numbers={
            "a layer's mean square grows at least by a factor of": gain,
            "seconds for a dream, compilation included": seconds,
        },
        sections=sections,
        footer=runtime.environment(),
    )


def read(path: Path | None, name: str, config: Config) -> jax.Array:
    """An image of the wanted size: of a file, or built in."""
    pixels = np.rint(255 * data.photographs(name)[name]) if path is None else decode_image(path)
    scale = config.size / max(pixels.shape[:2])
    size = [round(scale * n) for n in pixels.shape[1::-1]]
    small = Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    return jnp.asarray(np.asarray(small), jnp.float32) / 255


def energy(model, image, layer: str) -> float:
    """Mean square of a layer."""
    return float(jnp.mean(model.features(jnp.asarray(image)[None])[layer] ** 2))


def fall(config: Config, model, image, layer: str, rate: float, path: Path) -> None:
    """Writes the frames of a zoom as an animation."""
    size = (image.shape[0] // 2, image.shape[1] // 2, 3)
    small = jnp.clip(jax.image.resize(image, size, "linear"), 0, 1)  # weights add up to 1 + 1e-7

    def dream(key, frame):
        return deep_dream(
            *(key, model.features, frame, {layer: 1.0}),
            octaves=2,
            smallest=min(64, size[0]),
            steps=min(8, config.steps),
            learning_rate=rate / 2,
        )

    key = jax.random.key(config.seed)
    frames = zoom(key, dream, small, count=config.frames, factor=1.03)
    pixels = [np.rint(255 * np.asarray(frame)).astype(np.uint8) for frame in (small, *frames)]
    first, *others = map(Image.fromarray, pixels)
    first.save(path, save_all=True, append_images=others, duration=80, loop=0, quality=85)


def by_layer(image, dreams: dict, gains: dict, seconds: dict) -> Section:
    """The image, and its dream by each layer."""
    figures = [Figure(np.asarray(image), "The photograph.")]
    figures += [Figure(dream, f"Dream of {layer}.") for layer, dream in dreams.items()]
    rows = [(layer, gains[layer], seconds[layer]) for layer in dreams]
    table = Table(("layer", "mean square, dream / photograph", "seconds"), rows)
    text = (
        "Shallow layers see edges and patterns, deeper ones parts of what the network was trained "
        "on. Seconds include compilation, once for each size of the image."
    )
    return Section("By layer", text, figures=figures, table=table)


def by_guide(guide, guided, layer: str) -> Section:
    """The guide, and the image with its features."""
    figures = [Figure(np.asarray(guide), "The guide."), Figure(guided, f"Its {layer} enhanced.")]
    text = "Each position grows like the guide's features that suit it most."
    return Section("By another image", text, figures=figures)
