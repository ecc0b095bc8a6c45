"""What a network returns, known without running it: names and shapes of its maps."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

Network = Callable[[Any], Any]
"""`images -> {layer: map}`, such as `model.features`, or `images -> logits`, such as `model`."""


def output_shapes(network: Network, images: Any) -> Any:
    """Returns shapes and dtypes in place of what the network returns.

    Args:
        network: a function of images.
        images: arrays, or their shapes.
    """
    return jax.eval_shape(network, images)


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
