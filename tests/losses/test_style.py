"""Content, style and total variation: by hand, against loops, and at their minima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, ops
from lectures_jax.losses.style import GATYS, JOHNSON, PLAIN
from tests.contract import Contract

RNG = np.random.default_rng(0)
FEATURES, TARGET = RNG.normal(size=(2, 2, 5, 4, 3)).astype(np.float32)
LAYERS = {"a": FEATURES, "b": RNG.normal(size=(2, 3, 6, 7)).astype(np.float32)}
GRAMS = {
    "a": RNG.normal(size=(2, 3, 3)).astype(np.float32),
    "b": RNG.normal(size=(2, 7, 7)).astype(np.float32),
}
WEIGHTS = {"a": np.float32(0.5), "b": np.float32(2.0)}
IMAGE = RNG.random((2, 5, 4, 3)).astype(np.float32)
OWN = {name: np.asarray(ops.gram_matrix(jnp.asarray(maps))) for name, maps in LAYERS.items()}

CONTRACT = {
    "content": Contract([(FEATURES, TARGET)], edges=[(FEATURES, FEATURES)]),
    "style": Contract([(LAYERS, GRAMS, WEIGHTS)], edges=[(LAYERS, OWN, WEIGHTS)]),
    "total_variation": Contract([(IMAGE,)], edges=[(0 * IMAGE,)]),
}


def test_content_by_hand():
    x, target = jnp.array([[[1.0, 2.0]]]), jnp.array([[[0.0, 5.0]]])
    np.testing.assert_allclose(losses.content(x, target), 10.0)  # 1² + 3²


def test_style_by_hand():
    # G is 1² + 2² = 5 and 3² = 9; (5 − 3)² · 0.5 + (9 − 10)² · 2
    maps = {"a": jnp.array([[[1.0], [2.0]]]), "b": jnp.array([[[3.0]]]), "unused": jnp.ones(1)}
    grams = {"a": jnp.array([[3.0]]), "b": jnp.array([[10.0]])}
    np.testing.assert_allclose(losses.style(maps, grams, {"a": 0.5, "b": 2.0}), 4.0)


def test_total_variation_by_hand():
    image = jnp.array([[[0.0], [1.0]], [[3.0], [3.0]]])  # down: 9 + 4; to the right: 1 + 0
    np.testing.assert_allclose(losses.total_variation(image), 14.0)


def test_style_equals_loops():
    expected = np.zeros(2)
    for layer, maps in LAYERS.items():
        for image in range(2):
            for i in range(maps.shape[-1]):
                for j in range(maps.shape[-1]):
                    gram = np.sum(maps[image, ..., i].astype(float) * maps[image, ..., j])
                    expected[image] += WEIGHTS[layer] * (gram - GRAMS[layer][image, i, j]) ** 2
    layers, grams = jax.tree.map(jnp.asarray, (LAYERS, GRAMS))
    np.testing.assert_allclose(losses.style(layers, grams, WEIGHTS), expected, rtol=1e-5)


def test_at_the_target_losses_and_gradients_are_zero():
    target = jnp.asarray(FEATURES)
    value, gradient = jax.value_and_grad(lambda x: losses.content(x, target).sum())(target)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    maps = jax.tree.map(jnp.asarray, LAYERS)
    grams = {name: ops.gram_matrix(x) for name, x in maps.items()}
    value, gradient = jax.value_and_grad(lambda x: losses.style(x, grams, WEIGHTS).sum())(maps)
    assert value == 0
    for layer in gradient.values():
        np.testing.assert_array_equal(layer, 0)


def test_the_normalizations_are_those_of_the_papers():
    """Gatys: ½ and 1 / (4 N² M²); Johnson: means, of which the Gram matrices are made, too."""
    maps, target = (jnp.asarray(x) for x in (FEATURES, TARGET))
    positions, channels = 20, 3
    grams = {"a": ops.gram_matrix(target)}
    content, style = losses.content(maps, target), losses.style({"a": maps}, grams, {"a": 1.0})
    difference = (ops.gram_matrix(maps) - grams["a"]) / (channels * positions)
    np.testing.assert_allclose(
        JOHNSON.style(positions, channels) * style, jnp.sum(difference**2, (1, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(
        JOHNSON.content(positions, channels) * content,
        jnp.mean((maps - target) ** 2, (1, 2, 3)),
        rtol=1e-5,
    )
    assert GATYS.style(positions, channels) == pytest.approx(1 / (4 * 9 * 400))
    assert GATYS.content(positions, channels) == 0.5
    assert PLAIN.style(positions, channels) == PLAIN.content(positions, channels) == 1


@pytest.mark.parametrize(
    ("layers", "grams", "weights", "message"),
    [
        (LAYERS, GRAMS, {}, "weights must name at least one layer, got none"),
        (LAYERS, GRAMS, {"c": 1.0}, "features_by_layer must have the layer 'c' .* got a, b"),
        (LAYERS, {}, WEIGHTS, "grams_by_layer must have the layer 'a' .* got none"),
        (LAYERS, GRAMS, {"a": 1}, "weights must be floats, got int"),
        (LAYERS, GRAMS | {"b": GRAMS["b"][:1]}, WEIGHTS, r"must be \[2, 7, 7\] in 'b', .* \[1, 7"),
    ],
)
def test_what_is_refused(layers, grams, weights, message):
    with pytest.raises(ValueError, match=message):
        losses.style(*jax.tree.map(jnp.asarray, (layers, grams)), weights)
