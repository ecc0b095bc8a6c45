"""Which checkpoints of a run are kept: the two newest and the best."""

import math

from lectures_jax.train.history import Row


class Retention:
    """Knows the sound checkpoints of a run and what was measured there.

    Args:
        best: metric whose highest value marks the checkpoint to keep, or None.
    """

    def __init__(self, best: str | None):
        self._best = best
        self._sound, self._scores = list[int](), dict[int, float]()

    def add_older(self, step: int) -> None:
        """Adds a sound checkpoint that is older than all known ones.

        Args:
            step: of it.
        """
        self._sound.insert(0, step)

    def saved(self, step: int) -> None:
        """Adds a new checkpoint, which takes the place of those from its step on.

        Args:
            step: of it.
        """
        self._sound = [*[old for old in self._sound if old < step], step]
        self._scores.pop(step, None)

    def evaluated(self, step: int, evaluation: Row | None) -> None:
        """Notes a checkpoint's score, if its evaluation has it.

        Args:
            step: of the checkpoint.
            evaluation: of that step, or None.
        """
        if evaluation and self._best in evaluation:
            self._scores[step] = _score(evaluation[self._best])

    def improves(self, evaluation: Row) -> bool:
        """Returns whether an evaluation's metric is above that of every checkpoint.

        Args:
            evaluation: of a step without a checkpoint.
        """
        if self._best is None:
            return False
        return not self._scores or _score(evaluation[self._best]) > max(self._scores.values())

    def by_score(self) -> list[int]:
        """Returns the steps that have a score, the best first, of equal ones the earliest."""
        return sorted(self._scores, key=lambda step: (-self._scores[step], step))

    def keep(self) -> set[int]:
        """Returns the steps to keep, sound ones only and at most three, and forgets the others."""
        keep = {*self._sound[-2:], *self.by_score()[:1]}
        self._sound = [step for step in self._sound if step in keep]
        self._scores = {step: score for step, score in self._scores.items() if step in keep}
        return keep


def _score(value: float) -> float:
    return -math.inf if math.isnan(value) else value
