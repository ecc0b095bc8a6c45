import numpy as np
import pytest

from lectures_jax import report
from lectures_jax.report.detection import PaddedBoxes

CLASSES = ("cat", "dog")
IMAGES = [np.zeros((40, 60, 3), np.uint8)] * 3
NAMES = ("first", "second", "third")


def boxes(valid, scores=None):
    """The same two boxes in each image, shown where `valid`."""
    valid = np.array(valid, bool)
    corners = np.array([[5, 15, 25, 35], [30, 15, 55, 35]], np.float32)
    scores = None if scores is None else np.full(valid.shape, scores, np.float32)
    return PaddedBoxes(
        np.tile(corners, (len(valid), 1, 1)), np.tile([0, 1], (len(valid), 1)), valid, scores
    )


def test_predictions_stand_beside_the_truth():
    truth = boxes([[1, 1], [1, 0]])
    detections = boxes([[1, 0], [0, 0]], scores=0.75)
    section = report.predictions(IMAGES[:2], truth, detections, names=NAMES, classes=CLASSES)
    assert [figure.caption for figure in section.figures] == [
        "first: 2 objects, 1 detections.",
        "second: 1 objects, 0 detections.",
    ]
    second = section.figures[1].source
    middle = second.shape[1] // 2
    assert second.shape[1] >= 4 * 60  # two images, each twice its size
    assert second[:, :middle].max() == 255  # the white dashes of the truth
    left, right = second[20:60, 10:110], second[20:60, middle + 10 : middle + 110]
    assert left.any()
    assert not right.any()


def test_the_worst_errors_come_first_and_sound_images_not_at_all():
    missed = boxes([[0, 0], [1, 0], [1, 1]])
    wrong = boxes([[0, 0], [0, 0], [0, 1]], scores=0.9)
    section = report.worst_errors(IMAGES, missed, wrong, names=NAMES, classes=CLASSES)
    assert [figure.caption for figure in section.figures] == [
        "third: 2 missed, 1 wrong.",
        "second: 1 missed, 0 wrong.",
    ]
    assert section.text.startswith("3 objects are missed (dashed) and 1 confident")


def test_no_more_errors_are_shown_than_asked():
    wrong = boxes([[1, 1], [1, 0], [1, 1]], scores=0.9)
    options = {"names": NAMES, "classes": CLASSES, "shown": 1}
    section = report.worst_errors(IMAGES, boxes([[0, 0]] * 3), wrong, **options)
    assert [figure.caption for figure in section.figures] == ["first: 0 missed, 2 wrong."]


def test_average_precisions_are_means_over_recall_and_threshold(tmp_path):
    precision = np.full((2, 101, 3), -1.0)
    precision[0, :, 0], precision[1, :, 0] = 1.0, 0.5
    precision[:, :, 1] = 0.25
    section = report.precision_recall_by_class(
        precision, tmp_path / "pr.svg", classes=("cat", "dog", "none of these")
    )
    assert section.table.rows == [("cat", 1.0, 0.75), ("dog", 0.25, 0.25)]
    text = (tmp_path / "pr.svg").read_text()
    assert "<!-- cat  1.000 -->" in text
    assert "none of these" not in text


def test_labels_must_be_classes():
    with pytest.raises(ValueError, match="labels must"):
        report.predictions(
            IMAGES[:1], boxes([[1, 1]]), boxes([[1, 1]], 0.5), names=NAMES, classes=("cat",)
        )
