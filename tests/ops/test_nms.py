"""Suppression equals torchvision's and a plain loop, also where libraries are known to err."""

from functools import partial
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lectures_jax import ops
from lectures_jax.testing import count_traces
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "nms.npz")
SCENES = sorted({name.rsplit("-", 1)[0] for name in GOLDEN.files})

BOXES = np.array(
    [[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 32], [0, 0, 9, 10], [21, 20, 30, 32]], np.float32
)
SCORES = np.array([0.9, 0.8, 0.7, 0.95, 0.3], np.float32)
LABELS = np.array([0, 1, 0, 1, 0], np.int32)

CONTRACT = {
    "nms": Contract(
        [(BOXES, SCORES)], op=partial(ops.nms, max_outputs=3), differentiable=(1,), exact=True
    ),
    "nms by class": Contract(
        [(BOXES, SCORES, LABELS)], op=partial(ops.nms, max_outputs=6), differentiable=(1,)
    ),
    "nms among candidates": Contract(
        [(BOXES, SCORES)], op=partial(ops.nms, max_outputs=3, candidates=3), differentiable=(1,)
    ),
    "diou_nms": Contract(
        [(BOXES, SCORES)], op=partial(ops.diou_nms, max_outputs=3), differentiable=(1,), exact=True
    ),
    "diou_nms by class": Contract(
        [(BOXES, SCORES, LABELS)], op=partial(ops.diou_nms, max_outputs=6), differentiable=(1,)
    ),
    "soft_nms": Contract(
        [(BOXES, SCORES)],
        edges=[(BOXES * 0, SCORES), (BOXES, SCORES * 0)],
        op=partial(ops.soft_nms, max_outputs=3),
    ),
    "soft_nms by class": Contract(
        [(BOXES, SCORES, LABELS)], op=partial(ops.soft_nms, max_outputs=6)
    ),
}


def reference(boxes, scores, threshold, labels=None, score_threshold=-np.inf):
    """Greedy suppression as one would write it on paper, in float32 against a float64 threshold."""
    labels = np.zeros(len(boxes)) if labels is None else labels
    order = np.argsort(-scores, kind="stable")
    kept = []
    with np.errstate(all="ignore"):
        x1, y1, x2, y2 = boxes.T
        area = (x2 - x1) * (y2 - y1)
        for i in order[scores[order] > score_threshold]:
            w = [max(np.float32(0), min(x2[i], x2[j]) - max(x1[i], x1[j])) for j in kept]
            h = [max(np.float32(0), min(y2[i], y2[j]) - max(y1[i], y1[j])) for j in kept]
            shared = np.array(w, np.float32) * np.array(h, np.float32)
            overlap = shared / (area[i] + area[kept] - shared)
            if not np.any((overlap.astype(np.float64) > threshold) & (labels[kept] == labels[i])):
                kept.append(i)
    return kept


def kept(selection: ops.Selection) -> list[int]:
    return np.asarray(selection.indices)[np.asarray(selection.valid)].tolist()


def run(boxes, scores, labels=None, **options) -> list[int]:
    options = {"max_outputs": len(boxes)} | options
    labels = None if labels is None else jnp.asarray(labels)
    return kept(ops.nms(jnp.asarray(boxes), jnp.asarray(scores), labels, **options))


@pytest.mark.parametrize("scene", SCENES)
def test_equals_torchvision_box_for_box(scene):
    boxes, scores, labels, expected, by_class = (
        GOLDEN[f"{scene}-{part}"] for part in ("boxes", "scores", "labels", "kept", "kept_by_class")
    )
    threshold = float(scene.rsplit("-", 1)[1])
    assert run(boxes, scores, iou_threshold=threshold) == expected.tolist()
    assert run(boxes, scores, labels, iou_threshold=threshold) == by_class.tolist()


# A small grid, so that ties, fractions that equal the threshold, empty and swapped boxes abound.
COORDINATE = st.sampled_from([-3.0, 0.0, 1.0, 2.0, 3.0, 5.0, 10.0, np.inf, np.nan])
SCORE = st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 1.0, np.inf, -np.inf, np.nan])
ROW = st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE, SCORE, st.integers(0, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=24, max_size=24), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7]))
@example([(0.0, 0.0, 10.0, 10.0, 1.0, 0)] * 24, 0.5)
def test_equals_the_plain_loop_on_anything(rows, threshold):
    rows = np.array(rows, np.float32)
    boxes, scores, labels = rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32)
    assert run(boxes, scores, iou_threshold=threshold) == reference(boxes, scores, threshold)
    assert run(boxes, scores, labels, iou_threshold=threshold) == reference(
        boxes, scores, threshold, labels
    )


def test_a_row_of_boxes_by_hand():
    """Each overlaps the next by IoU 9/11: the first suppresses the second, the second nothing."""
    boxes = np.array([[x, 0, x + 10, 10] for x in (0, 1, 2, 30)], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.95], np.float32)
    selection = ops.nms(jnp.asarray(boxes), jnp.asarray(scores), max_outputs=5, iou_threshold=0.7)
    np.testing.assert_array_equal(selection.indices, [3, 0, 2, -1, -1])
    np.testing.assert_array_equal(selection.scores, np.float32([0.95, 0.9, 0.7, 0, 0]))
    np.testing.assert_array_equal(selection.valid, [True, True, True, False, False])
    assert selection.exact


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.3, 0.5, 0.6, 0.7])
def test_an_overlap_equal_to_the_threshold_is_decided_in_real_numbers(threshold):
    """As in torchvision: IoU `10t / 10` in float32 is above t if float32(t) is."""
    part = np.float32(round(10 * threshold))
    boxes = np.array([[0, 0, 10, 1], [0, 0, part, 1]], np.float32)
    suppressed = float(part / np.float32(10)) > threshold
    assert len(run(boxes, np.float32([1, 0.5]), iou_threshold=threshold)) == 2 - suppressed


def test_thresholds_below_a_half_hold_inside_of_a_block():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10]], np.float32)  # IoU 1/3
    assert run(boxes, np.float32([1, 0.5]), iou_threshold=0.3) == [0]
    assert run(boxes, np.float32([1, 0.5]), iou_threshold=0.4) == [0, 1]


def test_boxes_left_of_and_above_the_image_are_kept():
    boxes = np.array([[-20, -20, -10, -10], [-9, -9, 0, 0]], np.float32)
    assert run(boxes, np.float32([0.5, 0.6])) == [1, 0]


def test_equal_scores_keep_the_lower_index_first_and_minus_zero_equals_zero():
    boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(4)], np.float32)
    assert run(boxes, np.float32([0.0, -0.0, 0.0, -0.0])) == [0, 1, 2, 3]
    assert run(boxes, np.float32([0.0, -0.0, 0.0, -0.0]), candidates=3) == [0, 1, 2]


def test_scores_that_are_nan_or_minus_infinity_are_dropped():
    boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(4)], np.float32)
    assert run(boxes, np.float32([np.nan, -np.inf, np.inf, -1e30])) == [2, 3]


def test_the_score_threshold_itself_is_not_above_it():
    boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(3)], np.float32)
    assert run(boxes, np.float32([0.25, 0.5, 0.75]), score_threshold=0.5) == [2]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_classes_do_not_need_room_in_the_coordinates(dtype):
    """Shifting boxes by class leaves float16 no bits: at 10 000 it counts in eights."""
    boxes = jnp.array([[0, 0, 8, 8], [0, 0, 8, 8], [4, 0, 12, 8]], dtype)
    scores = jnp.array([0.5, 0.75, 0.25], dtype)
    labels = jnp.array([0, 90_000_001, 90_000_000], jnp.int32)
    selection = ops.nms(boxes, scores, labels, max_outputs=3, iou_threshold=0.3)
    assert kept(selection) == [1, 0, 2]
    assert selection.scores.dtype == dtype


def test_float64_is_computed_in_float64():
    with jax.enable_x64(True):
        boxes = jnp.array([[0, 0, 10, 1], [0, 0, 3, 1], [20, 0, 30, 1]], jnp.float64)
        scores = jnp.array([0.5, 0.5, 0.5 + 1e-12], jnp.float64)
        selection = ops.nms(boxes, scores, max_outputs=3, iou_threshold=0.3)
        assert kept(selection) == [2, 0, 1]
        assert selection.indices.dtype == jnp.int32


def test_exact_is_false_only_if_the_cut_could_matter():
    boxes = jnp.array([[20 * i, 0, 20 * i + 10, 10] for i in range(5)], jnp.float32)
    scores = jnp.array([0.5, 0.4, 0.3, 0.2, 0.1])
    cut = partial(ops.nms, boxes, scores)
    assert not cut(max_outputs=4, candidates=3).exact
    assert cut(max_outputs=4, candidates=3, score_threshold=0.25).exact  # nothing was cut off
    assert cut(max_outputs=3, candidates=3).exact  # nothing more was wanted


def test_search_ends_at_the_number_of_outputs():
    boxes, scores, expected = (
        GOLDEN[f"plain-300-0.6-{part}"] for part in ("boxes", "scores", "kept")
    )
    for number in (7, 33):
        assert (
            run(boxes, scores, max_outputs=number, iou_threshold=0.6) == expected[:number].tolist()
        )


def test_each_image_of_a_batch_with_labels_is_its_own():
    names = [f"{kind}-40-0.5" for kind in ("plain", "ties", "swapped")]
    boxes, scores, labels = (
        jnp.stack([GOLDEN[f"{name}-{part}"] for name in names])
        for part in ("boxes", "scores", "labels")
    )
    batch = jax.jit(jax.vmap(partial(ops.nms, max_outputs=40)))
    for i, name in enumerate(names):
        selection = jax.tree.map(lambda x: x[i], batch(boxes, scores, labels))
        assert kept(selection) == GOLDEN[f"{name}-kept_by_class"].tolist()
    shared = jax.vmap(partial(ops.nms, max_outputs=40), in_axes=(0, None))(boxes, scores[0])
    assert kept(jax.tree.map(lambda x: x[0], shared)) == GOLDEN["plain-40-0.5-kept"].tolist()


def test_a_sweep_of_thresholds_compiles_once():
    boxes, scores = jnp.asarray(BOXES), jnp.asarray(SCORES)
    # With thresholds, so that nothing but their values changes below.
    ops.nms(boxes, scores, max_outputs=2, iou_threshold=0.1, score_threshold=0.1)
    with count_traces() as traces:
        for threshold in (0.2, 0.3, 0.7):
            ops.nms(
                boxes, scores, max_outputs=2, iou_threshold=threshold, score_threshold=threshold
            )
    assert not traces


def test_gradient_goes_to_the_scores_kept():
    grad = jax.grad(lambda s: ops.nms(jnp.asarray(BOXES), s, max_outputs=2).scores.sum())
    np.testing.assert_array_equal(grad(jnp.asarray(SCORES)), [0, 0, 1, 1, 0])


def distance_reference(boxes, scores, threshold, labels):
    """Suppression by DIoU as one would write it on paper, in float32."""
    kept = []
    with np.errstate(all="ignore"):
        for i in np.argsort(-scores, kind="stable"):
            for j in kept:
                low, high = (
                    np.maximum(boxes[i, :2], boxes[j, :2]),
                    np.minimum(boxes[i, 2:], boxes[j, 2:]),
                )
                shared = np.prod(np.maximum(high - low, np.float32(0)))
                areas = [np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, j)]
                offset = (boxes[i, :2] + boxes[i, 2:] - boxes[j, :2] - boxes[j, 2:]) / 2
                hull = np.maximum(boxes[i, 2:], boxes[j, 2:]) - np.minimum(
                    boxes[i, :2], boxes[j, :2]
                )
                penalty = (offset**2).sum() / (hull**2).sum() if offset.any() else np.float32(0)
                diou = shared / (sum(areas) - shared) - penalty
                if float(diou) > threshold and labels[i] == labels[j]:
                    break
            else:
                kept.append(int(i))
    return kept


@pytest.mark.parametrize("scene", ["plain-300-0.1", "grid-40-0.3", "plain-40-0.5"])
def test_suppression_by_distance_equals_the_plain_loop(scene):
    boxes, scores, labels = (GOLDEN[f"{scene}-{part}"] for part in ("boxes", "scores", "labels"))
    for threshold in (-0.2, 0.15, 0.45):
        run_diou = partial(ops.diou_nms, max_outputs=len(boxes), diou_threshold=threshold)
        for classes in (labels, None):
            same = np.zeros(len(boxes)) if classes is None else classes
            expected = distance_reference(boxes, scores, threshold, same)
            given = None if classes is None else jnp.asarray(classes)
            assert kept(run_diou(jnp.asarray(boxes), jnp.asarray(scores), given)) == expected


def test_suppression_by_distance_by_hand():
    """IoU 1/3 and centers 5 apart in a hull of diagonal² 325: DIoU 1/3 − 25/325 = 0.256."""
    boxes = jnp.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [0, 0, 10, 10]])
    scores = jnp.array([0.9, 0.8, 0.7])
    assert kept(ops.nms(boxes, scores, max_outputs=3, iou_threshold=0.3)) == [0]
    assert kept(ops.diou_nms(boxes, scores, max_outputs=3, diou_threshold=0.3)) == [0, 1]
    assert kept(ops.diou_nms(boxes, scores, max_outputs=3, diou_threshold=0.25)) == [0]
    points = jnp.zeros((2, 4))  # neither an area nor a distance
    assert kept(ops.diou_nms(points, scores[:2], max_outputs=3, diou_threshold=0.0)) == [0, 1]


def test_soft_suppression_by_hand():
    """The second box overlaps the first by 1/3 and falls below the third."""
    boxes = jnp.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [40, 0, 50, 10]])
    selection = ops.soft_nms(boxes, jnp.array([0.9, 0.8, 0.7]), max_outputs=4, sigma=0.5)
    lowered = 0.8 * np.exp(-((1 / 3) ** 2) / 0.5)
    np.testing.assert_array_equal(selection.indices, [0, 2, 1, -1])
    np.testing.assert_allclose(selection.scores, [0.9, 0.7, lowered, 0], rtol=1e-6)
    assert selection.exact


@pytest.mark.parametrize("scene", ["plain-40-0.3", "grid-40-0.3"])
def test_soft_suppression_equals_the_plain_loop(scene):
    boxes, scores = GOLDEN[f"{scene}-boxes"], GOLDEN[f"{scene}-scores"].astype(np.float64)
    pairwise = np.asarray(ops.pairwise_iou(jnp.asarray(boxes), jnp.asarray(boxes)), np.float64)
    left, expected = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: scores[i])
        expected.append((best, scores[best]))
        left.remove(best)
        scores = scores * np.exp(-(pairwise[best] ** 2) / 0.3)
    selection = ops.soft_nms(
        jnp.asarray(boxes), jnp.asarray(GOLDEN[f"{scene}-scores"]), max_outputs=12, sigma=0.3
    )
    np.testing.assert_array_equal(selection.indices, [i for i, _ in expected[:12]])
    np.testing.assert_allclose(selection.scores, [s for _, s in expected[:12]], rtol=1e-5)


def test_soft_suppression_lowers_scores_within_a_class_only():
    """As each class alone: its boxes and scores, joined by falling score."""
    boxes, scores, labels = (
        GOLDEN[f"plain-40-0.3-{part}"] for part in ("boxes", "scores", "labels")
    )
    take = partial(ops.soft_nms, jnp.asarray(boxes), max_outputs=40)
    expected = []
    for label in np.unique(labels):
        alone = take(jnp.where(labels == label, scores, jnp.nan))
        expected += [*zip(alone.scores.tolist(), alone.indices.tolist(), strict=True)][
            : int(alone.valid.sum())
        ]
    joined = take(jnp.asarray(scores), jnp.asarray(labels))
    order = sorted(expected, key=lambda pair: -pair[0])
    assert joined.indices.tolist() == [index for _, index in order]
    np.testing.assert_allclose(joined.scores, [score for score, _ in order], rtol=1e-6)


def test_soft_suppression_ends_at_the_threshold_and_drops_nan():
    boxes = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 10], [40, 0, 50, 10], [60, 0, 70, 10]])
    scores = jnp.array([0.9, 0.8, jnp.nan, 0.3])
    selection = ops.soft_nms(boxes, scores, max_outputs=4, sigma=0.5, score_threshold=0.2)
    assert kept(selection) == [0, 3]  # 0.8 exp(-2) = 0.11


@pytest.mark.parametrize("search", [ops.nms, ops.diou_nms, ops.soft_nms])
def test_no_boxes_give_no_results(search):
    selection = search(jnp.zeros((0, 4)), jnp.zeros(0), max_outputs=2)
    np.testing.assert_array_equal(selection.indices, [-1, -1])
    assert not selection.valid.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": jnp.zeros(3)}, "scores must be floats"),
        ({"labels": jnp.zeros(3, jnp.int32)}, "labels must be integers"),
        ({"max_outputs": 0}, "max_outputs must be at least 1, got 0"),
        ({"candidates": 0}, "candidates must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    good = {"boxes": jnp.zeros((2, 4)), "scores": jnp.zeros(2), "max_outputs": 1}
    with pytest.raises(ValueError, match=message):
        ops.nms(**(good | change))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("search", [ops.nms, ops.diou_nms, ops.soft_nms])
def test_a_score_equal_to_the_threshold_is_not_above_it(search, dtype):
    box, score = jnp.array([[0, 0, 1, 1]], dtype), jnp.array([0.3], dtype)
    for threshold in (0.3, jnp.float32(0.3)):
        assert not search(box, score, max_outputs=1, score_threshold=threshold).valid[0]
    assert search(box, score, max_outputs=1, score_threshold=0.29).valid[0]


def test_soft_suppression_needs_a_positive_width():
    for sigma in (-1.0, 0.0, np.nan):
        with pytest.raises(ValueError, match=f"sigma must be positive, got {sigma}"):
            ops.soft_nms(jnp.ones((1, 4)), jnp.ones(1), max_outputs=1, sigma=sigma)


@pytest.mark.parametrize("hidden", [1e30, np.inf, np.nan])
def test_a_box_that_was_dropped_does_not_reach_the_gradients(hidden):
    def total(boxes, scores):
        return ops.soft_nms(boxes, scores, max_outputs=3).scores.sum()

    boxes = jnp.asarray(BOXES).at[1].set(hidden)
    scores = jnp.asarray(SCORES).at[1].set(jnp.nan)
    got = jax.grad(total, (0, 1))(boxes, scores)
    expected = jax.grad(total, (0, 1))(boxes.at[1].set(0), scores)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a[1], 0)


@pytest.mark.parametrize("candidates", [20, 600])
def test_a_program_for_any_number_of_boxes_equals_that_for_each(candidates):
    search = jax.jit(partial(ops.nms, max_outputs=10, candidates=candidates))
    b, n = jax.export.symbolic_shape("b, n")
    specs = [
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in [((b, n, 4), jnp.float32), ((b, n), jnp.float32), ((b, n), jnp.int32)]
    ]
    many = jax.jit(lambda *boxes: tuple(jax.vmap(search)(*boxes)))
    platforms = ("cpu", "cuda", "tpu")
    program = jax.export.export(many, platforms=platforms)(*specs)
    random = np.random.default_rng(0)
    for images, number in ((1, 7), (2, 40), (1, 700)):
        corners = random.uniform(0, 50, (images, number, 2))
        boxes = np.concatenate([corners, corners + 20], axis=-1).astype(np.float32)
        scores = random.random((images, number), np.float32)
        labels = random.integers(0, 2, (images, number), np.int32)
        for got, expected in zip(
            program.call(boxes, scores, labels), many(boxes, scores, labels), strict=True
        ):
            np.testing.assert_array_equal(got, expected)


def test_an_open_number_of_boxes_needs_a_number_of_candidates():
    (n,) = jax.export.symbolic_shape("n")
    specs = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((n, 4), (n,)))
    search = jax.jit(lambda *boxes: tuple(ops.nms(*boxes, max_outputs=3)))
    with pytest.raises(ValueError, match="candidates must be given for an open number of boxes"):
        jax.export.export(search)(*specs)
