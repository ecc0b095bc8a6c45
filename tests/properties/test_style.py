"""Laws of Gram matrices, of colors and of the losses of style."""

import jax.numpy as jnp

from lectures_jax import losses, ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

MAPS, OTHERS = strategies.reals((2, 4, 3, 5)), strategies.reals((2, 4, 3, 5))
IMAGE, REFERENCE = (strategies.reals((4, 5, 3), low=0, high=1) for _ in range(2))
WEIGHTS = {"layer": 0.5}


class GramTest(LawTest):
    @law(maps=MAPS)
    def test_it_is_symmetric_and_positive_semi_definite(self, maps):
        gram = self.apply(ops.gram_matrix, maps)
        close(gram, jnp.swapaxes(gram, 1, 2))
        least, total = jnp.linalg.eigvalsh(gram)[:, 0], jnp.trace(gram, axis1=1, axis2=2)
        between(least / (1 + total), 0, jnp.inf, atol=1e-5)

    @law(maps=MAPS)
    def test_the_order_of_the_positions_does_not_matter(self, maps):
        order = jnp.array([7, 2, 11, 0, 5, 9, 1, 10, 4, 3, 8, 6])
        permuted = maps.reshape(2, 12, 5)[:, order].reshape(2, 3, 4, 5)
        close(self.apply(ops.gram_matrix, permuted), self.apply(ops.gram_matrix, maps), atol=1e-3)

    @law(maps=MAPS)
    def test_a_factor_counts_twice(self, maps):
        gram = self.apply(ops.gram_matrix, maps)
        close(self.apply(ops.gram_matrix, -2 * maps), 4 * gram, atol=1e-3)


class StyleTest(LawTest):
    @law(x=MAPS, y=OTHERS)
    def test_content_is_symmetric_and_zero_only_for_equal_maps(self, x, y):
        loss = self.apply(losses.content, x, y)
        equal(loss, self.apply(losses.content, y, x))
        equal(self.apply(losses.content, x, x), jnp.zeros(2))
        equal(loss == 0, jnp.all((x - y) ** 2 == 0, axis=(1, 2, 3)))

    @law(x=MAPS)
    def test_mirrored_maps_have_the_style(self, x):
        grams = {"layer": ops.gram_matrix(x)}
        loss = self.apply(losses.style, {"layer": x[:, ::-1, ::-1]}, grams, WEIGHTS)
        scale = 1e-10 * jnp.sum(grams["layer"] ** 2, axis=(1, 2))
        between(loss, 0, scale + 1e-6, atol=0)

    @law(x=MAPS, y=OTHERS)
    def test_style_is_never_negative_and_proportional_to_its_weights(self, x, y):
        grams = {"layer": ops.gram_matrix(y)}
        loss = self.apply(losses.style, {"layer": x}, grams, WEIGHTS)
        between(loss, 0, jnp.inf, atol=0)
        equal(self.apply(losses.style, {"layer": x}, grams, {"layer": 1.0}), 2 * loss)

    @law(x=MAPS)
    def test_variation_is_that_of_the_mirrored_and_of_the_transposed_image(self, x):
        variation = self.apply(losses.total_variation, x)
        close(self.apply(losses.total_variation, 1 - x[:, ::-1]), variation, atol=1e-2)
        close(self.apply(losses.total_variation, jnp.swapaxes(x, 1, 2)), variation, atol=1e-2)


class ColorTest(LawTest):
    @law(image=IMAGE, reference=REFERENCE)
    def test_matched_colors_have_the_mean_of_the_reference(self, image, reference):
        result = self.apply(ops.match_colors, image, reference)
        close(result.mean((0, 1)), reference.mean((0, 1)), atol=1e-3)

    @law(image=IMAGE, reference=REFERENCE)
    def test_an_image_gets_the_brightness_that_it_is_given(self, image, reference):
        brightness = self.apply(ops.luminance, reference)
        result = self.apply(ops.with_luminance, image, brightness)
        close(self.apply(ops.luminance, result), brightness, atol=1e-5)
