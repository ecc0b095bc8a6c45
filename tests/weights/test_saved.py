"""Models of every kind come back from their files as they were; other files are refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import train, weights
from lectures_jax.models import resnet, squeezenet, transform_net, vgg, xception
from tests.detectors import ANCHORS, TINY

SHAPE = [8, 8, 1]
CODE = {"shape": SHAPE, "latent": 2, "hidden": 4, "dense": True}
NAMES = ["cat", "dog"]
CLASSIFIER = {"classes": NAMES, "image_size": [8, 8], "inputs": 1}
RESNET = dataclasses.asdict(resnet.ResNetSize((1, 1), (4, 8), large=False))
SQUEEZENET = dataclasses.asdict(squeezenet.SqueezeNetSize(4, 3, (1,), 2, 2))
VGG = dataclasses.asdict(vgg.VggSize((1, 1), (2, 4), batch_norm=True, hidden=4))
NORMALIZE = {"mean": [0.5], "std": [0.25]}
TRANSFORM_NET = dataclasses.asdict(transform_net.TransformNetSize((2, 3, 4), 1, 3))
XCEPTION = dataclasses.asdict(xception.XceptionSize((2, 4), 1, (4,), 1, (4, 8), (8, 8)))
UNET = CLASSIFIER | {
    "network": "unet",
    "channels": [2, 4],
    "padding": "SAME",
    "batch_norm": True,
    "dropout": 0.25,
    "normalize": NORMALIZE,
}
FCN = CLASSIFIER | {
    "network": "fcn",
    "size": VGG | {"convolutions": [1] * 5, "channels": [2] * 5},
    "stride": 8,
    "join": "sum",
    "dropout": 0.25,
    "normalize": NORMALIZE,
}
DETECTOR = {
    "classes": NAMES,
    "image_size": [64, 96],
    "anchors": ANCHORS,
    "size": dataclasses.asdict(TINY),
}
GAN = {
    "shape": SHAPE,
    "latent": 3,
    "channels": [8, 4],
    "upsampling": "subpixel",
    "spectral": True,
}
DARKNET = {
    "classes": NAMES[:1],
    "image_size": [8, 8],
    "cfg": "[net]\nwidth=8\nheight=8\n[conv]\nfilters=2\nbatch_normalize=1\n[dropout]\n"
    "[conv]\nfilters=6\nactivation=linear\n[yolo]\nanchors=2,2\nclasses=1\n",
    "epsilon": 1e-6,
}
HISTOGRAM = {
    "network": "histogram",
    "shape": [4, 4, 1],
    "levels": 5,
    "hidden": [8],
    "classes": NAMES,
    "dropout": 0.5,
}
MULTISCALE = HISTOGRAM | {"network": "multiscale", "hidden": 2, "dense": 2, "steps": 1}
DIFFUSION = {"shape": SHAPE, "classes": NAMES, "channels": [8], "patch": 2, "steps": 100}


def call(model, x):
    return model(x)


def flow(model, x):
    return model.log_prob(x), model.sample(jax.random.key(0), 2)


def gan(model, x):
    return model(x[:, 0, :3, 0]), model.logits(x)


def denoise(model, x):
    return model(x, jnp.full(len(x), 0.5), jnp.zeros(len(x), jnp.int32))


MODELS = [
    ("detector", DETECTOR, call, (64, 96, 3)),
    ("classifier", CLASSIFIER | {"network": "cnn", "channels": [[4]], "dropout": 0.5}, call, SHAPE),
    (
        "classifier",
        CLASSIFIER | {"network": "resnet", "size": RESNET, "normalize": NORMALIZE},
        call,
        SHAPE,
    ),
    (
        "classifier",
        CLASSIFIER | {"network": "squeezenet", "size": SQUEEZENET, "normalize": NORMALIZE},
        call,
        SHAPE,
    ),
    ("classifier", CLASSIFIER | {"network": "vgg", "size": VGG, "dropout": 0.25}, call, SHAPE),
    ("classifier", CLASSIFIER | {"network": "xception", "size": XCEPTION}, call, SHAPE),
    ("autoencoder", CODE, call, SHAPE),
    ("autoencoder", CODE | {"dense": False, "squash": "identity"}, call, SHAPE),
    ("vae", CODE | {"variance": 0.05, "learned_variance": True}, call, SHAPE),
    ("vae", CODE | {"dense": False, "variance": 1.0, "learned_variance": False}, call, SHAPE),
    ("gan", GAN, gan, SHAPE),
    ("gan", GAN | {"upsampling": "resize", "spectral": False}, gan, SHAPE),
    ("gan", GAN | {"upsampling": "transposed"}, gan, SHAPE),
    ("flow", HISTOGRAM, flow, (4, 4, 1)),
    ("flow", MULTISCALE | {"classes": []}, flow, (4, 4, 1)),
    ("diffusion", DIFFUSION, denoise, SHAPE),
    ("stylizer", {"size": TRANSFORM_NET}, call, (8, 8, 3)),
    ("darknet", DARKNET, call, (8, 8, 3)),
    ("segmenter", UNET, call, SHAPE),
    ("segmenter", FCN, call, (32, 32, 1)),
    ("segmenter", UNET | {"padding": "VALID", "batch_norm": False}, call, (18, 20, 1)),
]
IDS = [f"{kind}-{settings.get('network', n)}" for n, (kind, settings, *_) in enumerate(MODELS)]


def trained(kind, settings):
    """A model none of whose numbers has the value that it is built with."""
    model = weights.build_model(kind, settings, rngs=nnx.Rngs(1))
    state = nnx.state(model, nnx.Not(nnx.RngState))
    changed = jax.tree.map(lambda x: x + 0.01 if x.dtype == jnp.float32 else x, state)
    nnx.update(model, changed)
    return model


def outputs(model, function, shape):
    x = jax.random.uniform(jax.random.key(2), (2, *shape))
    structure, state = nnx.split(model)
    return jax.jit(lambda state: function(nnx.merge(structure, state), x))(state)


@pytest.mark.parametrize(("kind", "settings", "function", "shape"), MODELS, ids=IDS)
def test_a_model_comes_back_bit_for_bit(tmp_path, kind, settings, function, shape):
    path = tmp_path / "model.safetensors"
    model = trained(kind, settings)
    weights.save_model(path, model, kind=kind, settings=settings)
    loaded = weights.load_model(path)
    assert (loaded.kind, loaded.settings) == (kind, json.loads(json.dumps(settings)))
    expected = outputs(train.state.evaluation_view(model), function, shape)
    jax.tree.map(np.testing.assert_array_equal, outputs(loaded.model, function, shape), expected)


def small():
    kind, settings, *_ = MODELS[1]
    return weights.build_model(kind, settings, rngs=nnx.Rngs(0)), kind, settings


def test_buffers_come_back_and_dropout_is_off(tmp_path):
    model, kind, settings = small()
    model.stages[0][0].norm.mean[...] = jnp.arange(4.0)
    weights.save_model(tmp_path / "a.safetensors", model, kind=kind, settings=settings)
    loaded = weights.load_model(tmp_path / "a.safetensors").model
    np.testing.assert_array_equal(loaded.stages[0][0].norm.mean[...], np.arange(4.0))
    assert loaded.dropout.deterministic
    assert loaded.stages[0][0].norm.use_running_average


def test_whole_numbers_come_back_as_such(tmp_path):
    settings = CODE | {"variance": 1.0, "learned_variance": False}
    model = weights.build_model("vae", settings, rngs=nnx.Rngs(0))
    model.steps[...] = jnp.int32(2**24 + 1)  # no float32
    weights.save_model(tmp_path / "a.safetensors", model, kind="vae", settings=settings)
    assert weights.load_model(tmp_path / "a.safetensors").model.steps[...] == 2**24 + 1


def test_a_loaded_model_can_be_trained_further(tmp_path):
    model, kind, settings = small()
    weights.save_model(tmp_path / "a.safetensors", model, kind=kind, settings=settings)
    loaded = weights.load_model(tmp_path / "a.safetensors").model
    training = nnx.view(loaded, deterministic=False, use_running_average=False)
    images = jnp.ones((2, 8, 8, 1))
    first, second = (training(images, key=jax.random.key(n)) for n in range(2))
    assert (first != second).any()


def test_the_file_has_float32_arrays_the_settings_and_the_usual_permissions(tmp_path):
    path, mine = tmp_path / "a.safetensors", tmp_path / "mine"
    model, kind, settings = small()
    weights.save_model(path, model, kind=kind, settings=settings)
    tree, metadata = weights.load_safetensors(path)
    assert {x.dtype for x in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
    assert metadata == {"kind": kind, "settings": json.dumps(settings)}
    mine.touch()
    assert path.stat().st_mode == mine.stat().st_mode  # 0644 with the usual mask


def test_half_precision_is_written_as_float32(tmp_path):
    model, kind, settings = small()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), nnx.state(model, nnx.Param))
    nnx.update(model, half)
    weights.save_model(tmp_path / "a.safetensors", model, kind=kind, settings=settings)
    loaded = weights.load_model(tmp_path / "a.safetensors").model
    kernel = loaded.classify.kernel[...]
    assert kernel.dtype == jnp.float32
    np.testing.assert_array_equal(kernel, model.classify.kernel[...].astype(jnp.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": [[5]]}, "settings must build this classifier, got"),
        (
            {"network": "mlp"},
            "network of a classifier must be cnn, resnet, squeezenet, vgg or xception",
        ),
        ({"inputs": None}, "inputs of a classifier must be a whole number from 1 to 64, got None"),
        ({"classes": {"cat", "dog"}}, "settings must be values of JSON"),
        ({"rate": float("nan")}, "settings must be values of JSON"),
    ],
)
def test_settings_that_do_not_build_the_model_are_refused(tmp_path, change, message):
    model, kind, settings = small()
    with pytest.raises(ValueError, match=message):
        weights.save_model(tmp_path / "a", model, kind=kind, settings=settings | change)
    assert not list(tmp_path.iterdir())


def test_a_missing_setting_and_an_unknown_kind_are_named():
    with pytest.raises(ValueError, match="settings of a gan must hold 'spectral', got shape"):
        weights.build_model(
            "gan", {k: v for k, v in GAN.items() if k != "spectral"}, rngs=nnx.Rngs(0)
        )
    with pytest.raises(ValueError, match=r"kind must be one of detector, classifier, .* 'chair'"):
        weights.build_model("chair", {}, rngs=nnx.Rngs(0))
