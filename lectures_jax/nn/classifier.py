"""What every classifier of images has in common: a dense layer on its pooled features."""

from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.typing import Key


class Classifier(nnx.Module):
    """`model(images)` gives the logits, `classify(features(images)["pooled"])`.

    A network sets `classify`, a dense layer, and `dropout`, where it has one, and defines
    `features`, `last_map` and `stride`.
    """

    classify: nnx.Linear
    dropout: nnx.Dropout | None = None
    padding: str = "SAME"

    @property
    def stride(self) -> int:
        """Pixels from one cell of the last map to the next."""
        raise NotImplementedError

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the maps by name, then the vector `pooled`."""
        raise NotImplementedError

    def last_map(self, images: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        """Returns the map that is pooled, or made a vector, before the dense layers."""
        raise NotImplementedError

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> Float[Array, "b k"]:
        """Returns the logits.

        Args:
            images: in [0, 1].
            key: for dropout.
        """
        x = self.features(images)["pooled"]
        return self.classify(x if self.dropout is None else self.dropout(x, rngs=key))
