import importlib
import sys

import pytest

import lectures_jax.data  # noqa: F401 (so that there is something to forget)


@pytest.mark.parametrize("name", ["grain", "PIL", "defusedxml"])
def test_without_the_extra_one_line_says_what_to_install(monkeypatch, name):
    for key in [key for key in sys.modules if key.startswith("lectures_jax.data")]:
        monkeypatch.delitem(sys.modules, key)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{name}.*pip install 'lectures_jax\[experiments\]'"):
        importlib.import_module("lectures_jax.data")
