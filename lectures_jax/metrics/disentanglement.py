"""Disentanglement: whether each latent unit encodes one factor of variation."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from lectures_jax.typing import Key, check_count, checked

Codes = Float[Array | np.ndarray, "n d"]
Factors = Int[Array | np.ndarray, "n k"]


class DciScores(NamedTuple):
    """Three scores in [0, 1], of which 1 is best, and the importances that they are computed from.

    Attributes:
        disentanglement: to what degree each unit is important for one factor alone.
        completeness: to what degree one unit alone is important for each factor.
        informativeness: share of held-out factor values that are predicted from the codes.
        importance: [d, k], importance of each unit for each factor.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Float[np.ndarray, "d k"]


@checked
def mutual_information_gap(codes: Codes, factors: Factors, *, bins: int = 20) -> float:
    """Returns the mean over factors of `(I(z_1; v) − I(z_2; v)) / H(v)`, known as MIG.

    z_1 and z_2 are the units with the highest and second highest mutual information with the factor
    v.

    Args:
        codes: latents of n examples, at least two units; each unit is binned with equal widths.
        factors: level of each factor in the same examples.
        bins: number of bins into which a unit's range is divided.

    Returns:
        A value in [0, 1]: 1 where one unit has all the information about a factor and the others
        none, 0 where two units have the same. A factor of a single level, which has no information,
        is left out; if there is no other, the score is 0.

    Raises:
        ValueError: if there is no example or only one unit, a code is not finite, or there is no
            bin.

    Source:
        Chen et al. (2018), eq. 6.
    """
    check_count(bins=bins)
    codes, factors = _check(codes, factors)
    edges = [np.histogram_bin_edges(unit, bins)[1:-1] for unit in codes.T]
    levels = np.stack([np.digitize(u, e) for u, e in zip(codes.T, edges, strict=True)])
    gaps = []
    for factor in factors[:, _varies(factors)].T:
        information = np.sort([_mutual_information(unit, factor) for unit in levels])
        gaps.append((information[-1] - information[-2]) / _mutual_information(factor, factor))
    return float(np.mean(gaps)) if gaps else 0.0


@checked
def separated_attributes(codes: Codes, factors: Factors) -> float:
    """Returns the mean over factors of the gap between the two best units' R², known as SAP.

    R² is that of the linear regression of the factor's level on the unit.

    Args:
        codes: latents of n examples, at least two units.
        factors: level of each factor in the same examples, where order means something.

    Returns:
        A value in [0, 1]. A factor of a single level is left out; if there is no other, it is 0.

    Raises:
        ValueError: if there is no example or only one unit, or a code is not finite.

    Source:
        Kumar et al. (2018), sec. 3, with the score of continuous factors.
    """
    codes, factors = _check(codes, factors)
    codes, factors = codes[:, _varies(codes)], factors[:, _varies(factors)]
    if not factors.size:
        return 0.0
    x, y = codes - codes.mean(axis=0), factors - factors.mean(axis=0)
    spread = np.outer((x**2).sum(axis=0), (y**2).sum(axis=0))
    product = (x.T @ y) ** 2
    score = np.divide(product, spread, out=np.zeros_like(product), where=spread > 0)
    # Units that never vary explain nothing.
    best = np.sort(np.pad(score, ((2, 0), (0, 0))), axis=0)
    return float(np.mean(best[-1] - best[-2]))


@checked
def dci(key: Key, codes: Codes, factors: Factors, *, trees: int = 20) -> DciScores:
    """Returns disentanglement, completeness and informativeness.

    A random forest predicts each factor from the codes; its importances tell which units it uses.
    It is trained on three quarters of the examples and evaluated on the rest.

    Args:
        key: for the split and the forests.
        codes: latents of n examples, at least two units.
        factors: level of each factor in the same examples.
        trees: number of trees in each forest.

    Returns:
        The three scores, and the importance of each unit for each factor. A factor of a single
        level is left out of the scores, and no unit is important for it; if there is no other, the
        scores are 0.

    Raises:
        ValueError: if there are fewer than four examples or only one unit, a code is not finite,
            or there is no tree.
        ImportError: without scikit-learn.

    Source:
        Eastwood & Williams (2018), sec. 2 and 4.
    """
    from sklearn.ensemble import RandomForestClassifier

    check_count(trees=trees)
    codes, factors = _check(codes, factors, least=4)
    rng = _generator(key)
    order = rng.permutation(len(codes))
    training, held_out = np.split(order, [3 * len(order) // 4])
    varies = _varies(factors)
    table = np.zeros((codes.shape[1], factors.shape[1]))
    if not varies.any():
        return DciScores(0.0, 0.0, 0.0, table)
    importance, right = [], []
    for factor in factors[:, varies].T:
        # Each split may choose among all units: else needless ones get a share by chance.
        every: Any = None  # scikit-learn's stubs have strings only
        forest = RandomForestClassifier(
            trees, max_features=every, random_state=int(rng.integers(2**31))
        )
        forest.fit(codes[training], factor[training])
        importance.append(forest.feature_importances_)
        right.append(forest.score(codes[held_out], factor[held_out]))
    table[:, varies] = np.stack(importance, axis=1)
    return DciScores(*dci_of_importance(table[:, varies]), float(np.mean(right)), table)


@checked
def dci_of_importance(importance: Float[Array | np.ndarray, "d k"]) -> tuple[float, float]:
    """Returns disentanglement and completeness of a table of importances.

    `1 − H` of each unit's row, weighted by how important the unit is, and of each factor's column,
    the entropies in units of their largest value.

    Args:
        importance: importance of each unit for each factor, at least 0.

    Returns:
        Two values in [0, 1], disentanglement first.

    Raises:
        ValueError: if an importance is negative or not finite, or there is none.

    Source:
        Eastwood & Williams (2018), eq. 1 and 2.
    """
    importance = np.asarray(importance, np.float64)
    if not (importance.size and np.all(importance >= 0) and np.isfinite(importance).all()):
        raise ValueError(f"importance must be finite and at least 0, got {importance.tolist()}.")
    total = importance.sum()
    weight = importance.sum(axis=1) / total if total else np.zeros(len(importance))
    disentanglement = np.sum(weight * (1 - _entropy(importance)))
    return float(disentanglement), float(np.mean(1 - _entropy(importance.T)))


@checked
def factor_vae_score(
    key: Key, codes: Codes, factors: Factors, *, votes: int = 800, group: int = 64
) -> float:
    """Returns how often the unit of least variance predicts which factor is constant.

    Each vote takes a group of examples that agree in one factor, and the unit of least variance
    in the group, relative to its variance over all examples. A majority classifier from units to
    factors is trained on one half of the votes and evaluated on the other. Units and factors that
    never vary are left out.

    Args:
        key: for the groups.
        codes: latents of n examples in which the factors are independent.
        factors: level of each factor in the same examples.
        votes: number of votes, of both halves together.
        group: number of examples per vote, drawn with replacement.

    Returns:
        An accuracy, in [0, 1]. If no unit varies it is that of chance, one over the number of
        factors; if no factor varies it is 0.

    Raises:
        ValueError: if there is no example or only one unit, a code is not finite, or there are
            fewer than two votes or no example in a group.

    Source:
        Kim & Mnih (2018), sec. 4.
    """
    check_count(group=group)
    check_count(votes=votes, low=2)  # one of each half
    codes, factors = _check(codes, factors)
    rng = _generator(key)
    codes, factors = codes[:, _varies(codes)], factors[:, _varies(factors)]
    if not (codes.size and factors.size):
        return 1 / factors.shape[1] if factors.size else 0.0
    variance = codes.var(axis=0)
    alive = variance > 1e-3 * variance.max()
    codes = codes[:, alive] / np.sqrt(variance[alive])
    table = np.zeros((2, codes.shape[1], factors.shape[1]), int)
    for vote in range(votes):
        factor = rng.integers(factors.shape[1])
        level = factors[rng.integers(len(factors)), factor]
        alike = np.flatnonzero(factors[:, factor] == level)
        unit = codes[rng.choice(alike, group)].var(axis=0).argmin()
        table[vote % 2, unit, factor] += 1
    training, test = table
    right = test[np.arange(len(test)), training.argmax(axis=1)]
    return float(right.sum() / max(test.sum(), 1))


def _check(codes: Codes, factors: Factors, *, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    if len(codes) < least or codes.shape[1] < 2:
        raise ValueError(f"codes must be [n >= {least}, d >= 2], got shape {codes.shape}.")
    codes = np.asarray(codes, np.float64)
    if not np.isfinite(codes).all():
        raise ValueError(f"codes must be finite, got {np.sum(~np.isfinite(codes))} that are not.")
    return codes, np.asarray(factors)


def _varies(columns: np.ndarray) -> np.ndarray:
    """Which columns have two different values; a variance would be rounded, perhaps above 0."""
    return np.any(columns != columns[:1], axis=0)


def _generator(key: Key) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def _mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """In nats, of two columns of levels."""
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    positive = joint > 0
    return float(np.sum(joint[positive] * np.log(joint[positive] / apart[positive])))


def _entropy(rows: np.ndarray) -> np.ndarray:
    """Of each row as a distribution, from 0 to 1; 1 where the row is zero."""
    total = rows.sum(axis=1, keepdims=True)
    share = np.divide(rows, total, out=np.full(rows.shape, 1 / rows.shape[1]), where=total > 0)
    terms = np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0)
    return -terms.sum(axis=1) / np.log(max(rows.shape[1], 2))
