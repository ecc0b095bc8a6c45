"""Style transfer under a network whose optimum is known: its features are the pixels themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import losses, ops
from lectures_jax.input_optimization import stylize
from lectures_jax.losses.style import GATYS, JOHNSON, PLAIN

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
CONTENT = RNG.uniform(0.1, 0.9, (6, 5, 3)).astype(np.float32)
STYLES = [RNG.uniform(0.1, 0.9, (7, 4, 3)).astype(np.float32) * shade for shade in (0.9, 0.4)]
LAYERS = {"content_layer": "pixels", "style_weights": {"pixels": 1.0}}


def features(images):
    return {"pixels": images, "squares": images**2, "mean": images.mean((1, 2))}


def covariances(image):
    """The mean product of each two channels."""
    pixels = np.reshape(image, (-1, 3))
    return pixels.T @ pixels / len(pixels)


def test_content_alone_is_reconstructed_from_another_image():
    start = np.full_like(CONTENT, 0.5)
    result = stylize(
        *(KEY, features, CONTENT, STYLES), **LAYERS, beta=0.0, start=start, learning_rate=0.05
    )
    np.testing.assert_allclose(result.inputs, CONTENT, atol=1e-3)
    assert result.losses.shape == (250, 1)


@pytest.mark.parametrize(
    "optimizer", [{"learning_rate": 0.01}, {"optimizer": optax.lbfgs, "learning_rate": 1.0}]
)
def test_style_alone_is_reached_from_noise_whatever_the_sizes(optimizer):
    result = stylize(
        *(KEY, features, CONTENT, STYLES[:1]),
        **LAYERS,
        alpha=0.0,
        steps=200,
        **optimizer,
    )
    np.testing.assert_allclose(covariances(result.inputs), covariances(STYLES[0]), atol=2e-3)
    assert np.abs(np.asarray(result.inputs) - CONTENT).max() > 0.2


def test_an_image_that_has_both_stays():
    # Adam would make steps of rounding errors, however small.
    result = stylize(KEY, features, CONTENT, [CONTENT], **LAYERS, steps=3, optimizer=optax.sgd)
    np.testing.assert_allclose(result.inputs, CONTENT, atol=1e-6)
    np.testing.assert_allclose(result.losses, 0, atol=1e-6)


@pytest.mark.parametrize("normalization", [PLAIN, GATYS, JOHNSON])
def test_the_loss_is_the_course_s_sum_with_its_weights(normalization):
    start = RNG.random(CONTENT.shape).astype(np.float32)
    result = stylize(
        *(KEY, features, CONTENT, [CONTENT[::-1]]),
        content_layer="squares",
        style_weights={"pixels": 0.5, "squares": 2.0},
        alpha=3.0,
        beta=5.0,
        variation=0.25,
        normalization=normalization,
        start=start,
        steps=1,
    )
    own, other = features(jnp.asarray(start)[None]), features(jnp.asarray(CONTENT)[None])
    expected = 3 * losses.content(own["squares"], other["squares"])
    expected *= normalization.content(30, 3)
    for layer, weight in {"pixels": 0.5, "squares": 2.0}.items():
        gram = {layer: ops.gram_matrix(other[layer])}
        style = losses.style(own, gram, {layer: weight})
        expected += 5 * normalization.style(30, 3) * style
    expected += 0.25 * losses.total_variation(jnp.asarray(start)[None])
    np.testing.assert_allclose(result.losses[0], expected, rtol=1e-5)


def test_without_a_normalization_losses_are_those_of_an_image_without_features_or_less():
    start = np.zeros_like(CONTENT)
    options = {"alpha": 2.0, "beta": 3.0, "start": start, "steps": 1}
    result = stylize(KEY, features, CONTENT, STYLES, **LAYERS, **options)
    np.testing.assert_allclose(result.losses, 5.0, rtol=1e-5)


def test_styles_are_mixed_by_their_shares():
    one, both, none_of_it = (
        stylize(
            *(KEY, features, CONTENT, styles),
            **LAYERS,
            alpha=0.0,
            mix=mix,
            steps=100,
            optimizer=optax.lbfgs,
            learning_rate=1.0,
        ).inputs
        for styles, mix in ((STYLES[1:], None), (STYLES, (1.0, 3.0)), (STYLES, (0.0, 2.0)))
    )
    np.testing.assert_allclose(covariances(none_of_it), covariances(one), atol=1e-4)
    expected = 0.25 * covariances(STYLES[0]) + 0.75 * covariances(STYLES[1])
    np.testing.assert_allclose(covariances(both), expected, atol=1e-4)


def differences(images):
    """How pixels differ from those to their right, and the pixels beside a constant."""
    constant = jnp.ones_like(images[..., :1])
    moments = jnp.concatenate([images, constant], axis=-1)
    return {"edges": images - jnp.roll(images, 1, axis=2), "moments": moments}


def test_brightness_alone_changes_and_the_hues_stay():
    smooth = np.broadcast_to(np.linspace(0.2, 0.8, 9)[:, None, None], (9, 7, 3))
    result = stylize(
        *(KEY, differences, CONTENT, [smooth.astype(np.float32)]),
        content_layer="moments",
        style_weights={"edges": 1.0},
        beta=20.0,
        colors="luminance",
        steps=20,
    )
    image = np.asarray(result.inputs)
    inside = np.all((image > 0) & (image < 1), axis=-1)
    change = (image - CONTENT)[inside]
    np.testing.assert_allclose(change, change[:, :1] * np.ones(3), atol=1e-5)
    assert np.abs(change).max() > 0.05


@pytest.mark.parametrize("style", STYLES)
def test_the_style_s_brightness_first_gets_mean_and_deviation_of_the_content_s(style):
    """The Gram matrix of pixels and a constant holds both: the content has them already."""
    options = {"content_layer": "edges", "style_weights": {"moments": 1.0}, "alpha": 0.0}
    own, matched = (
        stylize(KEY, differences, CONTENT, [style], **options, colors=colors, start=CONTENT)
        for colors in ("style", "luminance")
    )
    assert matched.losses[0, 0] < 1e-8
    assert own.losses[0, 0] > 1e-3


def test_matched_styles_have_the_colors_of_the_content():
    options = {**LAYERS, "alpha": 0.0, "learning_rate": 0.01}
    result = stylize(KEY, features, CONTENT, STYLES[:1], **options, colors="matched")
    np.testing.assert_allclose(covariances(result.inputs), covariances(CONTENT), atol=1e-2)


def test_another_network_style_and_weight_compile_nothing_anew():
    traces = []

    class Network(nnx.Module):
        def __init__(self, factor):
            self.factor = nnx.Param(jnp.float32(factor))

        def features(self, images):
            traces.append(images.shape)
            return {"pixels": self.factor[...] * images}

    for factor, style, beta in ((1.0, STYLES[0], 1.0), (2.0, STYLES[1], 3.0)):
        counts = len(traces)
        network = Network(factor)
        stylize(KEY, network.features, CONTENT, [style], **LAYERS, beta=beta, steps=2)
    assert len(traces) == counts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content_layer": "x"}, "content_layer must be of the maps pixels, squares, got 'x'"),
        (
            {"style_weights": {"mean": 1.0}},
            "style_weights must be of the maps pixels, squares, got",
        ),
        ({"alpha": -1.0}, "alpha must be at least 0, got -1"),
        ({"mix": (1.0,)}, r"mix must be a share of at least 0 for each of 2 styles, got \(1.0,\)"),
        ({"mix": (0.0, 0.0)}, "mix must be a share"),
        ({"colors": "gray"}, "colors must be one of style, luminance, matched, got 'gray'"),
        ({"styles": []}, "styles must hold at least one image, got none"),
        ({"alpha": 0.0, "beta": 0.0}, "alpha, or beta and a weight of a layer, must be above 0"),
        (
            {"alpha": 0.0, "style_weights": {"pixels": 0.0}},
            "alpha, or beta and a weight of a layer",
        ),
        (
            {"style_weights": {"pixels": -1.0}},
            r"style_weights\['pixels'\] must be at least 0, got -1",
        ),
    ],
)
def test_what_is_refused(change, message):
    options = LAYERS | {"steps": 1} | change
    styles = options.pop("styles", STYLES)
    with pytest.raises(ValueError, match=message):
        stylize(KEY, features, CONTENT, styles, **options)
