"""What tests of ops share."""

import jax
import pytest


@pytest.fixture
def x64():
    """Double precision."""
    with jax.enable_x64(True):
        yield
