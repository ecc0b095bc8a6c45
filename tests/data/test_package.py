import importlib
import sys

import pytest

import lectures_jax.data


@pytest.mark.parametrize("missing", ["grain", "PIL", "defusedxml"])
def test_without_the_extra_readers_say_what_to_install_and_the_rest_works(monkeypatch, missing):
    monkeypatch.setattr(lectures_jax, "data", lectures_jax.data)  # which comes back afterwards
    for key in [key for key in sys.modules if key.startswith("lectures_jax.data")]:
        monkeypatch.delitem(sys.modules, key)
    monkeypatch.setitem(sys.modules, missing, None)
    data = importlib.import_module("lectures_jax.data")
    assert next(data.repeat(data.xor(), 1))["x"].shape == (4, 2)
    assert callable(data.read_idx)
    message = rf"data\.read_voc needs {missing}: pip install 'lectures_jax\[experiments\]'"
    with pytest.raises(ImportError, match=message):
        from lectures_jax.data import read_voc  # noqa: F401
    with pytest.raises(ImportError, match=message):
        _ = data.read_voc
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = data.nothing
