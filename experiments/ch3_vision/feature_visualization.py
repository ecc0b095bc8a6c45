"""What channels and classes look for, and what a layer still knows. CPU, 5 min; PSNR 34.

Images are optimized until a channel or class answers most, by frequencies and by pixels; then a
photograph is reconstructed from the features of one layer after the other. Without a file the
network is a small one that knows the textures of ten photographs; with
`--network squeezenet1_1.safetensors` it has seen ImageNet.
"""

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from lectures_jax import data, metrics, report, runtime
from lectures_jax.data.images import decode_image
from lectures_jax.input_optimization import (
    Activation,
    Ascent,
    Fourier,
    Pixels,
    Transforms,
    activate,
    invert_features,
    maximize_activation,
)
from lectures_jax.recipes.feature_network import feature_network
from lectures_jax.report.page import Figure, Section, Table

TINY = {
    **{"size": 24, "steps": 1, "inversion_steps": 1, "channels": 2, "network_steps": 2},
    **{"classes": (0, 1), "layers": ("stage1",)},
}
EXPECTED = {"psnr_first": (30, None), "above_photographs": (0.7, None)}
LAYERS = {
    "squeezenet": ("conv1", "expand3", "expand5", "expand9"),
    "textures": ("norm1", "norm2", "norm3"),
}
"""Maps before ReLU, which have a gradient everywhere."""
INVERTED = {
    "squeezenet": ("conv1", "fire2", "fire5", "fire7"),
    "textures": ("stage1", "stage2", "stage3"),
}
SEVERAL = Transforms()
NO_TRANSFORMS = Transforms(0, (1.0, 1.0), 0.0)


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    network: Path | None = None
    """safetensors file of torchvision's SqueezeNet 1.1; None: a network of textures"""
    image: Path | None = None
    """to reconstruct from its features; None: an astronaut"""
    layers: tuple[str, ...] = ()
    """whose channels are shown and whose features inverted; empty: some of the network's"""
    size: int = 128
    """side of the optimized images, in pixels"""
    channels: int = 6
    """of each layer, evenly chosen"""
    classes: tuple[int, ...] = ()
    """to see, six at most; empty: the first six, of ImageNet some that one can name"""
    steps: int = 192
    """of Adam, for channels and classes"""
    inversion_steps: int = 300
    """of Adam, for reconstructions"""
    network_steps: int = 600
    """training steps of the network of textures"""
    seed: int = 0
    """of the first images and of the transforms"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Optimizes images for channels and classes, inverts layers, and writes the report."""
    out.mkdir(parents=True, exist_ok=True)
    model = feature_network(config.network, steps=config.network_steps)
    kind = "textures" if config.network is None else "squeezenet"
    natural = photographs(config)
    channel_sections, above = channels(config, model, kind, natural)
    image = photograph(config)
    ladder, psnr = inversions(config, model, kind, image)
    numbers = {
        "above_photographs": above,
        "psnr_first": next(iter(psnr.values())),
        **{f"psnr_{layer}": value for layer, value in psnr.items()},
    }
    report.page(
        out / "report.html",
        title="Feature visualization",
        summary="The image that a part of a network answers most to, and the image that a layer "
        "still knows.",
        numbers={
            "channels that answer more than to any photograph": above,
            f"PSNR from {next(iter(psnr))}, in dB": numbers["psnr_first"],
        },
        sections=[
            channel_sections,
            classes(config, model, kind),
            parameterizations(config, model, kind, natural),
            ladder,
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def photographs(config: Config) -> np.ndarray:
    """Ten photographs as squares of the optimized images' size."""
    images = data.photographs().values()
    return np.stack([square(np.rint(255 * image), config.size) for image in images])


def photograph(config: Config) -> np.ndarray:
    """The image to reconstruct."""
    if config.image is not None:
        return square(decode_image(config.image), config.size)
    return square(np.rint(255 * data.photographs("astronaut")["astronaut"]), config.size)


def square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The middle of an image, as a square in [0, 1]."""
    side = min(pixels.shape[:2])
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    middle = Image.fromarray(pixels[top : top + side, left : left + side].astype(np.uint8))
    small = middle.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32) / 255


def ascend(
    config: Config,
    network,
    target: Activation,
    parameterization: Fourier | Pixels | None = None,
    transforms: Transforms = SEVERAL,
) -> tuple[Ascent, list[str]]:
    """Image ascent, and its warnings of channels that are dead behind ReLU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        result = maximize_activation(
            *(jax.random.key(config.seed), network, target),
            parameterization=parameterization or Fourier(config.size, config.size),
            transforms=transforms,
            steps=config.steps,
        )
    return result, [f"{warning.message}" for warning in caught]


def channels(config: Config, model, kind: str, natural: np.ndarray) -> tuple[Section, float]:
    """Images for some channels of each layer, and the share that beats all photographs."""
    maps = model.features(jnp.asarray(natural))
    figures, beaten, dead = [], [], []
    for layer in config.layers or LAYERS[kind]:
        width = maps[layer].shape[-1]
        chosen = np.linspace(0, width - 1, config.channels).astype(int)
        result, notes = ascend(config, model.features, Activation(layer, channel=chosen))
        dead += notes
        most = [float(activate(maps, Activation(layer, channel=int(c))).max()) for c in chosen]
        beaten += list(np.asarray(result.activations) > np.asarray(most))
        grid = report.grid(list(np.asarray(result.images)), columns=3)
        figures.append(Figure(grid, f"{layer}, channels {', '.join(map(str, chosen))}."))
    text = (
        "Each image maximizes the mean of one channel over its positions, through random shifts, "
        "scalings and rotations."
    )
    text = "\n\n".join([text, *dead])
    return Section("Channels", text, figures=figures), float(np.mean(beaten))


def classes(config: Config, model, kind: str) -> Section:
    """Images for some classes; SqueezeNet's are taken before its last ReLU."""
    default = (1, 130, 292, 388, 980, 985) if kind == "squeezenet" else tuple(range(6))
    chosen = np.asarray(config.classes or default)[:6]
    network, layer = (model.features, "scores") if kind == "squeezenet" else (model, None)
    result, dead = ascend(config, network, Activation(layer, channel=chosen))
    names = tuple(data.photographs()) if kind == "textures" else None
    words = [str(c) if names is None else names[c] for c in chosen]
    figure = Figure(report.grid(list(np.asarray(result.images)), columns=3), ", ".join(words) + ".")
    text = "Classes of ImageNet by their index." if names is None else "A class is a photograph."
    return Section("Classes", "\n\n".join([text, *dead]), figures=[figure])


def parameterizations(config: Config, model, kind: str, natural: np.ndarray) -> Section:
    """One channel by pixels and by frequencies, with and without transforms.

    It is the channel of the last layer whose mean over the photographs is the highest.
    """
    layer = (config.layers or LAYERS[kind])[-1]
    means = model.features(jnp.asarray(natural))[layer].mean(axis=(0, 1, 2))
    size, target = config.size, Activation(layer, channel=np.argmax(means))
    ways = {
        "pixels": (Pixels(size, size), NO_TRANSFORMS),
        "pixels, through transforms": (Pixels(size, size), SEVERAL),
        "frequencies": (Fourier(size, size), NO_TRANSFORMS),
        "frequencies, through transforms": (Fourier(size, size), SEVERAL),
    }
    figures, rows, dead = [], [], []
    for name, (parameterization, transforms) in ways.items():
        result, notes = ascend(config, model.features, target, parameterization, transforms)
        dead += notes
        figures.append(Figure(np.asarray(result.images[0]), name + "."))
        rows.append((name, float(result.activations[0])))
    text = (
        f"Channel {target.channel} of {layer}, the highest on average over the photographs. A high "
        "activation alone makes no image that one can read."
    )
    text = "\n\n".join([text, *dead])
    return Section("Parameterizations", text, figures, Table(("of", "activation"), rows))


def inversions(
    config: Config, model, kind: str, image: np.ndarray
) -> tuple[Section, dict[str, float]]:
    """The ladder of reconstructions, and their PSNR."""
    figures, rows, psnr = [Figure(image, "The photograph.")], [], {}
    for layer in config.layers or INVERTED[kind]:
        values = []
        for parameterization, rate in (
            (Pixels(config.size, config.size), 0.2),
            (Fourier(config.size, config.size), 0.1),
        ):
            result = invert_features(
                *(jax.random.key(config.seed), model.features, jnp.asarray(image), layer),
                parameterization=parameterization,
                steps=config.inversion_steps,
                learning_rate=rate,
            )
            values.append(float(metrics.psnr(result.image[None], image[None])[0]))
            name = "pixels" if isinstance(parameterization, Pixels) else "frequencies"
            figures.append(Figure(np.asarray(result.image), f"{layer}, {name}."))
        psnr[layer] = values[0]
        rows.append((layer, *values))
    table = Table(("features of", "PSNR by pixels, dB", "PSNR by frequencies, dB"), rows)
    text = "From nearly gray images to the features of one layer: what is left of the photograph."
    return Section("Reconstructions", text, figures, table), psnr
