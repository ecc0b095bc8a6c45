"""A generative model's samples on one sheet."""

from pathlib import Path

import jax
from PIL import Image

from lectures_jax import report
from lectures_jax.cli.predict.use import Use
from lectures_jax.runtime import atomic_write


def draw_samples(use: Use, out: Path, *, count: int, seed: int) -> int:
    """Draws samples to `samples.png`; those of a VAE decode codes from its prior N(0, I).

    The Gaussian mixture that a VAE's experiment fits to the codes afterwards is not in the model's
    file.

    Args:
        use: the model; answers `(key, count)` with images.
        out: folder for the sheet.
        count: samples.
        seed: of the samples; the same seed gives the same sheet.

    Returns:
        The exit code 0.
    """
    images = use.answer(jax.random.key(seed), count)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "samples.png"
    with atomic_write(path) as scratch:
        Image.fromarray(report.sheet(images)).save(scratch, format="PNG")
    codes = ", of codes from the prior N(0, I)" if use.kind == "vae" else ""
    print(f"{count} samples of a {use.kind}{codes}: {path}")
    return 0
