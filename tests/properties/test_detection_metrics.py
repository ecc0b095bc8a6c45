"""Laws of the scores of detectors."""

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from lectures_jax import metrics
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

IMAGES, SLOTS, CLASSES = 3, 4, 2
COUNT = IMAGES * SLOTS
KINDS = ("plain", "plain", "copy", "nested")
BOXES = strategies.boxes(COUNT, size=16, kinds=KINDS).map(
    lambda rows: rows.reshape(IMAGES, SLOTS, 4)
)
SCORES = strategies.distinct_scores(COUNT).map(lambda row: row.reshape(IMAGES, SLOTS))
LABELS = strategies.labels((IMAGES, SLOTS), classes=CLASSES)
VALID = strategies.masks((IMAGES, SLOTS))
SCENE = {
    "boxes": BOXES,
    "scores": SCORES,
    "labels": LABELS,
    "valid": VALID,
    "true_boxes": BOXES,
    "true_labels": LABELS,
    "true_valid": VALID,
}
DETECTED = st.fixed_dictionaries(SCENE | {"exact": VALID})


def with_exact_ones(scene):
    """Some detections are at the object of their slot, of its class; else few would be right."""
    exact = scene.pop("exact")
    boxes = np.where(exact[..., None], scene["true_boxes"], scene["boxes"])
    return scene | {
        "boxes": boxes,
        "labels": np.where(exact, scene["true_labels"], scene["labels"]),
    }


SCENES = DETECTED.map(with_exact_ones)
ORDER = st.permutations(range(IMAGES))
TRUE = ("true_boxes", "true_labels", "true_valid")


def arrays(scene):
    return tuple(scene[name] for name in SCENE)


def reordered(scene, order):
    return tuple(scene[name][jnp.array(order)] for name in SCENE)


def perfect(scene):
    """Each object detected where it is; no two objects at one place."""
    corner = 70 * jnp.arange(COUNT, dtype=jnp.float32).reshape(IMAGES, SLOTS, 1)
    boxes = scene["true_boxes"] + corner
    labels, valid = scene["true_labels"], scene["true_valid"]
    return (boxes, scene["scores"], labels, valid, boxes, labels, valid)


class MatchesTest(LawTest):
    @law(scene=SCENES)
    def test_a_detection_is_right_or_wrong_and_an_object_hit_or_missed(self, scene):
        matches = self.apply(metrics.match_detections, *arrays(scene))
        equal(matches.true_positive ^ matches.false_positive, scene["valid"])
        hits = jnp.sum(matches.true_positive, axis=1)
        missed = jnp.sum(matches.missed, axis=1)
        equal(hits + missed, jnp.sum(scene["true_valid"], axis=1))

    @law(scene=SCENES, nan=VALID)
    def test_a_score_that_is_nan_is_padding(self, scene, nan):
        nans = scene | {"scores": jnp.where(nan, jnp.nan, scene["scores"])}
        padding = scene | {"valid": scene["valid"] & ~nan}
        got, expected = (self.apply(metrics.match_detections, *arrays(s)) for s in (nans, padding))
        equal(got, expected)
        averages = [
            self.apply(metrics.voc_ap, *arrays(s), num_classes=CLASSES) for s in (nans, padding)
        ]
        equal(*averages)
        between(averages[0], -1, 1)

    @law(scene=SCENES)
    def test_a_stricter_threshold_finds_no_more(self, scene):
        loose, strict = (
            self.apply(metrics.match_detections, *arrays(scene), iou_threshold=limit)
            for limit in (0.3, 0.8)
        )
        assert jnp.sum(strict.true_positive) <= jnp.sum(loose.true_positive)
        assert jnp.all(strict.missed >= loose.missed)

    @law(scene=SCENES)
    def test_recall_rises_and_both_are_in_0_1(self, scene):
        curves = self.apply(metrics.precision_recall, *arrays(scene), num_classes=CLASSES)
        between((curves.precision, curves.recall), 0, 1)
        assert jnp.all(curves.recall[:, 1:] >= curves.recall[:, :-1])


class ErrorsTest(LawTest):
    @law(scene=SCENES)
    def test_each_object_and_each_detection_is_counted_once(self, scene):
        counts = self.apply(metrics.detection_confusion, *arrays(scene), num_classes=CLASSES)
        for axis, labels, valid in ((1, "true_labels", "true_valid"), (0, "labels", "valid")):
            of_class = np.asarray(scene[labels])[..., None] == np.arange(CLASSES)
            expected = np.sum(of_class & np.asarray(scene[valid])[..., None], axis=(0, 1))
            equal(jnp.sum(counts, axis=axis)[:-1], expected)
        assert counts[-1, -1] == 0

    @law(scene=SCENES)
    def test_a_perfect_detector_confuses_nothing_and_has_the_best_f1(self, scene):
        right = perfect(scene)
        counts = self.apply(metrics.detection_confusion, *right, num_classes=CLASSES)
        equal(counts, jnp.diag(jnp.diagonal(counts)))
        thresholds = jnp.array([0.0, 0.5])
        numbers = self.apply(metrics.detection_counts, *right, thresholds, num_classes=CLASSES)
        curve = self.apply(metrics.f1_curve, *numbers)
        known = numbers.objects > 0
        equal(jnp.where(known, curve.f1[:, 0], 1), jnp.ones(CLASSES))
        assert curve.best == 0

    @law(scene=SCENES)
    def test_every_wrong_detection_has_a_kind_and_only_missed_objects_are_missed(self, scene):
        errors = self.apply(metrics.detection_errors, *arrays(scene))
        matches = self.apply(metrics.match_detections, *arrays(scene))
        equal(errors.kind >= 0, matches.false_positive)
        assert jnp.all(matches.missed >= errors.missed)
        equal(errors.object >= 0, matches.false_positive & (errors.kind < 4))


class VocTest(LawTest):
    @law(scene=SCENES, order=ORDER)
    def test_average_precision_is_in_0_1_and_sees_no_order_of_images(self, scene, order):
        for eleven_point in (False, True):
            options = {"num_classes": CLASSES, "eleven_point": eleven_point}
            value = self.apply(metrics.voc_ap, *arrays(scene), **options)
            absent = np.asarray(value) == -1
            between(np.where(absent, 0, value), 0, 1)
            close(self.apply(metrics.voc_ap, *reordered(scene, order), **options), value)

    @law(scene=SCENES)
    def test_average_precision_is_1_where_all_is_right_and_0_where_nothing_is(self, scene):
        right = perfect(scene)
        value = self.apply(metrics.voc_ap, *right, num_classes=CLASSES)
        known = value >= 0
        close(jnp.where(known, value, 1), jnp.ones(CLASSES))
        far = (right[0] + 5000, *right[1:])
        value = self.apply(metrics.voc_ap, *far, num_classes=CLASSES)
        equal(jnp.where(known, value, 0), jnp.zeros(CLASSES))


class CocoTest(LawTest):
    def coco(self, *scene):
        result = self.apply(metrics.coco_map, *scene, num_classes=CLASSES)
        return tuple(np.asarray(part) for part in result)

    @law(eager=False, scene=SCENES, order=ORDER)
    def test_every_number_is_in_0_1_or_minus_1_and_sees_no_order_of_images(self, scene, order):
        result = self.coco(*arrays(scene))
        for values in result:
            absent = values == -1
            between(np.where(absent, 0, values), 0, 1)
        for got, expected in zip(self.coco(*reordered(scene, order)), result, strict=True):
            close(got, expected)

    @law(eager=False, scene=SCENES)
    def test_every_number_is_1_where_all_is_right(self, scene):
        precision, recall, stats = self.coco(*perfect(scene))
        known = recall[..., 0, 2] > -1
        close(np.where(known, recall[..., 0, 2], 1), np.ones_like(known, np.float64))
        if known.any():
            close(stats[:3], np.ones(3))
        flat = precision[..., 0, 2]
        between(np.where(flat > -1, flat, 1), 1, 1, atol=1e-9)

    @law(eager=False, scene=SCENES)
    def test_precision_falls_with_recall_and_recall_with_the_threshold(self, scene):
        precision, recall, _ = self.coco(*arrays(scene))
        assert np.all(precision[:, 1:] <= precision[:, :-1])
        assert np.all(recall[..., 1:] >= recall[..., :-1])
