"""A layer whose kernel has the spectral norm 1."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops


class SpectralNorm(nnx.Module):
    """Calls a layer with its kernel divided by its largest singular value.

    One step of power iteration at each call follows the kernel as it is trained; in evaluation
    (`nnx.view(model, use_running_average=True)`) the direction does not change. `nnx.SpectralNorm`
    writes the divided kernel back into the layer, and so cannot be called twice in a step, nor
    inside of a gradient with respect to the image, as gradient penalties do.
    Source: Miyato et al. (2018), algorithm 1.

    Args:
        layer: has a `kernel` whose last axis is the outputs, such as an `nnx.Linear` or a `Conv`.
    """

    def __init__(self, layer: Any, *, rngs: nnx.Rngs):
        self.layer = layer
        outputs = layer.kernel[...].shape[-1]
        self.direction = nnx.BatchStat(jax.random.normal(rngs.params(), (outputs,)))
        self.use_running_average = False

    def __call__(self, x: Float[Array, "b *_"]) -> Float[Array, "b *_"]:
        kernel = self.layer.kernel[...]
        norm, direction = ops.spectral_norm(kernel, self.direction[...])
        if not self.use_running_average:
            self.direction[...] = direction
        layer = nnx.clone(self.layer)
        layer.kernel[...] = kernel / norm
        return layer(x)

    def set_view(self, use_running_average: bool | None = None):
        """Called by `nnx.view`.

        Args:
            use_running_average: True leaves the direction as it is.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average
