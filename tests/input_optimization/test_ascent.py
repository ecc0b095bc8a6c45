"""Image ascent on networks small enough to know the best image, and its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lectures_jax.input_optimization import (
    Activation,
    Fourier,
    Pixels,
    Regularization,
    activate,
    maximize_activation,
)
from lectures_jax.input_optimization.transforms import NO_TRANSFORMS

KEY = jax.random.key(0)
WEIGHTS = np.array([[1.0, -2.0], [-1.0, 0.5], [0.5, 1.0]], np.float32)  # [colors, channels]
SMALL = {"parameterization": Pixels(6, 5), "transforms": NO_TRANSFORMS, "steps": 60}


def features(weights, images):
    """A map of every pixel's colors, the same behind ReLU, and its mean."""
    linear = jnp.einsum("bhwc,cd->bhwd", images - 0.5, weights)
    return {"linear": linear, "relu": jax.nn.relu(linear), "pooled": linear.mean(axis=(1, 2))}


NETWORK = Partial(features, jnp.asarray(WEIGHTS))


def test_activations_by_hand():
    maps = {"map": jnp.arange(8.0).reshape(1, 2, 2, 2), "vector": jnp.array([[3.0, 4.0]])}

    def value(**fields):
        return float(activate(maps, Activation(**fields))[0])

    assert value(layer="map") == 0.5 * np.mean(np.arange(8.0) ** 2)
    assert value(layer="map", channel=1) == 4
    assert value(layer="map", channel=1, position=(1, 0)) == 5
    assert value(layer="map", direction=jnp.array([1.0, -1.0])) == -1
    assert value(layer="map", direction=jnp.array([1.0, 2.0]), position=(0, 1)) == 8
    assert value(layer="vector", channel=0) == 3
    assert float(activate(maps["vector"], Activation(channel=1))[0]) == 4


def test_each_channel_gets_the_colors_that_it_weighs():
    result = maximize_activation(KEY, NETWORK, Activation("linear", channel=[0, 1]), **SMALL)
    colors = result.images.mean(axis=(1, 2))
    assert result.images.shape == (2, 6, 5, 3)
    np.testing.assert_array_equal(np.sign(colors - 0.5), np.sign(WEIGHTS.T))
    means = activate(NETWORK(result.images), Activation("linear", channel=jnp.array([0, 1])))
    np.testing.assert_allclose(result.activations, means, rtol=1e-5)
    assert (result.losses[-1] < result.losses[0]).all()


def test_a_direction_and_frequencies_lead_there_too():
    size = {**SMALL, "parameterization": Fourier(8, 8)}
    direction = jnp.array([[1.0, 1.0]])
    result = maximize_activation(KEY, NETWORK, Activation("linear", direction=direction), **size)
    sign = np.sign(WEIGHTS @ direction[0])
    np.testing.assert_array_equal(np.sign(result.images[0].mean(axis=(0, 1)) - 0.5), sign)


def test_a_neuron_moves_only_what_it_sees():
    target = Activation("linear", channel=0, position=(2, 3))
    result = maximize_activation(KEY, NETWORK, target, **SMALL)
    key_init, _ = jax.random.split(KEY)
    start = Pixels(6, 5)(Pixels(6, 5).init(key_init, 1))
    changed = np.any(np.asarray(result.images[0] - start[0]) != 0, axis=-1)
    assert np.argwhere(changed).tolist() == [[2, 3]]


def test_regularization_pulls_the_image_to_gray():
    target = Activation("linear", channel=0)
    free = maximize_activation(KEY, NETWORK, target, **SMALL)
    kept = maximize_activation(KEY, NETWORK, target, regularization=Regularization(l2=5.0), **SMALL)
    assert np.abs(kept.images - 0.5).mean() < 0.5 * np.abs(free.images - 0.5).mean()


def test_a_class_of_a_network_of_logits():
    result = maximize_activation(
        KEY, lambda images: NETWORK(images)["pooled"], Activation(channel=1), **SMALL
    )
    assert np.argmin(result.images[0].mean(axis=(0, 1))) == 0


def test_other_channels_and_weights_compile_nothing():
    traces = []

    def counted(weights, images):
        traces.append(1)
        return features(weights, images)

    def run(channel: int, factor: float) -> int:
        network = Partial(counted, factor * jnp.asarray(WEIGHTS))
        maximize_activation(KEY, network, Activation("linear", channel=channel), **SMALL)
        return len(traces)

    assert run(0, 1.0) == run(1, 2.0)


def test_images_come_at_intervals():
    seen = []
    result = maximize_activation(
        *(KEY, NETWORK, Activation("linear")),
        every=25,
        callback=lambda step, images: seen.append((step, images)),
        **SMALL,
    )
    assert [step for step, _ in seen] == [25, 50, 60]
    np.testing.assert_allclose(seen[-1][1], result.images, atol=1e-6)


def test_what_is_dead_behind_relu_is_named():
    dead = Partial(features, jnp.zeros((3, 2)).at[:, 1].set(1.0))
    target = Activation("relu", channel=jnp.array([0, 1]))
    with pytest.warns(
        RuntimeWarning,
        match=r"images of channel 0 of 'relu' show nothing; .* of linear, pooled, relu",
    ):
        result = maximize_activation(KEY, dead, target, **SMALL)
    assert result.activations[1] > 0
    with pytest.warns(RuntimeWarning, match="images of the logits show nothing"):
        maximize_activation(
            KEY, lambda images: 0 * NETWORK(images)["pooled"], Activation(), **SMALL
        )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Activation("conv9"), "layer must be one of linear, pooled, relu, got 'conv9'"),
        (Activation(channel=1), "layer must be one of linear, pooled, relu, got None"),
        (Activation("linear", channel=2), "channel must be from 0 to 1, got 2 in 'linear'"),
        (Activation("linear", channel=[0, -1]), "channel must be from 0 to 1, got -1"),
        (Activation("linear", channel=0.5), "channel must be an integer, got 0.5"),
        (Activation("linear", direction=np.ones(3)), r"the 2 channels of 'linear', got \[3\]"),
        (Activation("linear", channel=0, direction=np.ones(2)), "or a direction, got both"),
        (Activation("linear", channel=0, position=(6, 0)), r"within \(6, 5\) of 'linear', got"),
        (Activation("pooled", channel=0, position=(0, 0)), "position must be None"),
        (Activation("linear", position=(0, 0)), "position must be None for a whole layer"),
    ],
)
def test_what_the_network_does_not_have_is_refused(target, message):
    with pytest.raises(ValueError, match=message):
        maximize_activation(KEY, NETWORK, target, **SMALL)


def test_a_layer_of_a_network_of_logits_is_refused():
    with pytest.raises(ValueError, match="layer must be None for a network of logits, got 'a'"):
        maximize_activation(KEY, lambda x: x.mean(axis=(1, 2)), Activation("a"), **SMALL)
