"""Random crops of one size from images of any sizes, for training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lectures_jax.data.arrays import Batches, batches
from lectures_jax.typing import Batch, check_count


class Crops(Iterator[Batch]):
    """Crops without end, as `crops` returns them; a checkpoint holds their position."""

    def __init__(
        self, examples: Sequence[Mapping[str, np.ndarray]], rows: Batches, size: int, seed: int
    ):
        self._examples, self._rows, self._size, self._seed = examples, rows, size, seed

    def __next__(self) -> Batch:
        # Corners depend on the position alone, so that a run that resumes draws the same ones.
        rng = np.random.default_rng((self._seed, self._rows.get_state()["drawn"]))
        chosen = [self._examples[row] for row in next(self._rows)["row"]]
        corners = rng.random((len(chosen), 2))
        cut = [_cut(e, c, self._size) for e, c in zip(chosen, corners, strict=True)]
        batch = {name: np.stack([crop[name] for crop in cut]) for name in cut[0]}
        batch["image"] = np.multiply(batch["image"], np.float32(1 / 255), dtype=np.float32)
        return batch

    def get_state(self) -> dict[str, int]:
        """Returns the position, as JSON holds it."""
        return self._rows.get_state()

    def set_state(self, state: Any) -> None:
        """Goes on from a position.

        Args:
            state: as `get_state` returned it.

        Raises:
            ValueError: if it is another iterator's.
        """
        self._rows.set_state(state)


def crops(
    examples: Sequence[Mapping[str, np.ndarray]], *, size: int, batch_size: int, seed: int = 0
) -> Crops:
    """Returns batches of random crops without end, each epoch in another order, for training.

    An image that is smaller than a crop is continued by its reflection, and so are the arrays
    beside it.

    Args:
        examples: `image` uint8 [h, w, c] and other arrays [h, w, …] of the same pixels each; the
            sizes may differ from image to image.
        size: rows and columns of a crop.
        batch_size: crops per batch, each of another image where there are enough.
        seed: for order and places, at least 0.

    Returns:
        An iterator with `get_state` and `set_state`; of its batches `image` is float32 in [0, 1].

    Raises:
        ValueError: if there is no example, a size is below 1, `seed` is below 0, or the arrays of
            an example differ in size.
    """
    check_count(size=size, batch_size=batch_size)
    for i, example in enumerate(examples):
        sizes = {name: array.shape[:2] for name, array in example.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"arrays of example {i} must be of one size, got {sizes}.")
    rows = batches({"row": np.arange(len(examples))}, batch_size=batch_size, seed=seed)
    return Crops(examples, rows, size, seed)


def _cut(example: Mapping[str, np.ndarray], corner: np.ndarray, size: int) -> dict[str, np.ndarray]:
    sides = example["image"].shape[:2]
    starts = [int(c * max(n - size + 1, 1)) for c, n in zip(corner, sides, strict=True)]
    if min(sides) >= size:
        part = tuple(slice(start, start + size) for start in starts)
        return {name: array[part] for name, array in example.items()}
    index = (
        np.arange(start, start + size) % (2 * n) for start, n in zip(starts, sides, strict=True)
    )
    rows, columns = (np.minimum(i, 2 * n - 1 - i) for i, n in zip(index, sides, strict=True))
    return {name: array[np.ix_(rows, columns)] for name, array in example.items()}
