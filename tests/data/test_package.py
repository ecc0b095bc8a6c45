import importlib
import sys

import pytest

import lectures_jax.data


@pytest.mark.parametrize("name", ["grain", "PIL", "defusedxml"])
def test_without_the_extra_one_line_says_what_to_install(monkeypatch, name):
    kept = {key: module for key, module in sys.modules.items() if "lectures_jax.data" in key}
    for key in kept:
        monkeypatch.delitem(sys.modules, key)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{name}.*pip install 'lectures_jax\[experiments\]'"):
        importlib.import_module("lectures_jax.data")
    monkeypatch.setattr("lectures_jax.data", lectures_jax.data)
