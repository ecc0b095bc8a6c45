"""A network whose features dreams, styles and attacks can use: of a file, or trained on textures.

Without a file it is trained to tell from which of the built-in photographs a patch was cut, which
takes features of color, edges and texture. It is no network of ImageNet and knows no objects.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lectures_jax import data, weights
from lectures_jax.recipes import classifier
from lectures_jax.typing import Batch

SIDE = 48  # rows and columns of a patch, in pixels
LARGEST = 192  # side of the square that is reduced to a patch
TRAINED_ON = 0.75  # of the width of a photograph; test patches are cut from what is right of it
NOISE = 0.2  # largest standard deviation
PATCHES = 400  # of each photograph to train on


def feature_network(path: Path | None = None, out: Path | None = None, *, steps: int = 600) -> Any:
    """Returns a classifier of images in [0, 1] with `features(images)`, in evaluation mode.

    Args:
        path: safetensors file of torchvision's SqueezeNet 1.1; None for a small network that is
            trained on textures (90 s on two cores) and read back from then on.
        out: folder in which the trained network is kept; None for the user's cache.
        steps: of the training, if there is one.

    Raises:
        ValueError: if the file holds another network.
    """
    if path is not None:
        return weights.load_pretrained("squeezenet1_1", path=path)
    settings = classifier.Settings(
        steps=steps,
        batch_size=32,
        learning_rate=4e-3,
        augmentation="flip",
        smoothing=0.05,
        ema_decay=0.99,
    )
    count = min(PATCHES, 4 * steps)  # a short training sees no more
    return classifier.cached(settings, textures(count=count), folder=out)


def textures(*, count: int = PATCHES, seed: int = 0) -> data.Splits:
    """Returns patches of the built-in photographs, whose class is the photograph.

    Squares of 48 to 192 pixels are reduced to 48×48. Those to train on have other colors and noise,
    for a network that knows photographs by their colors alone, or by single pixels, has a gradient
    that shows no shapes. The right fourth of each photograph is only tested on.

    Args:
        count: patches of each photograph to train on; there are a fourth as many to test on.
        seed: of the places and sizes.
    """
    images, rng = data.photographs(), np.random.default_rng([seed, 2])
    cuts = {name: round(TRAINED_ON * image.shape[1]) for name, image in images.items()}
    train = [image[:, : cuts[name]] for name, image in images.items()]
    test = [image[:, cuts[name] :] for name, image in images.items()]
    trained_on = _labelled(train, np.random.default_rng([seed, 0]), count)
    trained_on["image"] = _disturbed(trained_on["image"], rng)
    tested_on = _labelled(test, np.random.default_rng([seed, 1]), count // 4)
    return data.Splits(trained_on, tested_on, tuple(images), 256)


def _labelled(images: list[np.ndarray], rng: np.random.Generator, count: int) -> Batch:
    labels = np.repeat(np.arange(len(images), dtype=np.int32), count)
    return {"image": np.concatenate([_patches(i, rng, count) for i in images]), "labels": labels}


def _patches(image: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Squares of random place and size, [count, 48, 48, 3]."""
    height, width = image.shape[:2]
    pixels = Image.fromarray(np.rint(255 * image).astype(np.uint8))
    patches = np.empty((count, SIDE, SIDE, 3), np.float32)
    for patch in patches:
        u = rng.uniform(size=3)
        side = SIDE * (min(LARGEST, height, width) / SIDE) ** u[0]
        x, y = u[1] * (width - side), u[2] * (height - side)
        box = (x, y, x + side, y + side)
        patch[:] = np.asarray(pixels.resize((SIDE, SIDE), Image.Resampling.BOX, box=box)) / 255
    return patches


def _disturbed(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each paler, of another tint, and with noise, by a different amount."""
    count = len(patches)
    gray = patches.mean(axis=3, keepdims=True)
    patches = gray + rng.uniform(0, 1.2, (count, 1, 1, 1)) * (patches - gray)
    patches = patches * np.exp(rng.normal(0, 0.25, (count, 1, 1, 3)))
    noise = rng.uniform(0, NOISE, (count, 1, 1, 1)) * rng.normal(size=patches.shape)
    return np.clip(patches + noise, 0, 1).astype(np.float32)
