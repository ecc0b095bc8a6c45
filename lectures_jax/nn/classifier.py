"""What every classifier of images has in common: a dense layer on its pooled features."""

from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.typing import Key


class Classifier(nnx.Module):
    """`model(images)` gives the logits, `classify(features(images)["pooled"])`.

    A network sets `classify`, a dense layer, and `dropout`, where it has one, and defines
    `features`.
    """

    classify: nnx.Linear
    dropout: nnx.Dropout | None = None

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the maps by name, then the vector `pooled`."""
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
