"""Numbers under the caller's `jit`: they work, or one line says that a program depends on them."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, metrics, ops

KEY = jax.random.key(0)
X = jnp.linspace(0.1, 0.9, 12).reshape(3, 4)
FALLING = jnp.array([0.9, 0.5, 0.1])
SIZES = 10 + jnp.arange(12.0).reshape(6, 2) ** 2
BOXES = jnp.array([[0.0, 0, 10, 10], [2, 0, 12, 10], [20, 20, 30, 30]])
SCORES = jnp.array([0.9, 0.8, 0.7])
RIGHT = jnp.float32([0, 0, 1])


def predict(x, alpha_bar):
    return 0.3 * x


def sample(**options):
    return ops.sample_diffusion(KEY, predict, (2, 3), FALLING, steps=2, **options)


WORKS = {
    "eta of a sampler": (lambda eta: sample(eta=eta), 0.5),
    "eta of 0": (lambda eta: sample(eta=eta), 0.0),
    "clip of a sampler": (lambda clip: sample(clip=clip), 0.5),
    "clip of a solver": (lambda c: ops.solve_heun(predict, X[0, :3], FALLING[::-1], clip=c), 0.1),
    "eta of a step": (lambda e: ops.ddim_step(X, X, *FALLING[1::-1], eta=e, fresh_noise=X), 0.5),
    "iterations of k-means": (lambda n: ops.kmeans_anchors(KEY, SIZES, k=2, iterations=n), 2),
    "passes": (lambda n: ops.train_perceptron(X, RIGHT, max_passes=n), 3),
    "sigma": (lambda s: ops.soft_nms(BOXES, SCORES, max_outputs=3, sigma=s), 0.3),
    "a threshold": (lambda t: ops.nms(BOXES, SCORES, max_outputs=3, iou_threshold=t), 0.5),
}


@pytest.mark.parametrize("name", WORKS)
def test_a_traced_number_gives_what_the_number_gives(name):
    function, number = WORKS[name]
    expected = function(number)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        jax.jit(function)(jnp.asarray(number)),
        expected,
    )


def detections(metric):
    arrays = (BOXES[None], SCORES[None], jnp.zeros((1, 3), int), jnp.ones((1, 3), bool))
    truth = (BOXES[None], jnp.zeros((1, 3), int), jnp.ones((1, 3), bool))
    return lambda n: inspect.unwrap(metric)(*arrays, *truth, num_classes=n)


def unchecked(function, *args, **options):
    """Calls without the suite's checks of types, which users do not have."""
    return inspect.unwrap(function)(*args, **options)


REFUSED = {
    "iterations": [
        lambda n: unchecked(ops.invert_diffusion, predict, X, FALLING, steps=2, iterations=n),
        lambda n: unchecked(ops.spectral_norm, X, X[0], iterations=n),
    ],
    "steps": [
        lambda n: unchecked(ops.sampling_schedule, FALLING, steps=n),
        lambda n: unchecked(ops.ode_log_prob, KEY, predict, X, FALLING, steps=n),
        lambda n: unchecked(ops.linear_schedule, n),
        lambda n: unchecked(ops.cosine_schedule, n),
    ],
    "draws": [
        lambda n: unchecked(ops.variational_bound, KEY, predict, X, FALLING, levels=9, draws=n),
    ],
    "levels": [
        lambda n: unchecked(ops.dequantize, KEY, X, levels=n),
        lambda n: unchecked(ops.quantize, X, levels=n),
        lambda n: unchecked(losses.bits_per_dim, X, dims=3, levels=n),
        lambda n: unchecked(
            losses.discretized_gaussian_reconstruction, X, X, jnp.float32(0), levels=n
        ),
    ],
    "k": [lambda n: unchecked(ops.kmeans_anchors, KEY, SIZES, k=n)],
    "max_outputs": [
        lambda n: unchecked(ops.nms, BOXES, SCORES, max_outputs=n, iou_threshold=0.5),
        lambda n: unchecked(ops.soft_nms, BOXES, SCORES, max_outputs=n),
    ],
    "num_classes": [
        detections(metrics.voc_ap),
        detections(metrics.precision_recall),
        detections(metrics.coco_map),
        detections(metrics.detection_confusion),
        lambda n: unchecked(metrics.confusion_matrix, jnp.arange(3), jnp.arange(3), num_classes=n),
        lambda n: unchecked(metrics.class_histogram, jnp.arange(3), num_classes=n),
    ],
    "neighbors": [lambda n: unchecked(metrics.manifold_scores, X, X, neighbors=n)],
}
CASES = [(name, call) for name, calls in REFUSED.items() for call in calls]


@pytest.mark.parametrize(("name", "call"), CASES)
def test_what_a_program_depends_on_is_refused_under_a_trace(name, call):
    with pytest.raises(ValueError, match=f"{name} must be an integer .*, got a traced value"):
        jax.jit(call)(2)
    with pytest.raises(ValueError, match=rf"{name} must be an integer of at least \d, got 2.5\."):
        call(2.5)
