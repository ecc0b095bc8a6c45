import numpy as np
import pytest

from lectures_jax import report


def test_the_title_is_the_mean_iou_with_the_best_anchor(tmp_path):
    # 10×10 fits exactly; 10×20 with 10×10 centered: 100 / 200.
    sizes = np.array([[10, 10], [10, 20]])
    report.anchors(sizes, np.array([[10.0, 10.0]]), tmp_path / "a.svg")
    assert "<!-- 2 boxes, mean best IoU 0.750 -->" in (tmp_path / "a.svg").read_text()


def test_anchors_are_listed_by_area(tmp_path):
    report.anchors(np.ones((3, 2)), np.array([[30.0, 40.0], [8.0, 9.0]]), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text.index("1   8×9") < text.index("2   30×40")


def test_thousands_of_boxes_make_a_small_file(tmp_path):
    sizes = np.random.default_rng(0).uniform(5, 300, (20_000, 2))
    report.anchors(sizes, sizes[:9], tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 300_000


@pytest.mark.parametrize(
    ("sizes", "anchors", "message"),
    [
        (np.zeros((0, 2)), np.ones((1, 2)), "sizes must"),
        (np.zeros((1, 2)), np.ones((1, 2)), "sizes must"),
        (np.ones((1, 2)), np.full((1, 2), np.nan), "anchors must"),
    ],
)
def test_sizes_that_are_none_raise(tmp_path, sizes, anchors, message):
    with pytest.raises(ValueError, match=message):
        report.anchors(sizes, anchors, tmp_path / "a.svg")
