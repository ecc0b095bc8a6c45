"""A set of twelve images, and training that only returns the model it was given."""

import numpy as np
import pytest
from flax import nnx

from lectures_jax.data import Splits


def splits(size: int = 8, levels: int = 17) -> Splits:
    """Random images of three classes."""
    rng = np.random.default_rng(0)

    def some(count: int) -> dict[str, np.ndarray]:
        values = rng.integers(0, levels, (count, size, size, 1)) / (levels - 1)
        return {
            "image": values.astype(np.float32),
            "labels": np.arange(count, dtype=np.int32) % 3,
        }

    return Splits(some(12), some(6), ("a", "b", "c"), levels)


def skip_training(monkeypatch: pytest.MonkeyPatch, recipe, name: str = "fit") -> None:
    """Makes a recipe return its model untrained: what surrounds the training is tested."""

    def untrained(key, model, *_, **__):
        mode = {"deterministic": True, "use_running_average": True}
        return nnx.view(model, **mode, raise_if_not_found=False), []

    monkeypatch.setattr(recipe, name, untrained)
