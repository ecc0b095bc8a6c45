import math
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from lectures_jax.data.problems import (
    Annotation,
    ErrorLog,
    build_dataset,
    four_numbers,
    validate_boxes,
)

FILE = Path("labels.txt")
CLASSES = {"cat": 0, "dog": 1}


def read(*objects, strict=False):
    problems = ErrorLog(strict)
    return validate_boxes(objects, (20, 30), CLASSES, FILE, problems), problems.lines


def test_good_objects_become_arrays():
    (boxes, labels, crowd), lines = read(
        Annotation("dog", (1.0, 2.0, 3.5, 4.0), "line 1"),
        Annotation("cat", (0.0, 0.0, 30.0, 20.0), "2", True),
    )
    np.testing.assert_array_equal(boxes, np.array([[1, 2, 3.5, 4], [0, 0, 30, 20]], np.float32))
    np.testing.assert_array_equal(labels, np.array([1, 0], np.int32))
    np.testing.assert_array_equal(crowd, [False, True])
    assert lines == []
    assert boxes.dtype == np.float32
    assert labels.dtype == np.int32


def test_no_objects_become_empty_arrays():
    (boxes, labels, crowd), _ = read()
    assert boxes.shape == (0, 4)
    assert labels.shape == crowd.shape == (0,)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((2.0, 2.0, 2.0, 5.0), "positive width and height"),
        ((5.0, 2.0, 3.0, 6.0), "positive width and height"),
        ((40.0, 2.0, 45.0, 6.0), "inside the 30×20 image"),
        ((30.0, 2.0, 30.5, 6.0), "inside the 30×20 image"),
        (
            (2.0, 2.0, math.nextafter(2.0, 3.0), 5.0),
            "inside the 30×20 image",
        ),  # no area in float32
        ((math.nan, 2.0, 3.0, 6.0), "finite corners"),
        ((1.0, 2.0, math.inf, 6.0), "finite corners"),
    ],
)
def test_a_wrong_box_is_an_error_or_is_left_out(box, expected):
    good = Annotation("cat", (1.0, 1.0, 2.0, 2.0), "line 1")
    bad = Annotation("cat", box, "line 2")
    (boxes, _, _), lines = read(good, bad)
    np.testing.assert_array_equal(boxes, [[1, 1, 2, 2]])
    assert len(lines) == 1
    with pytest.raises(ValueError, match=f"^labels.txt: line 2: expected .*{expected}, got"):
        read(good, bad, strict=True)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [((-5.0, 2.0, 3.0, 6.0), [0, 2, 3, 6]), ((2.0, 2.0, 3.0, 21.5), [2, 2, 3, 20])],
)
def test_a_box_that_sticks_out_is_an_error_or_is_clipped(box, clipped):
    bad = Annotation("cat", box, "line 2")
    (boxes, _, _), lines = read(bad)
    np.testing.assert_array_equal(boxes, [clipped])
    assert len(lines) == 1
    with pytest.raises(ValueError, match=r"inside the 30×20 image, got .*--no-strict"):
        read(bad, strict=True)


@given(st.lists(st.floats(), min_size=4, max_size=4))
def test_whatever_the_corners_the_boxes_kept_have_an_area_in_the_image(box):
    (boxes, _, _), lines = read(Annotation("cat", tuple(box), "line 1"))
    assert 1 <= len(boxes) + len(lines) <= 2
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= 30
        assert 0 <= y0 < y1 <= 20


def test_a_box_may_stick_out_by_a_pixel_of_rounding_and_is_clipped():
    (boxes, _, _), lines = read(Annotation("cat", (-1.0, -0.3, 31.0, 20.0), "line 1"))
    np.testing.assert_array_equal(boxes, [[0, 0, 30, 20]])
    assert lines == []


def test_an_unknown_class_is_named():
    with pytest.raises(ValueError, match=r"expected a class among \['cat', 'dog'\], got cow"):
        read(Annotation("cow", (1.0, 1.0, 2.0, 2.0), "line 1"), strict=True)


def test_the_same_object_twice_counts_once():
    cat = Annotation("cat", (1.0, 1.0, 2.0, 2.0), "line 1")
    (boxes, _, _), lines = read(cat, cat)
    assert len(boxes) == 1
    assert "each object once" in lines[0]


@pytest.mark.parametrize(
    "values", [None, 3, [1, 2, 3], [1, 2, 3, None], "abcd", [1, 2, 3, 10**400]]
)
def test_what_is_not_four_numbers_is_a_problem(values):
    with pytest.raises(ValueError, match=r"labels.txt: line 1: expected four numbers"):
        four_numbers(values, FILE, "line 1", ErrorLog(strict=True))


def test_four_numbers_may_be_text():
    assert four_numbers(["1", "2.5", 3, 4.0], FILE, "", ErrorLog(strict=True)) == (1, 2.5, 3, 4)


def test_a_message_is_printable_whatever_the_file_is_called():
    problems = ErrorLog(strict=False)
    problems.add(Path("a\udcff\x1b[31m.txt"), "field", "something", "\x07")
    assert problems.lines == [r"a\udcff\x1b[31m.txt: field: expected something, got \x07."]


def test_a_message_is_one_short_line():
    problems = ErrorLog(strict=False)
    problems.add(FILE, "field", "something", "a\nb" * 10**5)
    assert "\n" not in problems.lines[0]
    assert len(problems.lines[0]) < 300


def test_a_set_without_a_good_image_is_refused_even_when_not_strict():
    problems = ErrorLog(strict=False)
    problems.add(FILE, "line 1", "this", "that")
    with pytest.raises(ValueError, match=r"at least one good image, got none; first labels.txt"):
        build_dataset([], ["cat"], problems, FILE)
