"""What a network returns, known without running it: names and shapes of its maps."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from lectures_jax.input_optimization.loop import as_argument

Network = Callable[[Any], Any]
"""`images -> {layer: map}`, such as `model.features`, or `images -> logits`, such as `model`."""


def output_shapes(network: Network, images: Any, *, name: str) -> Any:
    """Returns shapes and dtypes in place of what the network returns.

    It is traced once for each shape of images.

    Args:
        network: a function of images.
        images: arrays, or their shapes.
        name: of the argument that the images come from, for the message.

    Raises:
        ValueError: if the network does not take images of this shape, with the reason that it gave.
    """
    try:
        return _call.eval_shape(as_argument(network), images)
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0].removesuffix(".")
        expected = f"{name} must be of a shape that the network takes"
        raise ValueError(f"{expected}, got {list(images.shape)}: {reason}.") from error


def check_layers(outputs: Any, layers: Iterable[str | None]) -> None:
    """Refuses layers that the network does not return.

    Args:
        outputs: maps by name, or logits, or their shapes.
        layers: names of maps, or None for logits.

    Raises:
        ValueError: with the names of the maps.
    """
    for layer in layers:
        if not isinstance(outputs, Mapping):
            if layer is not None:
                raise ValueError(f"layer must be None for a network of logits, got {layer!r}.")
        elif layer not in outputs:
            raise ValueError(f"layer must be one of {', '.join(outputs)}, got {layer!r}.")


@jax.jit
def _call(network: Network, images: Any) -> Any:
    return network(images)
