"""Files that others read, trees of a Flax model, damage at every byte of the header, crashes."""

import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from lectures_jax import weights
from lectures_jax.weights import safetensors_io

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)

names = st.one_of(
    st.integers(0, 12),
    st.sampled_from(["kernel", "bias", "007", "1e3", "é", "a b", "__metadata", "٣", "-1"]),
)
leaves = st.sampled_from([ARRAY, ARRAY.T, np.zeros((0, 3)), np.array(2, np.float16), ARRAY[0] > 1])
trees = st.recursive(leaves, lambda node: st.dictionaries(names, node, min_size=1, max_size=3))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@settings(max_examples=50, deadline=None)
@given(tree=st.dictionaries(names, trees, max_size=3))
def test_any_tree_comes_back_with_its_keys_dtypes_and_shapes(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("tree") / "a.safetensors"
    weights.save_safetensors(path, tree)
    loaded, metadata = weights.load_safetensors(path)
    assert metadata == {}
    assert_same(loaded, tree)


def assert_same(a, b):
    """Compares trees that JAX refuses: a dictionary with both integers and texts for keys."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert {(type(k), k) for k in a} == {(type(k), k) for k in b}
        for key in a:
            assert_same(a[key], b[key])
    else:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, strict=True)


def test_the_state_of_a_flax_model_comes_back(path):
    def model(seed):
        rngs = nnx.Rngs(seed)
        blocks = [nnx.BatchNorm(2, rngs=rngs), nnx.Linear(2, 3, rngs=rngs)]
        return nnx.Sequential(*blocks)

    saved, other = model(0), model(1)
    weights.save_safetensors(path, nnx.to_pure_dict(nnx.state(saved)))
    state = nnx.state(other)
    nnx.replace_by_pure_dict(state, weights.load_safetensors(path)[0])
    nnx.update(other, state)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(other), nnx.state(saved))


def test_names_are_joined_by_dots_for_other_programs(path):
    weights.save_safetensors(path, {"layers": {0: {"kernel": ARRAY.T}}}, metadata={"a": "1"})
    arrays = load_file(path)
    assert list(arrays) == ["layers.0.kernel"]
    np.testing.assert_array_equal(arrays["layers.0.kernel"], ARRAY.T)


def test_bfloat16_is_kept(path):
    weights.save_safetensors(path, {"x": jnp.ones(3, jnp.bfloat16)})
    assert weights.load_safetensors(path)[0]["x"].dtype == jnp.bfloat16


def test_every_array_of_a_torchvision_file_is_loaded(shared_data):
    path = shared_data / "pretrained" / "squeezenet1_1.safetensors"
    tree, _ = weights.load_safetensors(path)
    assert len(jax.tree.leaves(tree)) == len(load_file(path)) == 52
    assert tree["features"][3]["expand3x3"]["bias"].shape == (64,)


@pytest.mark.parametrize("length", [0, 7, 8, 40, -1])
def test_a_truncated_file_is_refused(path, length):
    weights.save_safetensors(path, {"x": ARRAY})
    path.write_bytes(path.read_bytes()[:length])
    message = f"model.safetensors: expected a sound safetensors file, got {path.stat().st_size} byt"
    with pytest.raises(ValueError, match=message):
        weights.load_safetensors(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04" * 100, b"{}" * 50, b"\0" * 100])
def test_a_file_of_another_format_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a sound safetensors file, got"):
        weights.load_safetensors(path)


def test_a_folder_is_refused_and_a_missing_file_is_named(path):
    with pytest.raises(ValueError, match="got a folder"):
        weights.load_safetensors(path.parent)
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        weights.load_safetensors(path)


@pytest.mark.parametrize("other", ["a.b", "a.b.c.d"])
def test_an_array_inside_of_another_is_refused(path, other):
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({"a.b.c": entry, other: entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match="no array to lie inside of another"):
        weights.load_safetensors(path)


@pytest.mark.parametrize("key", ["a.b", "", "0", -1, 1.5, None, True])
def test_a_key_that_would_not_come_back_is_refused(path, key):
    with pytest.raises(ValueError, match="keys without dots"):
        weights.save_safetensors(path, {"layer": {key: ARRAY}})


@pytest.mark.parametrize("leaf", [None, 1.0, [ARRAY], np.array("a"), jax.random.key(0)])
def test_a_leaf_that_is_no_array_of_numbers_is_refused(path, leaf):
    with pytest.raises(ValueError, match=r"in layer\.x"):
        weights.save_safetensors(path, {"layer": {"x": leaf}})
    assert not path.exists()


def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    weights.save_safetensors(path, {"x": ARRAY})

    def crash(_, file, metadata):
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors_io, "save_file", crash)
    with pytest.raises(OSError, match="no space"):
        weights.save_safetensors(path, {"x": -ARRAY})
    np.testing.assert_array_equal(weights.load_safetensors(path)[0]["x"], ARRAY)
    assert list(path.parent.iterdir()) == [path]
