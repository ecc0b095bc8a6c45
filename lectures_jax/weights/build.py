"""Models from plain settings, one builder per kind: what a saved file says about its network.

Settings are a dictionary that JSON can hold. Those below build the network; a training may add
others, such as what a sampler needs. Sizes may be lists or tuples. In brackets: optional, with the
default.

| kind | settings |
|---|---|
| detector | `classes`: names; `image_size`: [height, width] of the images trained on, in pixels; \
`anchors`: three lists of [width, height], the coarsest head first; `size`: the fields of \
`models.yolo.YoloSize` as a dictionary |
| classifier | `network`: "cnn", "resnet", "squeezenet", "vgg" or "xception"; `classes`: names; \
`image_size`: [height, width] of the images trained on; `inputs`: channels of the images (1: \
gray); for "cnn" `channels`: one list per stage, [`padding`: "SAME"] and [`dropout`: 0]; for the \
others `size`: the fields of their size, such as `models.resnet.ResNetSize`, as a dictionary; \
for "squeezenet" and "vgg" [`dropout`: 0.5]; for these and "resnet" [`normalize`: a dictionary of \
`mean` and `std`, a list of one number per channel each] |
| autoencoder | `shape`: of one example, [height, width, channels] or [entries]; `latent`: size of \
the code; `hidden`: units of the hidden layer; `dense`: true for dense networks, false for \
convolutions; [`squash`: "sigmoid", or "identity"] |
| vae | those of an autoencoder; `variance`: of a pixel, where training begins; \
`learned_variance`: whether the optimizer moves it |
| gan | `shape`: [height, width, channels]; `latent`: numbers in z; `channels`: of the generator, \
the smallest map first; `upsampling`: "subpixel", "resize" or "transposed"; `spectral`: whether \
the discriminator has spectral normalization |
| flow | `network`: "histogram" or "multiscale"; `shape`; `levels`: of a pixel; `classes`: names, \
empty for a flow without classes; [`dropout`: 0]; for "histogram" `hidden`: sizes of the hidden \
layers, a list; for "multiscale" `hidden`: channels, a number, `dense`: couplings of the coarsest \
map, [`scales`: 2] and [`steps`: 4] |
| diffusion | `shape`: [height, width, channels]; `classes`: names, empty for a network without \
classes; `channels`: of each level; `patch`: side of a cell in pixels; [`prediction`: "velocity", \
or "noise"], [`blocks`: 1], \
[`condition`: 128], [`groups`: 8], [`dropout`: 0] |
| stylizer | `size`: the fields of `models.transform_net.TransformNetSize` as a dictionary |
| darknet | `classes`: names; `image_size`: [height, width] of the images, in pixels; `cfg`: text \
of the configuration; [`epsilon`: 1e-5] of batch normalization, [`resize`: "letterbox", \
"darknet_letterbox" or "darknet_stretch"] of images, see `weights.Detector` |
| segmenter | `network`: "unet" or "fcn"; `classes`: names, the background included; \
`image_size`: [height, width] of the images trained on; `inputs`: channels of the images; \
[`normalize`, as for a classifier]; for "unet" `channels`: of each level, `padding`: "VALID" or \
"SAME", `batch_norm`, and [`dropout`: 0]; for "fcn" `size`: the fields of `models.vgg.VggSize` as \
a dictionary, `stride`: 32, 16 or 8, `join`: "sum" or "concat", and [`dropout`: 0.5] |
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import jax
from flax import nnx

from lectures_jax.models import resnet, squeezenet, vgg, xception, yolo
from lectures_jax.models.autoencoder import (
    Autoencoder,
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    dense_encoder,
)
from lectures_jax.models.cnn import Cnn
from lectures_jax.models.darknet_network import DarknetNetwork
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.models.fcn import Fcn
from lectures_jax.models.flow import Flow
from lectures_jax.models.gan import Gan, dcgan
from lectures_jax.models.image_flow import histogram_flow, multiscale_flow
from lectures_jax.models.transform_net import TransformNet, TransformNetSize
from lectures_jax.models.unet import UNet
from lectures_jax.models.vae import Vae
from lectures_jax.models.yolo import Yolo
from lectures_jax.nn.classifier import Classifier
from lectures_jax.nn.preprocessing import Normalize
from lectures_jax.nn.upsampling import ResizeConv, SubpixelConv, TransposedConv
from lectures_jax.weights.darknet_cfg import parse_darknet_config
from lectures_jax.weights.schema import check_settings

ModelSettings = Mapping[str, Any]
"""The sizes of a network and the names of its classes, as JSON holds them."""

SQUASH = {"sigmoid": jax.nn.sigmoid, "identity": jax.nn.identity}
UPSAMPLING = {"subpixel": SubpixelConv, "resize": ResizeConv, "transposed": TransposedConv}
CLASSIFIERS: dict[str, tuple[Callable[..., Classifier], type, tuple[str, ...]]] = {
    "resnet": (resnet.ResNet, resnet.ResNetSize, ("normalize",)),
    "squeezenet": (squeezenet.SqueezeNet, squeezenet.SqueezeNetSize, ("dropout", "normalize")),
    "vgg": (vgg.Vgg, vgg.VggSize, ("dropout", "normalize")),
    "xception": (xception.Xception, xception.XceptionSize, ()),
}
"""Networks that have a size, and the optional settings of each."""
MAX_MASK = 2**27  # weights of a masked layer, whose mask is an array while the network is built


def build_model(kind: str, settings: ModelSettings, *, rngs: nnx.Rngs) -> Any:
    """Returns a network with fresh parameters.

    Args:
        kind: one of `KINDS`, such as "classifier".
        settings: what the network's constructor needs; the table at the top of this file.
        rngs: for the parameters.

    Raises:
        ValueError: if the kind is unknown, a setting is missing, of a wrong type or beyond the
            limits of `weights.schema`, or the network refuses one.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    check_settings(kind, settings)
    return KINDS[kind](settings, rngs)


def _detector(settings: ModelSettings, rngs: nnx.Rngs) -> Yolo:
    return Yolo(
        len(settings["classes"]),
        anchors=settings["anchors"],
        size=_size(yolo.YoloSize, settings["size"]),
        rngs=rngs,
    )


def _classifier(settings: ModelSettings, rngs: nnx.Rngs) -> Classifier:
    if settings["network"] == "cnn":
        return Cnn(
            len(settings["classes"]),
            channels=settings["channels"],
            inputs=settings["inputs"],
            padding=settings.get("padding", "SAME"),
            dropout=settings.get("dropout", 0.0),
            rngs=rngs,
        )
    network, size, optional = CLASSIFIERS[settings["network"]]
    options = {name: settings[name] for name in optional if name in settings}
    if "normalize" in options:
        options["normalize"] = Normalize(**options["normalize"])
    return network(
        len(settings["classes"]),
        size=_size(size, settings["size"]),
        inputs=settings["inputs"],
        rngs=rngs,
        **options,
    )


def _autoencoder(settings: ModelSettings, rngs: nnx.Rngs) -> Autoencoder:
    encoder, decoder = _encoder_and_decoder(settings, settings["latent"], rngs)
    return Autoencoder(encoder, decoder, squash=SQUASH[settings.get("squash", "sigmoid")])


def _vae(settings: ModelSettings, rngs: nnx.Rngs) -> Vae:
    encoder, decoder = _encoder_and_decoder(settings, 2 * settings["latent"], rngs)
    return Vae(
        encoder,
        decoder,
        squash=SQUASH[settings.get("squash", "sigmoid")],
        variance=settings["variance"],
        learned_variance=settings["learned_variance"],
    )


def _encoder_and_decoder(settings: ModelSettings, outputs: int, rngs: nnx.Rngs) -> tuple[Any, Any]:
    """Networks from an example to so many numbers, and from a code to an example."""
    shape, latent, hidden = tuple(settings["shape"]), settings["latent"], settings["hidden"]
    if settings["dense"]:
        encoder = dense_encoder(shape, outputs, hidden=(hidden,), rngs=rngs)
        return encoder, DenseDecoder(latent, shape, hidden=(hidden,), rngs=rngs)
    encoder = ConvEncoder(shape, outputs, hidden=hidden, rngs=rngs)
    return encoder, ConvDecoder(latent, shape, hidden=hidden, rngs=rngs)


def _gan(settings: ModelSettings, rngs: nnx.Rngs) -> Gan:
    return dcgan(
        settings["shape"],
        latent=settings["latent"],
        channels=settings["channels"],
        up=UPSAMPLING[settings["upsampling"]],
        spectral=settings["spectral"],
        rngs=rngs,
    )


def _flow(settings: ModelSettings, rngs: nnx.Rngs) -> Flow:
    height, width, channels = settings["shape"]
    shape = (height, width, channels)
    common: dict[str, Any] = {
        "classes": len(settings["classes"]),
        "dropout": settings.get("dropout", 0.0),
        "rngs": rngs,
    }
    if settings["network"] == "histogram":
        hidden, levels = tuple(settings["hidden"]), settings["levels"]
        sizes = (math.prod(shape), *hidden, math.prod(shape) * levels)
        if (most := max(a * b for a, b in pairwise(sizes))) > MAX_MASK:
            raise ValueError(
                f"the largest layer of a flow must have {MAX_MASK:,} weights at most, got {most:,}."
            )
        return histogram_flow(shape, levels=levels, hidden=hidden, **common)
    return multiscale_flow(
        shape,
        scales=settings.get("scales", 2),
        steps=settings.get("steps", 4),
        hidden=settings["hidden"],
        dense=settings["dense"],
        **common,
    )


def _diffusion(settings: ModelSettings, rngs: nnx.Rngs) -> Denoiser:
    return Denoiser(
        channels=tuple(settings["channels"]),
        inputs=settings["shape"][-1],
        num_classes=len(settings["classes"]),
        patch=settings["patch"],
        blocks=settings.get("blocks", 1),
        condition=settings.get("condition", 128),
        groups=settings.get("groups", 8),
        dropout=settings.get("dropout", 0.0),
        rngs=rngs,
    )


def _stylizer(settings: ModelSettings, rngs: nnx.Rngs) -> TransformNet:
    return TransformNet(size=_size(TransformNetSize, settings["size"]), rngs=rngs)


def _darknet(settings: ModelSettings, rngs: nnx.Rngs) -> DarknetNetwork:
    config = parse_darknet_config(settings["cfg"])
    classes = {head.classes for head in config.heads.values()}
    if classes and classes != {len(settings["classes"])}:
        got = len(settings["classes"])
        raise ValueError(f"classes must be {max(classes)} names as in the cfg, got {got}.")
    return DarknetNetwork(config, epsilon=settings.get("epsilon", 1e-5), rngs=rngs)


def _segmenter(settings: ModelSettings, rngs: nnx.Rngs) -> UNet | Fcn:
    options: dict[str, Any] = {"inputs": settings["inputs"], "rngs": rngs}
    if "dropout" in settings:
        options["dropout"] = settings["dropout"]
    if "normalize" in settings:
        options["normalize"] = Normalize(**settings["normalize"])
    if settings["network"] == "fcn":
        return Fcn(
            len(settings["classes"]),
            size=_size(vgg.VggSize, settings["size"]),
            stride=settings["stride"],
            join=settings["join"],
            **options,
        )
    return UNet(
        len(settings["classes"]),
        channels=tuple(settings["channels"]),
        padding=settings["padding"],
        batch_norm=settings["batch_norm"],
        **options,
    )


def _size(cls: type, fields: ModelSettings) -> Any:
    """The size of a model, a frozen dataclass: lists become tuples, so that it can be hashed."""
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


KINDS: dict[str, Callable[[ModelSettings, nnx.Rngs], Any]] = {
    "detector": _detector,
    "classifier": _classifier,
    "autoencoder": _autoencoder,
    "vae": _vae,
    "gan": _gan,
    "flow": _flow,
    "diffusion": _diffusion,
    "stylizer": _stylizer,
    "darknet": _darknet,
    "segmenter": _segmenter,
}
"""The builder of each kind."""
