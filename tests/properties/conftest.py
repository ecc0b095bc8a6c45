"""Settings of the laws."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def everything_cached():
    """What is not compiled as one program is many small ones, which the cache keeps as well."""
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)
