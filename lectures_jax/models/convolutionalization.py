"""Convolutionalization: a classifier of images becomes a network with a result for each position.

The first dense layer becomes a convolution with the size of the feature map that it sees, the
others 1×1 convolutions; a mean over the map becomes the mean over each window of the map's size.
Source: Long et al. (2015), sec. 3.1; Sermanet et al. (2014), sec. 3.5.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.models.mlp import Mlp
from lectures_jax.models.squeezenet import SqueezeNet
from lectures_jax.models.vgg import GRID, Vgg, grid_shares
from lectures_jax.nn.classifier import Classifier
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.images import check_images
from lectures_jax.typing import Key


class FullyConvolutional(nnx.Module):
    """`model(images)` gives the logits of a classifier at each of its positions on the images.

    Attributes:
        trunk: the classifier without its dense layers; None where these see the image itself.
        convs: in place of the dense layers.
        image_size: rows and columns that the classifier sees at each position.
        stride: pixels from one position to the next.
        exact: whether the result is the classifier's own at each position. It is not where the
            classifier pads its maps: a window inside of a larger image has pixels around it where
            the classifier was trained with zeros. It then is for images of `image_size` alone.
    """

    def __init__(
        self,
        trunk: Classifier | None,
        convs: Sequence[nnx.Conv],
        *,
        inputs: int,
        image_size: tuple[int, int],
        activation: Callable[[Array], Array] = jax.nn.relu,
        rectified: bool = False,
        mean_over: tuple[int, int] | None = None,
    ):
        self.trunk = trunk
        self.convs = nnx.List(convs)
        self.inputs = inputs
        self.image_size = image_size
        self.stride = 1 if trunk is None else trunk.stride
        self.exact = trunk is None or trunk.padding == "VALID"
        self.activation = activation
        self.rectified = rectified
        self.mean_over = mean_over

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b _ _ _"]]:
        """Returns the maps by name: `last_map`, what the dense layers saw, and `scores`.

        The scores are those of each position, or of each cell where a mean follows.

        Raises:
            ValueError: if the images are smaller than those that the classifier sees.
        """
        check_images(images, channels=self.inputs)
        if any(n < m for n, m in zip(images.shape[1:3], self.image_size, strict=True)):
            (h, w), (height, width) = images.shape[1:3], self.image_size
            raise ValueError(f"images must be {height}×{width} at least, got {h}×{w}.")
        x = maps = images if self.trunk is None else self.trunk.last_map(images)
        *hidden, last = self.convs
        for conv in hidden:
            x = self.activation(conv(x))
        return {"last_map": maps, "scores": last(x)}

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> Float[Array, "b p q k"]:
        """Returns the logits at position [p, q], for pixels from row `stride · p` on.

        Args:
            images: in [0, 1], of any size from `image_size` on.
            key: not used.
        """
        x = self.features(images)["scores"]
        x = jax.nn.relu(x) if self.rectified else x
        x = x if self.mean_over is None else ops.mean_pool(x, size=self.mean_over, stride=1)
        # Where the map ends before the image does, there is room for a window that looks beyond.
        rows, columns = (
            (n - m) // self.stride + 1
            for n, m in zip(images.shape[1:3], self.image_size, strict=True)
        )
        return x[:, :rows, :columns]


def convolutionalize(model: Classifier | Mlp, *, image_size: tuple[int, int]) -> FullyConvolutional:
    """Returns the fully convolutional network that slides a classifier over images of any size.

    On a larger image its result at [p, q] is that of the classifier for the part of the image that
    begins at pixel [s p, s q], with the stride s of its last map. That is exact for an `Mlp`, and
    for a `Cnn` or `Vgg` with the padding "VALID". Others (and every `ResNet`, `SqueezeNet` and
    `Xception`) see zeros around an image, which a part of a larger image does not have around it;
    the result is then another network's, which agrees with the classifier on images of its size.

    Args:
        model: a trained classifier; its arrays are shared, the dense kernels copied.
        image_size: rows and columns of the images that it was trained on.

    Returns:
        A network in the mode of the model, training or evaluation, without its dropout.

    Raises:
        ValueError: if the model is no classifier of images, or not of this size.
    """
    if isinstance(model, Mlp):
        return _from_mlp(model, image_size)
    if not isinstance(model, Classifier):
        raise ValueError(f"model must be a classifier or an Mlp, got {type(model).__name__}.")
    trunk: Classifier = nnx.clone(model)
    inputs: int = trunk.inputs  # pyright: ignore[reportAttributeAccessIssue]
    size = _map_size(trunk, inputs, image_size)
    if isinstance(model, Vgg):
        first, *others = model.hidden
        kernel = _from_grid(first.kernel[...], size)
        convs = [_conv(first, kernel), *map(_pointwise, others), _pointwise(model.classify)]
        del trunk.hidden, trunk.classify  # pyright: ignore[reportAttributeAccessIssue]
        return FullyConvolutional(trunk, convs, inputs=inputs, image_size=image_size)
    del trunk.classify
    return FullyConvolutional(
        trunk,
        [_pointwise(model.classify)],
        inputs=inputs,
        image_size=image_size,
        rectified=isinstance(model, SqueezeNet),
        mean_over=size,
    )


def _from_mlp(model: Mlp, image_size: tuple[int, int]) -> FullyConvolutional:
    first, *others = model.layers
    height, width = image_size
    kernel = ops.dense_to_conv(first.kernel[...], height=height, width=width)
    return FullyConvolutional(
        None,
        [_conv(first, kernel), *map(_pointwise, others)],
        inputs=kernel.shape[2],
        image_size=image_size,
        activation=model.activation,
    )


def _map_size(trunk: Classifier, inputs: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the last map of images of one size."""
    images = jax.ShapeDtypeStruct((1, *image_size, inputs), jnp.float32)
    shape = nnx.eval_shape(lambda network, x: network.last_map(x), trunk, images).shape
    return shape[1], shape[2]


def _from_grid(kernel: Float[Array, "n d"], size: tuple[int, int]) -> Float[Array, "h w c d"]:
    """The kernel on the map itself of a dense layer that sees 7×7 averages of its cells."""
    grid = ops.dense_to_conv(kernel, height=GRID, width=GRID)
    rows, columns = (jnp.asarray(grid_shares(n), kernel.dtype) for n in size)
    return jnp.einsum("ih,jw,ijcd->hwcd", rows, columns, grid, precision="highest")


def _pointwise(layer: nnx.Linear) -> nnx.Conv:
    return _conv(layer, ops.dense_to_conv(layer.kernel[...], height=1, width=1))


def _conv(layer: nnx.Linear, kernel: Float[Array, "h w c d"]) -> nnx.Conv:
    """The convolution of a kernel with the bias of a dense layer."""
    height, width, inputs, outputs = kernel.shape
    conv = Conv(
        inputs,
        outputs,
        (height, width),
        padding="VALID",
        use_bias=layer.bias is not None,
        dtype=layer.dtype,
        kernel_init=nnx.initializers.zeros,
        rngs=nnx.Rngs(0),
    )
    conv.kernel[...] = kernel
    if conv.bias is not None and layer.bias is not None:
        conv.bias[...] = layer.bias[...]
    return conv
