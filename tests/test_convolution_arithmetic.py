"""The arithmetic of convolutions: cases by hand, and that a wrong formula is noticed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def arithmetic():
    return load(ROOT / "experiments" / "ch3_vision" / "convolution_arithmetic.py")


def test_sizes_by_hand(arithmetic):
    """Of 5 cells; a kernel of 5 with dilation 2 covers 9 and does not fit in."""
    rows = arithmetic.output_sizes(arithmetic.Config(sides=(5,)))
    sizes = {tuple(row[1:5]): row[5:] for row in rows}
    assert sizes[2, 2, 0, 1] == (2, 2)  # (5 − 2) / 2 + 1 = 2.5: the floor
    assert sizes[3, 1, 0, 2] == (1, 1)
    assert sizes[3, 2, (0, 1), 1] == (2, 2)
    assert sizes[5, 3, "SAME", 2] == (2, 2)
    assert (5, 1, 1, 2) not in sizes


def test_a_wrong_size_is_noticed(arithmetic, monkeypatch):
    size = ops.conv_output_size

    def wrong(n, *, stride, **options):
        return size(n, stride=stride, **options) + (stride == 2)

    monkeypatch.setattr(arithmetic.ops, "conv_output_size", wrong)
    rows = arithmetic.output_sizes(arithmetic.Config(sides=(8,)))
    assert {row[2] for row in rows if row[5] != row[6]} == {2}


def test_costs_by_hand(arithmetic):
    """Two channels on 16×16 cells without padding: 14×14 outputs."""
    costs = {row[0]: row[1:] for row in arithmetic.costs_of(2)}
    assert costs["plain"] == (38, 38, 74 * 196, 74 * 196)
    assert costs["depth-wise"] == (20, 20, 38 * 196, 38 * 196)
    assert costs["separable"] == (24, 24, (36 + 8 + 2) * 196, (36 + 8 + 2) * 196)


def test_a_gap_is_that_of_the_worst_array_over_its_largest_value(arithmetic):
    a, b = (jnp.array([1.0, 2.0]), jnp.array([4.0])), (jnp.array([1.0, 2.0]), jnp.array([5.0]))
    assert arithmetic.gap(a, b) == pytest.approx(0.2)
    assert arithmetic.gap(a, a) == 0


def test_zeros_between_the_taps_by_hand(arithmetic):
    kernel = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    wide = arithmetic.with_zeros(kernel, 2)
    np.testing.assert_array_equal(wide.ravel(), [1, 0, 2, 0, 3])


def test_an_output_of_a_group_sees_no_other_group(arithmetic):
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4))
    x = jnp.ones((4, 4, 4))
    changed = x.at[..., :2].add(1)  # the first group alone
    for conv in (
        lambda x: ops.conv2d(x, kernel, groups=2),
        lambda x: by_loop(arithmetic, x, kernel),
    ):
        y, z = conv(x), conv(changed)
        np.testing.assert_array_equal(y[..., 2:], z[..., 2:])
        assert jnp.all(y[..., :2] != z[..., :2])


def by_loop(arithmetic, x, kernel):
    return arithmetic.grouped_by_loop(x, kernel, 2)
