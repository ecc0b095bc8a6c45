"""safetensors files: round trips, other people's names, damage; and a detector that comes back."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import weights
from lectures_jax.models.yolo import Yolo
from tests.detectors import ANCHORS, TINY

TREE = {
    "layers": {0: {"kernel": np.eye(3, dtype=np.float32)}, 1: {"bias": np.arange(2)}},
    "scale": np.float32(2),
}


def test_a_tree_with_numbered_keys_comes_back(tmp_path):
    weights.save_safetensors(tmp_path / "a.safetensors", TREE, metadata={"who": "me"})
    tree, metadata = weights.load_safetensors(tmp_path / "a.safetensors")
    assert jax.tree.structure(tree) == jax.tree.structure(TREE)
    jax.tree.map(np.testing.assert_array_equal, tree, TREE)
    assert metadata == {"who": "me"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_pytorch_s_names_become_a_tree(shared_data):
    tree, _ = weights.load_safetensors(shared_data / "pretrained" / "squeezenet1_1.safetensors")
    assert tree["features"][0]["weight"].shape == (64, 3, 3, 3)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "a.safetensors"
    weights.save_safetensors(path, TREE)
    content = {"truncated": path.read_bytes()[:-8], "garbage": b"\xff" * 100, "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors: expected a sound safetensors file, got"):
        weights.load_safetensors(path)


def test_a_key_with_a_dot_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keys without dots"):
        weights.save_safetensors(tmp_path / "a.safetensors", {"a.b": np.zeros(1)})


def test_a_detector_comes_back_with_its_classes_and_predictions(tmp_path):
    model = Yolo(2, anchors=ANCHORS, size=TINY, rngs=nnx.Rngs(1))
    model.backbone.stem.norm.mean[...] = jnp.arange(4.0)  # a buffer that is not its initial value
    weights.save_yolo(
        tmp_path / "model.safetensors", model, classes=("cat", "dog"), image_size=(64, 96)
    )
    loaded, classes, image_size = weights.load_yolo(tmp_path / "model.safetensors")
    assert (classes, image_size) == (("cat", "dog"), (64, 96))
    assert loaded.anchors == model.anchors
    np.testing.assert_array_equal(loaded.backbone.stem.norm.mean[...], np.arange(4.0))
    jax.tree.map(
        np.testing.assert_array_equal,
        nnx.to_pure_dict(nnx.state(model)),
        nnx.to_pure_dict(nnx.state(loaded)),
    )


def test_weights_of_something_else_are_no_detector(tmp_path):
    weights.save_safetensors(tmp_path / "a.safetensors", TREE, metadata={"x": json.dumps(1)})
    with pytest.raises(ValueError, match="expected a detector"):
        weights.load_yolo(tmp_path / "a.safetensors")
