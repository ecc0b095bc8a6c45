"""Averages of weights: of one run's checkpoints, or of several runs."""

from collections.abc import Callable, Sequence
from typing import Any

import jax


def average_params(params: Sequence[Any]) -> Any:
    """Returns the mean of parameter trees, leaf by leaf.

    Of the last checkpoints of one run at a constant rate it is stochastic weight averaging, of
    several fine-tunings of one network a uniform soup. Batch norm's averages are those of the
    old weights: compute them again. For the moving average see `train.fit(ema_decay=…)`.

    Args:
        params: trees of the same structure.

    Raises:
        ValueError: if there is no tree.

    Source:
        Izmailov et al. (2018), algorithm 1; Wortsman et al. (2022), sec. 2.
    """
    if not params:
        raise ValueError("params must hold at least one tree, got none.")
    return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *params)


def greedy_soup(params: Sequence[Any], score: Callable[[Any], float]) -> Any:
    """Returns the mean of the trees that help: the best first, then each that keeps the score.

    Args:
        params: trees of the same structure.
        score: of a tree, higher is better; on validation data, not on the test data.

    Raises:
        ValueError: if there is no tree.

    Source:
        Wortsman et al. (2022), recipe 1.
    """
    if not params:
        raise ValueError("params must hold at least one tree, got none.")
    scores = [float(score(tree)) for tree in params]
    first, *others = sorted(range(len(params)), key=lambda i: -scores[i])
    kept, best = [params[first]], scores[first]
    for i in others:
        tried = float(score(average_params([*kept, params[i]])))
        if tried >= best:
            kept, best = [*kept, params[i]], tried
    return average_params(kept)
