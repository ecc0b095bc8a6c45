"""Sections on what a detector gets wrong."""

import numpy as np

from lectures_jax import report
from lectures_jax.report.detection import PaddedBoxes

CLASSES = ("cat", "dog")
KINDS = ("class", "location", "missed")


def test_confusion_names_the_background(tmp_path):
    counts = np.array([[5, 1, 2], [0, 7, 0], [3, 0, 0]])
    section = report.detection_confusion(
        counts, tmp_path / "c.svg", classes=CLASSES, threshold=0.25
    )
    text = (tmp_path / "c.svg").read_text()
    assert text.count("<!-- background -->") == 2
    assert all(f"<!-- {number} -->" in text for number in (5, 1, 2, 7, 3))
    assert "at least 0.25" in section.text


def test_f1_is_listed_at_the_common_and_at_its_own_threshold(tmp_path):
    thresholds = np.array([0.25, 0.5, 0.75], np.float32)
    f1 = np.array([[0.5, 0.75, 0.25], [0.9, 0.8, 0.1], [np.nan] * 3])
    section = report.f1_by_threshold(
        thresholds, f1, tmp_path / "f1.svg", classes=(*CLASSES, "absent"), best=1
    )
    assert section.table.header[1] == "F1 at 0.50"
    assert section.table.rows == [("cat", 0.75, 0.75, 0.5), ("dog", 0.8, 0.9, 0.25)]
    assert "absent" not in (tmp_path / "f1.svg").read_text()
    nothing = report.f1_by_threshold(
        thresholds, np.full((2, 3), np.nan), tmp_path / "f1.svg", classes=CLASSES, best=0
    )
    assert nothing.table.rows == []


def test_kinds_of_errors_are_listed_by_class(tmp_path):
    counts = np.array([[1, 0, 4], [2, 3, 0]])
    section = report.errors_by_kind(
        counts, tmp_path / "e.svg", kinds=KINDS, classes=CLASSES, threshold=0.5
    )
    assert section.table.rows == [("cat", 1, 0, 4), ("dog", 2, 3, 0)]
    text = (tmp_path / "e.svg").read_text()
    assert all(f"<!--  {number} -->" in text for number in (3, 4))


IMAGES = [np.zeros((40, 60, 3), np.uint8)] * 2
BOXES = np.tile(np.array([[5, 5, 25, 25], [30, 15, 55, 35]], np.float32), (2, 1, 1))
TRUTH = PaddedBoxes(BOXES, np.array([[0, 1], [1, 0]]), np.ones((2, 2), bool))
DETECTIONS = TRUTH._replace(
    labels=np.array([[1, 1], [0, 1]]), scores=np.array([[0.5, 0.6], [0.7, 0.8]])
)


def test_the_error_with_the_highest_score_of_each_kind_is_drawn():
    kind = np.array([[0, -1], [0, 1]])
    target = np.array([[0, -1], [0, -1]])
    missed = np.array([[False, True], [False, False]])
    options = {"kinds": KINDS, "names": ("first", "second"), "classes": CLASSES}
    section = report.error_examples(IMAGES, TRUTH, DETECTIONS, kind, target, missed, **options)
    assert [figure.caption for figure in section.figures] == [
        "Class: 'dog' as 'cat', in second.",
        "Location: nothing as 'dog', in second.",
        "Missed: 'dog', in first.",
    ]
    image = section.figures[0].source
    assert image[:60, :60].any()
    assert not image[20:, 62:].any()  # nothing but the one object and its detection
    none = report.error_examples(
        IMAGES, TRUTH, DETECTIONS, 0 * kind - 1, target, missed & False, **options
    )
    assert none.figures == []
    assert none.text == "There is none."


def test_sizes_without_objects_have_no_score():
    scores = {"AP50": [0.5, 0.75, -1.0]}
    section = report.scores_by_size(scores, [4, 2, 0], limits=(1024.0, 9216.0), reason="COCO's.")
    assert section.table.header == ("size", "area", "objects", "AP50")
    assert section.table.rows == [
        ("small", "up to 32²", 4, 0.5),
        ("medium", "32² to 96²", 2, 0.75),
        ("large", "above 96²", 0, None),
    ]


def test_suppression_is_drawn_by_rounds():
    boxes = np.array([[0, 0, 9, 9], [20, 20, 30, 30], [0, 0, 9, 8], [0, 1, 9, 9]], np.float32)
    overlap = np.eye(4)
    overlap[0, 2] = overlap[2, 0] = overlap[2, 3] = overlap[3, 2] = 0.8
    section = report.suppression_rounds(
        np.zeros((40, 40, 3), np.uint8),
        boxes,
        np.array([0.9, 0.8, 0.7, 0.6]),
        overlap,
        threshold=0.5,
        shown=1,
    )
    # The third box goes in the first round, and so does not suppress the fourth.
    assert [figure.caption for figure in section.figures] == [
        "4 boxes before suppression.",
        "Round 1: the best box left stays; 1 suppressed by it.",
        "After 3 rounds: 3 boxes.",
    ]
