"""A generative model's samples on one sheet."""

from pathlib import Path

import jax
from PIL import Image

from lectures_jax import report
from lectures_jax.recipes import diffusion, flow, gan, vae
from lectures_jax.runtime import atomic_write
from lectures_jax.weights import SavedModel

SAMPLERS = {
    "vae": vae.sample,
    "gan": gan.sample,
    "flow": flow.sample,
    "diffusion": diffusion.sample,
}
"""`(model, settings, key, count) -> images` by kind."""


def draw_samples(saved: SavedModel, out: Path, *, count: int, seed: int) -> int:
    """Draws samples to `samples.png`; those of a VAE decode codes from its prior N(0, I).

    The Gaussian mixture that a VAE's experiment fits to the codes afterwards is not in the model's
    file.

    Args:
        saved: the model.
        out: folder for the sheet.
        count: samples.
        seed: of the samples; the same seed gives the same sheet.

    Returns:
        The exit code 0.
    """
    images = SAMPLERS[saved.kind](saved.model, saved.settings, jax.random.key(seed), count)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "samples.png"
    with atomic_write(path) as scratch:
        Image.fromarray(report.sheet(images)).save(scratch, format="PNG")
    codes = ", of codes from the prior N(0, I)" if saved.kind == "vae" else ""
    print(f"{count} samples of a {saved.kind}{codes}: {path}")
    return 0
