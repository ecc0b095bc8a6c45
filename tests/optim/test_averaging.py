"""Averages of weights: by hand, and a law of noisy descent."""

import numpy as np
import pytest

from lectures_jax import optim

TREES = [{"w": np.array([float(x)])} for x in (1, 4, -2)]


def test_the_mean_by_hand():
    np.testing.assert_allclose(optim.average_params(TREES)["w"], [1.0])
    np.testing.assert_allclose(optim.average_params(TREES[1:2])["w"], [4.0])


def test_a_greedy_soup_leaves_out_what_hurts():
    # best at 2: first 1 (off by 1), then 4 makes 2.5 (kept), then −2 would make 1 (refused)
    soup = optim.greedy_soup(TREES, lambda tree: -abs(float(tree["w"][0]) - 2))
    np.testing.assert_allclose(soup["w"], [2.5])


@pytest.mark.parametrize("call", [optim.average_params, lambda p: optim.greedy_soup(p, len)])
def test_nothing_has_no_mean(call):
    with pytest.raises(ValueError, match="params must hold at least one tree, got none"):
        call([])
