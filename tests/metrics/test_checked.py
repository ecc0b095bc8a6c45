"""Every metric under `jit` and `grad`, of integers, half precision, another axis, nothing."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import metrics
from lectures_jax.typing import checked

CHECK = checked(lambda: None).__code__
RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(size=(5, 3)).astype(np.float32), np.array([0, 2, 1, -1, 2])
A, B, C = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (8, 7, 6))
IMAGES = np.random.default_rng(1).random((2, 6, 6, 1), np.float32)
CORNER = 40 * RNG.random((2, 4, 2)).astype(np.float32)
BOXES = np.concatenate([CORNER, CORNER + 20], axis=-1)
CLASSES = np.array([[0, 1, 0, 1], [1, 1, 0, 0]])
PREDICTED = (BOXES, RNG.random((2, 4)).astype(np.float32), CLASSES, np.ones((2, 4), bool))
DETECTION = (*PREDICTED, BOXES[:, :3] + 1, CLASSES[:, :3], np.ones((2, 3), bool))
FACTORS = np.stack([np.arange(40) % 2, np.arange(40) % 5], axis=1)
CODES = (FACTORS[:, [1, 0, 1]] + RNG.normal(size=(40, 3))).astype(np.float32)
KEY = jax.random.key(0)
MASKS = RNG.integers(0, 3, (2, 5, 6))
COUNTS = np.array([[3, 1], [0, 2]])

CASES = {
    "accuracy": (metrics.accuracy, LOGITS, LABELS),
    "active_units": (metrics.active_units, A),
    "aggregate_posterior": (partial(metrics.aggregate_posterior, KEY), A, A - 1),
    "boundary_f1": (partial(metrics.boundary_f1, num_classes=3), MASKS, MASKS[::-1]),
    "class_dice": (metrics.class_dice, COUNTS),
    "class_histogram": (partial(metrics.class_histogram, num_classes=3), LABELS),
    "class_iou": (metrics.class_iou, COUNTS),
    "class_scores": (metrics.class_scores, COUNTS),
    "coco_map": (partial(metrics.coco_map, num_classes=2), *DETECTION),
    "confusion_matrix": (partial(metrics.confusion_matrix, num_classes=3), LABELS, LABELS[::-1]),
    "detection_confusion": (partial(metrics.detection_confusion, num_classes=2), *DETECTION),
    "detection_counts": (
        partial(metrics.detection_counts, num_classes=2),
        *DETECTION,
        np.linspace(0, 1, 6, dtype=np.float32),
    ),
    "detection_errors": (metrics.detection_errors, *DETECTION),
    "effective_sample_size": (metrics.effective_sample_size, A),
    "f1_curve": (metrics.f1_curve, COUNTS, COUNTS[::-1], COUNTS[0]),
    "frechet_distance": (metrics.frechet_distance, A, B),
    "high_frequency_energy": (metrics.high_frequency_energy, IMAGES),
    "intrinsic_dimension": (metrics.intrinsic_dimension, A),
    "kernel_distance": (metrics.kernel_distance, A, B),
    "manifold_scores": (partial(metrics.manifold_scores, neighbors=2), A, B),
    "match_detections": (metrics.match_detections, *DETECTION),
    "mean_accuracy": (metrics.mean_accuracy, COUNTS),
    "mean_dice": (metrics.mean_dice, COUNTS),
    "mean_iou": (metrics.mean_iou, COUNTS),
    "mode_coverage": (partial(metrics.mode_coverage, deviation=0.5), A, B),
    "nearest_neighbor_ratio": (metrics.nearest_neighbor_ratio, A, B, C),
    "psnr": (metrics.psnr, IMAGES, IMAGES[::-1]),
    "pixel_accuracy": (metrics.pixel_accuracy, COUNTS),
    "pixel_confusion": (partial(metrics.pixel_confusion, num_classes=3), MASKS, MASKS[::-1]),
    "precision_recall": (partial(metrics.precision_recall, num_classes=2), *DETECTION),
    "roc_auc": (metrics.roc_auc, A[:, 0], A[:, 1] > 0),
    "voc_ap": (partial(metrics.voc_ap, num_classes=2), *DETECTION),
}
ON_THE_HOST = {
    "dci": (partial(metrics.dci, KEY, trees=3), CODES, FACTORS),
    "dci_of_importance": (metrics.dci_of_importance, np.abs(CODES[:4])),
    "factor_vae_score": (partial(metrics.factor_vae_score, KEY, votes=40), CODES, FACTORS),
    "instance_counts": (metrics.instance_counts, MASKS[0], MASKS[1]),
    "instance_precision": (metrics.instance_precision, *np.array([[3, 2], [0, 1], [1, 2]])),
    "mutual_information_gap": (metrics.mutual_information_gap, CODES, FACTORS),
    "separated_attributes": (metrics.separated_attributes, CODES, FACTORS),
}
EVERY = CASES | ON_THE_HOST


def is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def on_device(name):
    function, *arrays = EVERY[name]
    return function, [jnp.asarray(x) for x in arrays]


def replaced(arrays, position, array):
    return [*arrays[:position], array, *arrays[position + 1 :]]


def test_every_metric_is_in_the_table():
    functions = {n for n in metrics.__all__ if not inspect.isclass(getattr(metrics, n))}
    functions -= {n for n in functions if not callable(getattr(metrics, n))}
    assert set(EVERY) == functions


@pytest.mark.parametrize("name", EVERY)
def test_every_metric_is_checked(name):
    function = getattr(metrics, name)
    codes = []
    while function is not None:
        codes.append(getattr(function, "__code__", None))
        function = getattr(function, "__wrapped__", None)
    assert CHECK in codes


@pytest.mark.parametrize("name", CASES)
def test_under_jit_it_is_the_same(name):
    function, arrays = on_device(name)
    expected, got = function(*arrays), jax.jit(function)(*arrays)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in CASES if any(map(is_float, CASES[n][1:]))])
def test_its_gradient_is_finite_and_the_same_under_jit(name):
    function, arrays = on_device(name)
    if name == "coco_map":
        pytest.skip("a count of matches, in float64: it has no derivative")
    positions = [n for n, x in enumerate(arrays) if is_float(x)]

    def total(*floats):
        args = dict(enumerate(arrays)) | dict(zip(positions, floats, strict=True))
        result = jax.tree.leaves(function(*(args[n] for n in range(len(arrays)))))
        return sum(jnp.sum(y) for y in result if is_float(y)) + jnp.float32(0)

    floats = [arrays[n] for n in positions]
    grads = jax.grad(total, argnums=tuple(range(len(floats))))
    both = grads(*floats), jax.jit(grads)(*floats)
    for a, b in zip(*both, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_integers_for_floats_and_another_axis_are_refused(name):
    function, arrays = on_device(name)
    for position, array in enumerate(arrays):
        if name != "effective_sample_size":  # of any number of axes
            message = refusal(function, replaced(arrays, position, array[..., None]))
            assert "must be" in message, position
        if is_float(array):
            message = refusal(function, replaced(arrays, position, array.astype(jnp.int32)))
            assert "must be floats" in message, position


@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_computed_in_float32(name):
    function, arrays = on_device(name)
    half = [x.astype(jnp.bfloat16) if is_float(x) else x for x in arrays]
    wide = [x.astype(jnp.float32) if is_float(x) else x for x in half]
    if name == "aggregate_posterior":  # normal numbers are others in another dtype
        wide = half
    got, expected = jax.tree.leaves(function(*half)), jax.tree.leaves(function(*wide))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(np.float64(a), np.float64(b), rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_of_nothing_it_is_defined_or_refused_by_name(name):
    function, arrays = on_device(name)
    names = [*inspect.signature(function).parameters, "scores of shape"]
    message = refusal(function, [x[:0] for x in arrays])
    assert message is None or any(n in message for n in names)


def refusal(function, arrays):
    """The message of the `ValueError`, None where there is none."""
    try:
        function(*arrays)
    except ValueError as error:
        return str(error)
    return None
