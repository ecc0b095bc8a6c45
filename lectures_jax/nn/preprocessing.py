"""What networks of others expect of an image, as their first layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Normalize:
    """`(image − mean) / std`, channel by channel: constants that no training changes.

    It is a layer of its own and not folded into the first convolution. That would be exact without
    padding only: zeros around an image are its mean color once they have been normalized.

    Attributes:
        mean: of each channel, for images in [0, 1].
        std: standard deviation of each channel, above 0.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self):
        for name in ("mean", "std"):  # a network's structure is hashed
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if len(self.mean) != len(self.std) or not all(0 < s < math.inf for s in self.std):
            raise ValueError(f"std must be one number above 0 for each mean, got {self.std}.")
        if not all(map(math.isfinite, self.mean)):
            raise ValueError(f"mean must be finite, got {self.mean}.")

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the normalized images.

        Args:
            images: in [0, 1].

        Raises:
            ValueError: if the images have another number of channels.
        """
        if images.shape[-1] != len(self.mean):
            raise ValueError(
                f"images must have the {len(self.mean)} channels of mean {self.mean}, got "
                f"{images.shape[-1]}."
            )
        mean, std = (
            jnp.asarray(values, images.dtype).reshape(1, 1, 1, -1)
            for values in (self.mean, self.std)
        )
        return (images - mean) / std


IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""RGB of the photographs of ImageNet, as torchvision's networks expect it."""
