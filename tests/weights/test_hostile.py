"""Model files of strangers: what does not fit, is not finite or asks for too much is refused."""

import dataclasses
import json
import os
import struct
import time

import jax
import numpy as np
import pytest
from flax import nnx

from lectures_jax import weights
from lectures_jax.models import resnet, xception, yolo
from lectures_jax.weights import saved as saved_module
from lectures_jax.weights.schema import SCHEMA, check_settings
from tests.weights.test_saved import (
    CLASSIFIER,
    CODE,
    DETECTOR,
    DIFFUSION,
    GAN,
    HISTOGRAM,
    MODELS,
    MULTISCALE,
    RESNET,
    XCEPTION,
    small,
)

KERNEL = "classify.kernel"
BIAS = "classify.bias"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def refused(path, message):
    """Loads a file, which must end in one line that names it, soon."""
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message) as error:
        weights.load_model(path)
    line = str(error.value)
    assert line.startswith(f"{path}: expected ")
    assert "\n" not in line
    assert len(line) < 800
    assert time.perf_counter() - start < 10  # two on an idle machine


def write(path, change, settings=None):
    """The small classifier's file after `change`, which gets its arrays by name."""
    model, kind, own = small()
    state = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))
    arrays = {
        jax.tree_util.keystr(at, simple=True, separator="."): np.array(leaf)
        for at, leaf in jax.tree.leaves_with_path(state)
    }
    change(arrays)
    metadata = {"kind": kind, "settings": json.dumps(settings or own)}
    saved_module.save_safetensors(path, nested(arrays), metadata=metadata)


def nested(arrays):
    tree = {}
    for name, array in arrays.items():
        *parents, last = (int(p) if p.isdecimal() else p for p in name.split("."))
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = array
    return tree


def with_value(value):
    def change(arrays):
        arrays[KERNEL][0, 0] = value

    return change


CHANGES = {
    "a missing tensor": (lambda a: a.pop(KERNEL), f"got nothing and not float32.* as {KERNEL}"),
    "a missing average": (
        lambda a: a.pop("stages.0.0.norm.var"),
        r"got nothing and not .* as stages\.0\.0\.norm\.var",
    ),
    "a foreign tensor": (
        lambda a: a.update(more=np.zeros(3, np.float32)),
        r"got float32\[3\] and not nothing as more",
    ),
    "an integer kernel": (
        lambda a: a.update({KERNEL: a[KERNEL].astype(np.int32)}),
        f"got int32.* and not float32.* as {KERNEL}",
    ),
    "a boolean kernel": (lambda a: a.update({KERNEL: a[KERNEL] > 0}), r"got bool\["),
    "a float64 kernel": (
        lambda a: a.update({KERNEL: a[KERNEL].astype(np.float64)}),
        r"got float64\[",
    ),
    "a float16 kernel": (
        lambda a: a.update({KERNEL: a[KERNEL].astype(np.float16)}),
        r"got float16\[",
    ),
    "a bias that broadcasts": (
        lambda a: a.update({BIAS: a[BIAS][:1]}),
        rf"got float32\[1\] and not float32\[2\] as {BIAS}",
    ),
    "a scalar bias": (lambda a: a.update({BIAS: a[BIAS][0]}), r"got float32\[\] and not"),
    "a transposed kernel": (lambda a: a.update({KERNEL: a[KERNEL].T}), r"got float32\[2, 4\]"),
    "NaN": (with_value(np.nan), f"must be finite, got NaN or infinity in {KERNEL}"),
    "infinity": (with_value(-np.inf), "must be finite"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_arrays_that_are_not_the_model_s_are_refused(path, change):
    write(path, *CHANGES[change][:1])
    refused(path, CHANGES[change][1])


def test_what_does_not_fit_is_refused_before_an_array_is_read(path, monkeypatch):
    def read(*_):
        raise AssertionError("arrays were read")

    write(path, CHANGES["a bias that broadcasts"][0])
    monkeypatch.setattr(saved_module, "read_arrays", read)
    refused(path, "the arrays must fit the settings")


MANY = 10**4
FULL_SIZE = {
    "classifier cnn": ("classifier", CLASSIFIER | {"network": "cnn", "channels": [[4] * MANY]}),
    "classifier cnn stages": ("classifier", CLASSIFIER | {"network": "cnn", "channels": [[4]] * 9}),
    "classifier resnet": (
        "classifier",
        CLASSIFIER | {"network": "resnet", "size": RESNET | {"blocks": [MANY, 1]}},
    ),
    "classifier xception": (
        "classifier",
        CLASSIFIER | {"network": "xception", "size": XCEPTION | {"middle": MANY}},
    ),
    "detector": ("detector", DETECTOR | {"size": DETECTOR["size"] | {"blocks": [MANY, 1, 1, 1]}}),
    "detector depth": ("detector", DETECTOR | {"size": DETECTOR["size"] | {"depth": MANY}}),
    "detector canvas": ("detector", DETECTOR | {"image_size": [32 * MANY, 32]}),
    "gan": ("gan", GAN | {"channels": [4] * 20}),
    "gan channels": ("gan", GAN | {"channels": [10**6, 10**6]}),
    "autoencoder": ("autoencoder", CODE | {"shape": [MANY, MANY, 3]}),
    "vae": ("vae", CODE | {"variance": 1.0, "learned_variance": True, "latent": 10**9}),
    "flow steps": ("flow", MULTISCALE | {"steps": MANY}),
    "flow scales": ("flow", MULTISCALE | {"scales": MANY}),
    "flow dense": ("flow", MULTISCALE | {"dense": MANY}),
    "flow levels": ("flow", HISTOGRAM | {"levels": 10**9}),
    "flow mask": ("flow", HISTOGRAM | {"shape": [512, 512, 1], "levels": 256, "hidden": [4096]}),
    "flow hidden": ("flow", HISTOGRAM | {"hidden": [4] * MANY}),
    "diffusion": ("diffusion", DIFFUSION | {"blocks": MANY}),
    "diffusion schedule": ("diffusion", DIFFUSION | {"schedule_steps": 10**12}),
    "diffusion image": ("diffusion", DIFFUSION | {"shape": [4096, 4096, 1]}),
    "stylizer": ("stylizer", {"size": {"blocks": MANY}}),
    "stylizer kernel": ("stylizer", {"size": {"kernel": MANY + 1}}),
    "a number of 400 digits": ("gan", GAN | {"latent": 10**400}),
}


@pytest.mark.parametrize("case", FULL_SIZE)
def test_settings_of_a_huge_network_are_refused_before_memory_is_taken(path, case):
    kind, settings = FULL_SIZE[case]
    metadata = {"kind": kind, "settings": json.dumps(settings)}
    weights.save_safetensors(path, {"kernel": np.zeros(3, np.float32)}, metadata=metadata)
    refused(path, r"sound model file: [\w ]+ (of|in) .* must (be|have) .*, got")


ONE_OF_EACH = {
    kind + settings.get("network", ""): (kind, settings) for kind, settings, *_ in MODELS
}
SETTINGS = [(key, name) for key, (_, settings) in ONE_OF_EACH.items() for name in sorted(settings)]
TRAINING_S_OWN = {("diffusion", "steps")}


@pytest.mark.parametrize(("key", "name"), SETTINGS)
def test_each_setting_is_checked(key, name):
    kind, settings = ONE_OF_EACH[key]
    if (key, name) in TRAINING_S_OWN:
        pytest.skip("of no rule")
    check_settings(kind, settings)
    for junk in (None, -1, 10**9, 0.5j, "\x00", "x", float("nan"), [[]], {"a": 1}, [10**9] * 3):
        with pytest.raises(ValueError, match=rf"\b{name}\b.* must (be|have) .+, got ") as error:
            check_settings(kind, settings | {name: junk})
        assert "\n" not in str(error.value)


SIZES = [
    (key, name) for key, (_, settings) in ONE_OF_EACH.items() for name in settings.get("size", ())
]


@pytest.mark.parametrize(("key", "name"), SIZES)
def test_each_field_of_a_size_is_checked(key, name):
    kind, settings = ONE_OF_EACH[key]
    for junk in (None, -1, 10**9, "x", [[]], [10**9] * 3):
        size = settings["size"] | {name: junk}
        with pytest.raises(ValueError, match=f"{name} in the size of a {kind} must be .+, got "):
            check_settings(kind, settings | {"size": size})


def test_every_kind_has_rules():
    assert set(SCHEMA) == {kind for kind, *_ in MODELS}


def test_the_limits_leave_room_for_published_networks():
    names = [f"class {i}" for i in range(1000)]
    common = {"classes": names, "image_size": [224, 224], "inputs": 3}
    resnet152 = dataclasses.asdict(resnet.ResNetSize((3, 8, 36, 3), bottleneck=True))
    full = dataclasses.asdict(xception.FULL)
    check_settings("classifier", common | {"network": "resnet", "size": resnet152})
    check_settings("classifier", common | {"network": "xception", "size": full})
    detector = {"image_size": [608, 608], "anchors": yolo.COCO_ANCHORS}
    size = dataclasses.asdict(yolo.FULL)
    check_settings("detector", {"classes": names[:80], "size": size} | detector)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"x": "1"}, "expected a model saved by save_model, got other weights"),
        ({"kind": "chair", "settings": "{}"}, "kind must be one of"),
        ({"kind": "gan", "settings": "{"}, "expected settings in JSON, got '{'"),
        ({"kind": "gan", "settings": "[" * 10**6}, "expected settings in JSON"),
        ({"kind": "gan", "settings": " " * 10**7}, "expected settings of at most"),
        ({"kind": "gan", "settings": "[]"}, r"expected settings in JSON, got '\[\]'"),
        ({"kind": "gan", "settings": "{}"}, "settings of a gan must hold 'upsampling', got noth"),
        ({"kind": "gan", "settings": json.dumps(GAN)}, "the arrays must fit the settings"),
    ],
)
def test_a_file_of_something_else_is_refused(path, metadata, message):
    weights.save_safetensors(path, {"kernel": np.zeros(3, np.float32)}, metadata=metadata)
    refused(path, message)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_file_is_refused(path, damage):
    model, kind, settings = small()
    weights.save_model(path, model, kind=kind, settings=settings)
    content = {"truncated": path.read_bytes()[:-8], "garbage": b"\xff" * 100, "empty": b""}[damage]
    path.write_bytes(content)
    refused(path, "expected a sound safetensors file, got")


def test_a_sparse_file_is_refused_by_its_size(path):
    entry = {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}
    header = json.dumps({"kernel": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, path.stat().st_size + 2**32)
    refused(path, "expected at most 2,147,483,648 bytes, got 4,294,967,3")


def test_more_arrays_than_any_network_has_are_refused(path):
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"a{i}": entry for i in range(30_000)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(path, "expected at most 20,000 arrays, got 30,000")


@pytest.mark.parametrize("load", [weights.load_model, weights.load_safetensors])
def test_a_pipe_a_device_and_a_folder_are_no_files(tmp_path, load):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero", "."):
        with pytest.raises(ValueError, match="expected a sound safetensors file, got"):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError) as error:
        load(tmp_path / "none")
    assert error.value.filename == str(tmp_path / "none")
