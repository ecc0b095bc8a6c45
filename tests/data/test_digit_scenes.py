import sys

import jax
import numpy as np
import pytest

from lectures_jax import data
from lectures_jax.data.digit_scenes import CHUNK, _glyphs


@pytest.fixture(scope="module")
def scenes():
    return data.digit_scenes(jax.random.key(0), count=CHUNK + 8, masks=True)


def same(a, b):
    return all(
        p.id == q.id and np.array_equal(p.image, q.image) and np.array_equal(p.boxes, q.boxes)
        for p, q in zip(a, b, strict=True)
    )


def covered(a, b):
    """Share of the smaller box that the other covers."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    areas = [np.prod(c[2:] - c[:2]) for c in (a, b)]
    return np.prod(np.maximum(sides, 0)) / min(areas)


def test_the_same_key_draws_the_same_scenes(scenes):
    assert same(scenes, data.digit_scenes(jax.random.key(0), count=len(scenes)))


def test_the_first_scenes_of_a_larger_set_are_the_smaller_set(scenes):
    assert same(scenes[:3], data.digit_scenes(jax.random.key(0), count=3))


def test_another_key_draws_other_scenes(scenes):
    other = data.digit_scenes(jax.random.key(1), count=1)
    assert not np.array_equal(scenes[0].image, other[0].image)


def test_scenes_differ_also_from_one_chunk_to_the_next(scenes):
    assert len({record.image.tobytes() for record in scenes}) == len(scenes)


def test_digits_that_find_no_place_are_left_out():
    (record,) = data.digit_scenes(
        jax.random.key(0), count=1, size=32, min_digits=12, max_digits=12, max_size=20.0
    )
    assert 0 < len(record.boxes) < 12
    for i, a in enumerate(record.boxes):
        assert all(covered(a, b) < 0.4 for b in record.boxes[:i])


def test_scenes_are_labelled_images_in_memory(scenes):
    assert scenes.classes == tuple("0123456789")
    for record in scenes:
        assert record.image.shape == (160, 160, 3)
        assert record.image.dtype == np.uint8
        assert record.image.std() > 5
        assert 3 <= len(record.labels) <= 9
        assert not record.crowd.any()
    assert {label for record in scenes for label in record.labels} == set(range(10))


def test_boxes_lie_in_the_scene_and_are_14_to_64_pixels_high(scenes):
    boxes = np.concatenate([record.boxes for record in scenes])
    heights = boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes.max() <= 160
    # the fading edge of the interpolated stroke is up to a cell, an eighth, narrower or wider
    assert heights.min() >= 14 * 0.8
    assert heights.max() <= 64 * 1.1
    assert heights.max() > 50


def test_no_digit_covers_much_of_another(scenes):
    for record in scenes:
        for i, a in enumerate(record.boxes):
            assert all(covered(a, b) < 0.35 for b in record.boxes[:i])


def test_a_box_is_tight_around_the_pixels_of_its_digit(scenes):
    tight = 0
    for record in scenes:
        for i, box in enumerate(record.boxes):
            rows, columns = np.nonzero(record.mask == i + 1)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            alone = all(covered(box, b) == 0 for j, b in enumerate(record.boxes) if j != i)
            if alone:
                np.testing.assert_array_equal(seen, box)
                tight += 1
            else:  # a later digit may hide its edge
                assert np.all(seen[:2] >= box[:2])
                assert np.all(seen[2:] <= box[2:])
    assert tight > 50


def test_a_digit_differs_from_its_ground(scenes):
    for record in scenes[:8]:
        for i in range(len(record.boxes)):
            x0, y0, x1, y1 = record.boxes[i].astype(int)
            image, mask = record.image[y0:y1, x0:x1] / 255, record.mask[y0:y1, x0:x1]
            ink, ground = image[mask == i + 1].mean(axis=0), image[mask == 0].mean(axis=0)
            assert np.abs(ink - ground).max() > 0.1


def test_every_digit_is_in_exactly_one_split_in_equal_shares_of_each_class():
    splits = [_glyphs(split) for split in ("train", "validation", "test")]
    assert sum(len(split.labels) for split in splits) == 1797
    seen = [{ink.tobytes() for ink in np.asarray(split.ink)} for split in splits]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 1797
    shares = [np.bincount(split.labels) / len(split.labels) for split in splits]
    np.testing.assert_allclose(shares[0], shares[2], atol=0.005)
    np.testing.assert_allclose([len(s.labels) / 1797 for s in splits], [0.7, 0.1, 0.2], atol=0.003)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_size": 30.0, "max_size": 20.0}, "min_size=30"),
        ({"max_size": 200.0}, "size=160"),
        ({"min_digits": 4, "max_digits": 2}, "min_digits=4"),
        ({"count": -1}, "count"),
    ],
)
def test_impossible_scenes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.digit_scenes(jax.random.key(0), **{"count": 1, **options})


def test_without_sklearn_one_line_names_the_extra(monkeypatch):
    _glyphs.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'lectures_jax\[experiments\]'"):
        data.digit_scenes(jax.random.key(0), count=1)
