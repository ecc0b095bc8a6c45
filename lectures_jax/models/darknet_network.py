"""The network that a Darknet configuration describes, of any of its detectors and classifiers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.models.darknet_boxes import Suppression, find_objects
from lectures_jax.models.darknet_config import DarknetConfig, reads
from lectures_jax.models.darknet_layers import (
    AvgPool,
    Convolutional,
    Dropout,
    Head,
    Layer,
    MaxPool,
    Reorg,
    Route,
    Shortcut,
    Softmax,
    Upsample,
)
from lectures_jax.nn.convolution import Conv, leaky_relu
from lectures_jax.nn.detection import Detections
from lectures_jax.nn.images import check_images
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.typing import Key, check_positive


def _hard_mish(x: Array) -> Array:
    return jnp.where(x > 0, x, jnp.where(x > -2, x * x / 2 + x, 0))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": jax.nn.identity,
    "logistic": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky": leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": jax.nn.gelu,
    "tanh": jnp.tanh,
    "swish": jax.nn.swish,
    "mish": jax.nn.mish,
    "hard_mish": _hard_mish,
}
"""The functions by Darknet's names. Source: AlexeyAB's fork of Darknet, `activations.h`."""


class DarknetConv(nnx.Module):
    """A convolution, batch normalization where the configuration has it, and an activation."""

    def __init__(
        self,
        layer: Convolutional,
        inputs: int,
        *,
        epsilon: float,
        momentum: float,
        head: Head | None,
        rngs: nnx.Rngs,
    ):
        around = layer.padding * layer.dilation
        self.conv = Conv(
            inputs,
            layer.filters,
            (layer.size, layer.size),
            strides=(layer.stride_y, layer.stride_x),
            padding=around,
            kernel_dilation=layer.dilation,
            feature_group_count=layer.groups,
            use_bias=not layer.batch_normalize,
            kernel_init=he_normal,
            rngs=rngs,
        )
        self.norm = (
            BatchNorm(layer.filters, momentum=momentum, epsilon=epsilon, rngs=rngs)
            if layer.batch_normalize
            else None
        )
        if self.norm is None and head is not None:
            # Almost every slot is empty, so the objectness starts at 0.7 % and not at one half.
            bias = jnp.zeros((len(head.anchors), 5 + head.classes)).at[:, 4].set(-5.0)
            self.conv.bias = nnx.Param(bias.ravel())
        self.activation = ACTIVATIONS[layer.activation]

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        x = self.conv(x)
        return self.activation(x if self.norm is None else self.norm(x))


class DarknetNetwork(nnx.Module):
    """A network from a Darknet configuration: `model(images)` gives the raw heads.

    Args:
        config: what `weights.read_darknet_config` reads.
        epsilon: added to the variances that batch normalization divides by.
        momentum: of batch normalization's moving averages.

    Attributes:
        config: the configuration.
        convolutions: the layers that have parameters, in the order of the file of weights.
        anchors: width and height in pixels of each head's anchors, heads in the order of the file.
        strides: pixels per cell of each head.
        num_classes: number of classes; 0 without a head.

    Raises:
        LayerError: if the layers do not fit each other.

    Source:
        Redmon, "Darknet: open source neural networks in C" (2013 to 2016); AlexeyAB's fork.
    """

    def __init__(
        self,
        config: DarknetConfig,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.95,
        rngs: nnx.Rngs,
    ):
        shapes, heads = config.shapes(), config.heads
        self.config = config
        self.epsilon = epsilon
        self.momentum = momentum
        self.anchors = tuple(head.anchors for head in heads.values())
        self.strides = config.strides()
        self.num_classes = max((head.classes for head in heads.values()), default=0)
        self.convolutions = nnx.List(
            DarknetConv(
                layer,
                shapes[index - 1][2] if index else config.channels,
                epsilon=epsilon,
                momentum=momentum,
                head=heads.get(index + 1),
                rngs=rngs,
            )
            for index, layer in config.convolutions.items()
        )
        self.dropouts = nnx.List(
            nnx.Dropout(layer.probability, rngs=rngs)
            for layer in config.layers
            if isinstance(layer, Dropout)
        )

    def features(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> dict[str, Float[Array, "b _ _ _"]]:
        """Returns every layer's map, `layer0`, `layer1`, …, as Darknet counts them.

        Args:
            images: in [0, 1], height and width multiples of the largest stride.
            key: for dropout, in training.

        Raises:
            ValueError: if images are of another kind or size.
        """
        check_images(images, channels=self.config.channels)
        largest = max(self.strides, default=1)
        if images.shape[1] % largest or images.shape[2] % largest:
            raise ValueError(f"images must be multiples of {largest} pixels, got {images.shape}.")
        maps: list[Array] = []
        convolutions, dropouts = iter(self.convolutions), iter(self.dropouts)
        for index, layer in enumerate(self.config.layers):
            inputs = [images if i == -1 else maps[i] for i in reads(layer, index)]
            match layer:
                case Convolutional():
                    x = next(convolutions)(inputs[0])
                case Dropout():
                    key, own = (None, None) if key is None else jax.random.split(key)
                    x = next(dropouts)(inputs[0], rngs=own)
                case _:
                    x = _apply(layer, inputs)
            maps.append(x)
        return {f"layer{index}": x for index, x in enumerate(maps)}

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> tuple[Float[Array, "b _ _ f"], ...]:
        """Returns the raw heads, or the last layer's map of a network without heads.

        Args:
            images: in [0, 1], height and width multiples of the largest stride.
            key: for dropout, in training.

        Raises:
            ValueError: if images are of another kind or size.
        """
        maps = self.features(images, key=key)
        outputs = list(self.config.heads) or [len(self.config.layers) - 1]
        return tuple(maps[f"layer{index}"] for index in outputs)

    def predict(
        self,
        images: Float[Array | np.ndarray, "b h w c"],
        *,
        max_outputs: int = 100,
        score_threshold: float = 0.01,
        iou_threshold: float = 0.5,
        sigma: float = 0.5,
        suppression: Suppression = "hard",
        class_agnostic: bool = False,
    ) -> Detections:
        """Returns the objects in each image, after suppression; compiled once for a shape.

        Args:
            images: in [0, 1].
            max_outputs: largest number of boxes per image.
            score_threshold: boxes with a lower score are dropped.
            iou_threshold: a box is suppressed if its IoU ("hard"), or its IoU less the distance of
                the centers ("diou"), with a box of higher score is larger.
            sigma: width of the Gaussian by which "soft" lowers the scores of boxes that overlap.
            suppression: "hard", "soft" or "diou", see `ops.nms`, `ops.soft_nms`, `ops.diou_nms`; or
                "darknet", as the configuration says.
            class_agnostic: a box carries its best class only, and suppresses boxes of any class.

        Raises:
            ValueError: if the network has no heads, or an argument is out of its range.
        """
        if not self.config.heads:
            raise ValueError("config must have a head to predict boxes, got a network without.")
        check_positive(sigma=sigma)
        check_images(images, channels=self.config.channels)
        return _predict(
            *nnx.split(evaluated(self)),
            images,
            max_outputs=max_outputs,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            sigma=sigma,
            suppression=suppression,
            class_agnostic=class_agnostic,
        )


def evaluated(model: Any) -> Any:
    """Returns a view of a network that evaluates: no dropout, batch norm's averages.

    Args:
        model: whose arrays the view shares.
    """
    return nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)


def _apply(layer: Layer, inputs: list[Array]) -> Array:
    """The result of a layer without parameters."""
    x = inputs[0]
    match layer:
        case MaxPool(size, stride, padding):
            ends = (padding // 2, padding - padding // 2)
            return ops.max_pool(x, size=size, stride=stride, padding=(ends, ends))
        case Route(_, groups, group_id):
            parts = [jnp.split(part, groups, axis=-1)[group_id] for part in inputs]
            return jnp.concatenate(parts, axis=-1)
        case Shortcut(_, activation):
            for other in inputs[1:]:  # of maps of different depth the channels that both have
                shared = min(x.shape[-1], other.shape[-1])
                x = x.at[..., :shared].add(other[..., :shared])
            return ACTIVATIONS[activation](x)
        case Upsample(stride, scale):
            return ops.upsample_nearest(x, factor=stride) * scale
        case Reorg(stride):
            return _reorg(x, stride)
        case AvgPool():
            return jnp.mean(x, axis=(1, 2), keepdims=True)
        case Softmax(groups, temperature):
            parts = x.reshape(*x.shape[:-1], groups, -1)
            return jax.nn.softmax(parts / temperature).reshape(x.shape)
    return x  # a head, whose numbers are decoded elsewhere


def _reorg(x: Float[Array, "b h w c"], stride: int) -> Float[Array, "b _ _ _"]:
    b, h, w, c = x.shape
    s = stride
    blocks = jnp.moveaxis(x, -1, 1).reshape(b, c // s**2, h, s, w, s)
    planes = jnp.transpose(blocks, (0, 3, 5, 1, 2, 4)).reshape(b, c * s**2, h // s, w // s)
    return jnp.moveaxis(planes, 1, -1)


@partial(
    jax.jit, static_argnums=0, static_argnames=("max_outputs", "suppression", "class_agnostic")
)
def _predict(structure: Any, state: Any, images: Array, **options) -> Detections:
    model = nnx.merge(structure, state)
    heads, (height, width) = list(model.config.heads.values()), images.shape[1:3]
    size = height, width
    return find_objects(model(images), heads, model.strides, image_size=size, **options)
