"""In which order the rows of a set are visited."""

import sys
from functools import lru_cache

import numpy as np


class Order:
    """The rows of a set, epoch after epoch without end, each epoch in another order.

    `order[index]` is a look-up, whichever index is asked for first, and an epoch costs one
    permutation, so that small sets are not slower than large ones.

    Args:
        rows: how many the set has.
        seed: that alone gives the order, at least 0; None keeps the rows' own.

    Raises:
        ValueError: if the seed is negative.
    """

    def __init__(self, rows: int, *, seed: int | None):
        if seed is not None and seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}.")
        self.rows, self.seed = rows, seed
        # Two epochs, because a batch may begin in one and end in the next.
        self._epoch = lru_cache(maxsize=2)(self._permutation)

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> int:
        epoch, row = divmod(index, self.rows)
        return int(self._epoch(epoch)[row])

    def span(self, start: int, count: int) -> np.ndarray:
        """Returns the rows at so many positions in a row.

        Args:
            start: the first position.
            count: of positions.
        """
        parts, stop = [], start + count
        while start < stop:
            epoch, row = divmod(start, self.rows)
            parts.append(self._epoch(epoch)[row : row + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> np.ndarray:
        if self.seed is None:
            return np.arange(self.rows)
        return np.random.default_rng((self.seed, epoch)).permutation(self.rows)
