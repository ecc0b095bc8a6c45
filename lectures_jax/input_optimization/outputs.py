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
        ValueError: if the network does not take images of this shape, with the reason that it gave,
            or a map of its has no cell.
    """
    expected = f"{name} must be of a shape that the network takes, got {list(images.shape)}"
    try:
        outputs = _call.eval_shape(as_argument(network), images)
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0].removesuffix(".")
        raise ValueError(f"{expected}: {reason}.") from error
    if 0 not in images.shape and any(0 in output.shape for output in jax.tree.leaves(outputs)):
        raise ValueError(f"{expected}: a map has no cell.")
    return outputs


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


def check_maps(outputs: Any, layers: Iterable[str], *, name: str) -> None:
    """Refuses layers that are no maps [batch, rows, columns, channels] of at least one cell.

    Args:
        outputs: maps by name, or their shapes.
        layers: names of maps.
        name: of the argument that has them, for the message.

    Raises:
        ValueError: with the names of the maps.
    """
    if not isinstance(outputs, Mapping):
        raise ValueError(f"{name} must be of maps by name, such as those of features, got logits.")
    maps = {key: value for key, value in outputs.items() if value.ndim == 4}
    for layer in layers:
        if layer not in maps:
            raise ValueError(f"{name} must be of the maps {', '.join(maps)}, got {layer!r}.")


@jax.jit
def _call(network: Network, images: Any) -> Any:
    return network(images)
