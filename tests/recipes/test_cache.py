"""The user's cache folder, by the XDG specification."""

from pathlib import Path

import pytest

from lectures_jax.recipes.cache import cache_folder


def test_it_lies_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("models") == tmp_path / "lectures_jax" / "models"


@pytest.mark.parametrize("chosen", [None, "", "relative/path"])
def test_a_path_that_is_not_absolute_does_not_count(monkeypatch, tmp_path, chosen):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if chosen is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", chosen)
    assert cache_folder("xla") == Path(tmp_path, ".cache", "lectures_jax", "xla")
