import numpy as np

from lectures_jax import report

CLASSES = ("cat", "dog", "owl")


def test_precision_and_recall_by_hand(tmp_path):
    counts = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    section = report.confusion(counts, tmp_path / "c.svg", classes=CLASSES)
    # 3 predicted as cats, all right; 3 of 4 cats recalled; 4 of 5 dogs right; no owl anywhere.
    assert section.table.rows == [("cat", 1.0, 0.75), ("dog", 0.8, 1.0), ("owl", None, None)]
    text = (tmp_path / "c.svg").read_text()
    assert all(f"<!-- {name} -->" in text for name in CLASSES)
    assert text.count("<!-- 4 -->") == 1
    assert "<!-- 0 -->" not in text


def test_the_mistakes_of_highest_confidence_come_first():
    images = np.zeros((4, 8, 8, 1), np.float32)
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    section = report.worst_mistakes(
        images, np.array([0, 0, 0, 1]), probabilities, classes=CLASSES[:2], shown=2
    )
    assert [figure.caption for figure in section.figures] == [
        "cat, predicted as dog with probability 0.80.",
        "dog, predicted as cat with probability 0.70.",
    ]
    assert section.text.startswith("3 of 4 predictions are wrong.")
    assert section.figures[0].source.shape == (136, 136, 1)


def test_a_classifier_without_mistakes_has_nothing_to_show():
    probabilities = np.array([[0.9, 0.1]])
    section = report.worst_mistakes(
        np.zeros((1, 8, 8, 1)), np.array([0]), probabilities, classes=CLASSES[:2]
    )
    assert section.figures == []
    assert section.text == "0 of 1 predictions are wrong."
