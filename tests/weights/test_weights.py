"""safetensors files: round trips, other people's names, damage."""

import jax
import numpy as np
import pytest

from lectures_jax import weights

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
