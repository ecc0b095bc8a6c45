"""Selective search: regions by hand, OpenCV's boxes for its label maps, and what is refused."""

import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops import _color_spaces as color_spaces
from lectures_jax.ops._texture import texture_bins
from tests.contract import Contract

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LECTURES_JAX_DATA", ROOT.parent / "shared" / "data"))
DOG = DATA / "darknet_reference" / "selective_search_dog.npz"
GOLDEN = np.load(ROOT / "tests" / "golden" / "selective_search.npz")
WITHOUT_COLOR = ops.SimilarityWeights(color=0)
WEIGHTS = {"single": (ops.SimilarityWeights(),)}
WEIGHTS["fast"] = (ops.SimilarityWeights(), WITHOUT_COLOR)
LABELS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 3], [2, 2, 2, 3], [2, 2, 2, 3]], np.int32)
IMAGE = np.random.default_rng(0).random((5, 4, 2)).astype(np.float32)
BOXES = np.array([[0, 0, 2, 2], [1, 0, 4, 3], [0, 0, 2, 2], [0, 0, 5, 5], [9, 9, 9, 9]], np.float32)
LEVEL = np.array([1, 1, 2, 3, 1], np.int32)
VALID = np.array([True, True, True, True, False])


def hide_boxes(value, key, boxes, level, valid):
    return key, np.where(valid[:, None], boxes, np.float32(value)), level, valid


CONTRACT = {
    "merge_regions": Contract(
        [(LABELS, IMAGE)], differentiable=False, op=partial(ops.merge_regions, max_regions=6)
    ),
    "rank_boxes": Contract(
        [(jax.random.key(0), BOXES, LEVEL, VALID)],
        differentiable=False,
        hide=hide_boxes,
        op=partial(ops.rank_boxes, max_outputs=4),
    ),
}


def boxes_of(regions):
    """The set of boxes, as corner and size."""
    boxes = np.asarray(regions.boxes)[np.asarray(regions.valid)]
    return set(map(tuple, np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)))


def search(name, mode, images):
    """The boxes of all label maps that OpenCV has in a mode, with ours merged."""
    merged = set()
    for file in GOLDEN.files:
        if file.startswith(f"{name}/{mode}/"):
            image = jnp.asarray(images[file.split("/")[2]], jnp.float32) / 255
            merged |= boxes_of(
                ops.merge_regions(
                    jnp.asarray(GOLDEN[file], jnp.int32),
                    image,
                    max_regions=192,
                    weights=WEIGHTS[mode],
                )
            )
    return merged


def test_color_spaces_are_opencv_s():
    image = jnp.asarray(GOLDEN["china/rgb"], jnp.int32)
    np.testing.assert_array_equal(color_spaces.hsv8(image), GOLDEN["china/hsv"])
    np.testing.assert_array_equal(color_spaces.gray8(image)[..., 0], GOLDEN["china/gray"])
    difference = np.abs(np.asarray(color_spaces.lab8(image)) - GOLDEN["china/lab"].astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("mode", WEIGHTS)
def test_the_set_of_boxes_is_opencv_s(mode):
    boxes = search("china", mode, {s: GOLDEN[f"china/{s}"] for s in ("hsv", "lab")})
    assert boxes == set(map(tuple, GOLDEN[f"china/{mode}"]))


@pytest.mark.skipif(not DOG.exists(), reason=f"needs {DOG.name}, see LECTURES_JAX_DATA")
@pytest.mark.parametrize("mode", WEIGHTS)
def test_the_set_of_boxes_of_a_photograph_is_opencv_s(mode):
    dog = np.load(DOG)
    bgr = jnp.asarray(dog["img_200"], jnp.int32)[..., ::-1]  # as it was taken there
    images = {"hsv": color_spaces.hsv8(bgr), "lab": color_spaces.lab8(bgr)}
    assert search("dog", mode, images) == set(map(tuple, dog[f"{mode}_200"]))


def test_three_regions_by_hand():
    """By size alone: the two of four pixels merge first, and then the rest."""
    labels = jnp.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2]])
    size = ops.SimilarityWeights(color=0, fill=0, texture=0)
    regions = ops.merge_regions(labels, jnp.zeros((4, 4, 1)), max_regions=4, weights=(size,))
    regions = jax.tree.map(lambda x: np.asarray(x[0]), regions)
    np.testing.assert_array_equal(regions.valid, [True] * 3 + [False] + [True] * 2 + [False])
    boxes = [[0, 0, 2, 2], [2, 0, 4, 2], [0, 2, 4, 4], [0, 0, 4, 2], [0, 0, 4, 4]]
    np.testing.assert_array_equal(regions.boxes[regions.valid], boxes)
    np.testing.assert_array_equal(regions.level, [1, 1, 1, 0, 2, 3, 0])
    np.testing.assert_array_equal(regions.parent, [4, 4, 5, -1, 5, -1, -1])


def test_regions_of_one_color_merge_before_others():
    labels = jnp.repeat(jnp.arange(4), 3)[None].repeat(6, axis=0)
    image = jnp.where(labels < 2, 0.2, 0.8)[..., None] * jnp.ones((1, 1, 3))
    color = ops.SimilarityWeights(fill=0, texture=0, size=0)
    boxes = ops.merge_regions(labels, image, max_regions=4, weights=(color,)).boxes[0, 4:, ::2]
    np.testing.assert_array_equal(boxes, [[0, 6], [6, 12], [0, 12]])


def test_the_texture_of_a_ramp_lies_in_one_direction():
    """To the right the derivative is the largest everywhere, to the left it is 0 everywhere."""
    ramp = jnp.tile(10 * jnp.arange(12)[None, :, None], (9, 1, 1)).astype(jnp.int32)
    right, left, down, up = (texture_bins(ramp)[1:-1, 1:-1, k] for k in range(4))
    np.testing.assert_array_equal(right, 9)
    assert not np.any(left | down | up)


def test_pixels_of_no_region_and_regions_apart():
    labels = jnp.array([[0, 0, -1, 1, 1]] * 3)
    regions = ops.merge_regions(labels, jnp.zeros((3, 5, 1)), max_regions=2)
    np.testing.assert_array_equal(regions.valid, [[True, True, False]])  # nothing touches
    np.testing.assert_array_equal(regions.boxes[0, :2], [[0, 0, 2, 3], [3, 0, 5, 3]])


def test_each_box_is_ranked_once_and_padding_follows():
    ranked = ops.rank_boxes(
        jax.random.key(1), *map(jnp.asarray, (BOXES, LEVEL, VALID)), max_outputs=7
    )
    np.testing.assert_array_equal(ranked.valid, [True] * 3 + [False] * 4)
    rows = set(map(tuple, np.asarray(ranked.boxes)[:3]))
    assert rows == {(0, 0, 2, 2), (1, 0, 4, 3), (0, 0, 5, 5)}
    assert not np.any(ranked.boxes[3:])


def test_high_levels_come_first_more_often():
    keys = jax.random.split(jax.random.key(0), 200)
    rank = partial(ops.rank_boxes, max_outputs=1)
    arrays = tuple(map(jnp.asarray, (BOXES, LEVEL, VALID)))
    first = jax.vmap(rank, in_axes=(0, None, None, None))(keys, *arrays).boxes[:, 0, 3]
    assert 0.4 < np.mean(np.asarray(first) == 5) < 0.8


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS, {"max_regions": 0}, "max_regions must be at least 1, got 0"),
        (LABELS[:, :1], {"max_regions": 2}, "labels must have at least 2×2 pixels"),
        (LABELS, {"max_regions": 2, "weights": ()}, "weights must have at least one entry"),
        (
            LABELS,
            {"max_regions": 2, "weights": (ops.SimilarityWeights(0, 0, 0, 0),)},
            "weights must be at least 0 and not all 0",
        ),
    ],
)
def test_bad_input_is_named(labels, options, message):
    image = jnp.zeros((*labels.shape, 1))
    with pytest.raises(ValueError, match=message):
        ops.merge_regions(jnp.asarray(labels), image, **options)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"image must be floats of shape \(h, w, c\)"):
        ops.merge_regions(jnp.asarray(LABELS), jnp.zeros((4, 4, 1)), max_regions=4)
