"""Regions of interest: by hand, torchvision's values and gradients, edges, and what is refused."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops import roi
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "torchvision_ops.npz")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 7, 3)).astype(np.float32)
BOXES = np.array([[0.3, 0.4, 5.2, 4.1], [1.1, -0.6, 6.3, 7.1]], np.float32)
EDGES = np.array(
    [[2, 2, 2, 2], [1, 3, 6, 3], [5, 5, 1, 1], [-20, -20, -9, -9], [40, 1, 50, 9], [-9, -9, 30, 25]]
).astype(np.float32)
ALIGN = {
    "fixed": {"sampling_ratio": 2},
    "legacy": {"sampling_ratio": 2, "aligned": False},
    "three": {"sampling_ratio": 3, "scale": 0.5},
    "adaptive": {"sampling_ratio": 0},
    "adaptive legacy": {"sampling_ratio": -1, "aligned": False, "scale": 0.5},
}
POOL = {"one": {}, "half": {"scale": 0.5}}
CASES = [("align", n, partial(ops.roi_align, **o)) for n, o in ALIGN.items()]
CASES += [("pool", n, partial(ops.roi_pool, **o)) for n, o in POOL.items()]


def small(**options):
    return partial(ops.roi_align, output_size=(2, 1), **options)


CONTRACT = {
    "roi_align": Contract([(X, BOXES)], edges=[(X, EDGES)], op=small(sampling_ratio=2)),
    "roi_align adaptive": Contract([(X, BOXES)], edges=[(X, EDGES)], op=small(sampling_ratio=0)),
    "roi_pool": Contract(
        [(X, BOXES)],
        edges=[(0 * X, EDGES)],
        differentiable=(0,),
        op=partial(ops.roi_pool, output_size=(2, 3)),
    ),
}


@pytest.mark.parametrize(("kind", "name", "op"), CASES, ids=lambda x: x if type(x) is str else "")
def test_values_and_gradients_equal_torchvision_s(kind, name, op):
    boxes = jnp.asarray(GOLDEN["roi/boxes"])
    pool = partial(op, boxes=boxes, output_size=(3, 4))
    y, pull = jax.vjp(pool, jnp.asarray(GOLDEN["roi/x"]))
    np.testing.assert_allclose(y, GOLDEN[f"roi/{kind} {name}"], rtol=1e-4, atol=1e-5)
    gradient = pull(jnp.asarray(GOLDEN["roi/g"]))[0]
    np.testing.assert_allclose(gradient, GOLDEN[f"roi/{kind} {name}/dx"], rtol=1e-4, atol=2e-5)


def test_a_box_of_whole_pixels_by_hand():
    """Samples at ¼ and ¾ of a pixel, on a map that rises by 1 to the right and 10 downwards."""
    x = (jnp.arange(5.0)[None] + 10 * jnp.arange(4.0)[:, None])[..., None]
    box = jnp.array([[1.0, 1, 4, 3]])
    y = ops.roi_align(x, box, output_size=(2, 3), sampling_ratio=2)[0, ..., 0]
    np.testing.assert_allclose(y, [[11, 12, 13], [21, 22, 23]], rtol=1e-6)  # pixels themselves
    legacy = ops.roi_align(x, box, output_size=1, sampling_ratio=0, aligned=False)[0, ..., 0]
    np.testing.assert_allclose(legacy, [[22.5]], rtol=1e-6)  # centers half a pixel off
    largest = ops.roi_pool(x, box, output_size=(1, 2))[0, ..., 0]
    np.testing.assert_array_equal(largest, [[32, 34]])  # columns 1 to 4, two a bin, rows 1 to 3


@pytest.mark.parametrize("ratio", [1, 3, roi.GATHERED + 1])
def test_gathered_cells_and_weighted_rows_give_the_same(ratio, monkeypatch):
    align = partial(ops.roi_align, jnp.asarray(X), jnp.asarray(EDGES), output_size=(2, 3))
    expected = align(sampling_ratio=ratio)
    monkeypatch.setattr(roi, "GATHERED", 0 if ratio <= roi.GATHERED else ratio)
    jax.clear_caches()
    np.testing.assert_allclose(align(sampling_ratio=ratio), expected, rtol=1e-5, atol=1e-6)
    jax.clear_caches()


def test_an_adaptive_grid_has_the_points_of_the_fixed_one_of_its_size():
    box = jnp.array([[0.5, 0.2, 6.0, 5.7]])  # bins of 2.75 × 2.75: 3 points along each side
    adaptive, fixed = (
        ops.roi_align(jnp.asarray(X), box, output_size=2, sampling_ratio=n) for n in (0, 3)
    )
    np.testing.assert_allclose(adaptive, fixed, rtol=1e-5, atol=1e-6)


def test_a_box_of_14_cells_has_two_points_in_each_of_seven_bins():
    """Also compiled, where a seventh is no number of float32."""
    x = jnp.asarray(RNG.normal(size=(16, 16, 1)), jnp.float32)
    for length in (7, 14):
        box = jnp.array([[1.0, 1, 1 + length, 1 + length]])
        adaptive, fixed = (
            ops.roi_align(x, box, output_size=7, sampling_ratio=n) for n in (0, length // 7)
        )
        np.testing.assert_allclose(adaptive, fixed, rtol=1e-5, atol=1e-6)


def test_several_images_are_each_with_its_boxes():
    x, boxes = jnp.stack([jnp.asarray(X), jnp.asarray(-X)]), jnp.asarray(BOXES)[:, None]
    for op in (small(sampling_ratio=2), partial(ops.roi_pool, output_size=2)):
        y = op(x, boxes)
        one = [op(image, box) for image, box in zip(x, boxes, strict=True)]
        np.testing.assert_allclose(y, jnp.stack(one), rtol=1e-6, atol=1e-6)


def test_no_boxes_give_no_maps():
    for op in (small(sampling_ratio=0), small(sampling_ratio=1)):
        assert op(jnp.asarray(X), jnp.zeros((0, 4))).shape == (0, 2, 1, 3)
    assert ops.roi_pool(jnp.asarray(X), jnp.zeros((0, 4)), output_size=5).shape == (0, 5, 5, 3)


def test_the_gradient_of_a_tie_goes_to_its_first_cell():
    gradient = jax.grad(lambda x: ops.roi_pool(x, jnp.array([[0, 0, 9, 9.0]]), output_size=1).sum())
    expected = jnp.zeros((4, 4, 1)).at[0, 0].set(1)
    np.testing.assert_array_equal(gradient(jnp.ones((4, 4, 1))), expected)


def test_nan_of_the_map_wins_and_that_of_a_box_gives_no_other_box_anything():
    x = jnp.asarray(X).at[2, 3, 0].set(jnp.nan)
    assert np.isnan(ops.roi_pool(x, jnp.asarray(BOXES), output_size=1)[:, 0, 0, 0]).all()
    boxes = jnp.asarray(BOXES).at[0, 1].set(jnp.nan)
    for ratio in (0, 2):
        pool = partial(ops.roi_align, jnp.asarray(X), output_size=2, sampling_ratio=ratio)
        np.testing.assert_allclose(pool(boxes)[1], pool(jnp.asarray(BOXES))[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_size": 0, "sampling_ratio": 2}, "output_size must be at least 1, got 0"),
        ({"output_size": (2, 0), "sampling_ratio": 2}, "output_size must be"),
        ({"output_size": 2, "sampling_ratio": -2}, "sampling_ratio must be at least -1, got -2"),
        ({"output_size": 2, "sampling_ratio": 2, "scale": 0.0}, "scale must be positive, got 0"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        ops.roi_align(jnp.asarray(X), jnp.asarray(BOXES), **options)


def test_boxes_of_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match=r"boxes must be floats of shape \(\*b, n, 4\)"):
        ops.roi_align(jnp.zeros((2, 5, 5, 1)), jnp.zeros((3, 4)), output_size=2, sampling_ratio=1)
