"""The detector's report: the best threshold, and the limits of sizes."""

import numpy as np
import pytest

from lectures_jax.data.records import Dataset, Record
from lectures_jax.recipes import detector_report
from lectures_jax.recipes.detector import Detected

OBJECTS = np.float32([[[0, 0, 10, 10], [40, 0, 70, 30]], [[0, 0, 20, 20], [0, 0, 0, 0]]])
LABELS = np.array([[0, 1], [1, 0]])
VALID = np.array([[True, True], [True, False]])


def test_it_returns_the_best_threshold_and_draws_what_is_wrong_from_it_on(tmp_path):
    detected = Detected(
        *(OBJECTS, np.float32([[0.9, 0.6], [0.3, 0]]), np.array([[0, 1], [0, 0]]), VALID),
        *(OBJECTS, LABELS, VALID, np.zeros((2, 2), bool)),
    )
    image = np.zeros((80, 80, 3), np.uint8)
    dataset = Dataset((Record("first", image), Record("second", image)), ("cat", "dog"))
    numbers, sections = detector_report.errors(dataset, detected, tmp_path)
    # From above 0.3 on the cat is right, and one of two dogs; the wrong cat is left out.
    assert numbers["best_threshold"] == pytest.approx(0.31)
    assert numbers["best_f1"] == pytest.approx((1 + 2 / 3) / 2)
    titles = [section.title for section in sections]
    assert titles == [
        "F1 by threshold",
        "Confusion with the background",
        "Kinds of errors",
        "One error of each kind",
        "Scores by size",
    ]
    assert sections[2].table.rows == [("cat", *[0] * 6), ("dog", *[0] * 5, 1)]
    assert [figure.caption for figure in sections[3].figures] == ["Missed: 'dog', in second."]
    assert sections[4].table.rows[2][2:] == (1, pytest.approx(1), pytest.approx(1), 1.0)


def test_sizes_are_coco_s_where_each_has_objects_and_terciles_elsewhere():
    sides = np.arange(1.0, 9)[:, None] * np.array([[10.0, 10.0]])
    boxes = np.concatenate([0 * sides, sides], axis=1).astype(np.float32)[None]
    valid = np.ones((1, 8), bool)
    limits, reason = detector_report.size_limits(boxes, valid)
    np.testing.assert_allclose(limits, np.quantile((10 * np.arange(1, 9)) ** 2, [1 / 3, 2 / 3]))
    assert "terciles" in reason
    assert detector_report.size_limits(2 * boxes, valid)[0] == (1024, 9216)
    assert detector_report.size_limits(boxes, valid & False)[0] == (1024, 9216)
