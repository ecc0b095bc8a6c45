"""Sizes of images that a network takes: the next one, and a message that names the nearest."""

import pytest

from lectures_jax.nn.image_sizes import ImageSizes

SIZES = ImageSizes(factor=16, least=188, margin=92)


@pytest.mark.parametrize(
    ("side", "expected"), [(1, 188), (188, 188), (189, 204), (204, 204), (572, 572), (573, 588)]
)
def test_the_next_size_that_fits(side, expected):
    assert SIZES.fit(side) == expected


@pytest.mark.parametrize(
    ("shape", "nearest"),
    [
        ((572, 573), "got 572×573: 573 is between 572 and 588"),
        ((100, 100), "got 100×100: 100 is below 188"),
        ((100, 200), "100 is below 188, 200 is between 188 and 204"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest(shape, nearest):
    with pytest.raises(ValueError, match=f"images must have sides of 188 [+] 16 n.*{nearest}"):
        SIZES.check(*shape)


def test_sizes_that_fit_pass():
    SIZES.check(188, 572)
