"""Handwritten digits that need no download: 1,797 images of 8×8 pixels."""

from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32

from lectures_jax.typing import Batch

Split = Literal["train", "validation", "test"]
"""70, 10 and 20 % of each class."""


def digits(*, split: Split = "train") -> Batch:
    """Returns the handwritten digits of a split: `image` [n, 8, 8, 1] in [0, 1] and `labels` [n].

    Args:
        split: 70, 10 or 20 % of each class; `digit_scenes` draws the same digits.

    Raises:
        ImportError: without scikit-learn.

    Source:
        Alpaydin & Kaynak (1998), UCI "Optical Recognition of Handwritten Digits".
    """
    images, labels = handwritten(split)
    return {"image": images[..., None], "labels": labels}


def handwritten(split: Split) -> tuple[Float32[np.ndarray, "n 8 8"], Int32[np.ndarray, " n"]]:
    """Returns the digits of a split, in [0, 1], and their labels.

    The splits are stratified by class and never change.

    Args:
        split: which digits.

    Raises:
        ImportError: without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits need scikit-learn: pip install 'lectures_jax[experiments]'"
        ) from error
    ink, target = load_digits(return_X_y=True)
    images = np.asarray(ink, np.float32).reshape(-1, 8, 8) / 16
    labels = np.asarray(target, np.int32)
    rng = np.random.default_rng(0)
    chosen = []
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(labels == digit))
        a, b = round(0.7 * len(members)), round(0.8 * len(members))
        parts = {"train": members[:a], "validation": members[a:b], "test": members[b:]}
        chosen.append(parts[split])
    chosen = np.sort(np.concatenate(chosen))
    return images[chosen], labels[chosen]
