"""Networks made of another: without batch normalization, and for other classes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax.models.darknet_layers import Convolutional, Head
from lectures_jax.models.darknet_network import DarknetNetwork, evaluated
from lectures_jax.typing import check_count


def fold_batch_norm(model: DarknetNetwork) -> DarknetNetwork:
    """Returns a network without batch normalization whose outputs in evaluation are the same.

    `scale · (W x − mean) / √(var + ε) + bias` is a convolution with bias: one pass less over each
    map. It cannot be trained as the other can.

    Args:
        model: which stays as it is.

    Source:
        Jacob et al. (2018), sec. 3.2.
    """
    layers = tuple(
        dataclasses.replace(layer, batch_normalize=False)
        if isinstance(layer, Convolutional)
        else layer
        for layer in model.config.layers
    )
    config = dataclasses.replace(model.config, layers=layers)
    folded = nnx.eval_shape(lambda: DarknetNetwork(config, rngs=nnx.Rngs(0)))
    folded.dropouts = nnx.clone(model.dropouts)
    for new, old in zip(folded.convolutions, model.convolutions, strict=True):
        if old.norm is None:
            new.conv = nnx.clone(old.conv)
            continue
        kernel, scale, bias, mean, var = (  # on the host: no program for each of many shapes
            np.asarray(x[...])
            for x in (old.conv.kernel, old.norm.scale, old.norm.bias, old.norm.mean, old.norm.var)
        )
        factor = scale / np.sqrt(var + np.float32(old.norm.epsilon))
        new.conv.kernel = nnx.Param(jnp.asarray(kernel * factor))
        new.conv.bias = nnx.Param(jnp.asarray(bias - mean * factor))
    return evaluated(folded)


def with_classes(model: DarknetNetwork, num_classes: int, *, rngs: nnx.Rngs) -> DarknetNetwork:
    """Returns a network for other classes: all layers but the last of each head keep their arrays.

    The new heads are YOLOv3's, as the objective trains them: linear, one logit per class, centers
    inside of their cells, and no suppression of their own.

    Args:
        model: which stays as it is.
        num_classes: number of classes of the new network.
        rngs: for the new layers.

    Raises:
        ValueError: if a head does not follow a convolution, or there is none.
    """
    check_count(num_classes=num_classes)
    layers = list(model.config.layers)
    for index, head in model.config.heads.items():
        before = layers[index - 1]
        if not isinstance(before, Convolutional):
            raise ValueError(f"layer {index} must follow a convolution, got {before}.")
        filters = len(head.anchors) * (5 + num_classes)
        layers[index - 1] = dataclasses.replace(before, filters=filters, activation="linear")
        layers[index] = Head(head.anchors, num_classes)
    if not model.config.heads:
        raise ValueError("config must have a head whose classes change, got a network without.")
    config = dataclasses.replace(model.config, layers=tuple(layers))
    fresh = DarknetNetwork(config, epsilon=model.epsilon, momentum=model.momentum, rngs=rngs)
    convolutions = zip(
        model.config.convolutions, fresh.convolutions, model.convolutions, strict=True
    )
    for index, new, old in convolutions:
        if index + 1 not in config.heads:
            nnx.update(new, nnx.state(old))
    return fresh
