"""Laws of Gram matrices, of colors and of the losses of style."""

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import losses, ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

MAPS, OTHERS = strategies.reals((2, 4, 3, 5)), strategies.reals((2, 4, 3, 5))
IMAGE, REFERENCE = (strategies.reals((4, 5, 3), low=0, high=1) for _ in range(2))
WEIGHTS = {"layer": 0.5}


def gram_change(maps, tangent):
    return jax.jvp(ops.gram_matrix, (maps,), (tangent,))[1]


def gram_pull(maps, cotangent):
    return jax.vjp(ops.gram_matrix, maps)[1](cotangent)[0]


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

    @law(maps=MAPS, others=OTHERS)
    def test_its_derivatives_are_those_of_a_product(self, maps, others):
        half = jnp.einsum("nhwi,nhwj->nij", maps, others)
        expected = half + jnp.swapaxes(half, 1, 2)
        close(self.apply(gram_change, maps, others), expected, atol=1e-3)
        inner = jnp.sum(self.apply(gram_pull, maps, half) * others)
        close(inner, jnp.sum(half * expected), atol=1e-3, rtol=1e-4)

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


def varied(image):
    """An image whose colors vary in all directions, as those of a photograph do."""
    noise = np.random.default_rng(0).uniform(size=(4, 5, 3))
    return 0.5 * image + jnp.asarray(noise, jnp.float32)


def covariance(image):
    """Of the channels."""
    return jnp.cov(image.reshape(-1, image.shape[-1]), rowvar=False, bias=True)


def permuted(image):
    """The pixels in another order."""
    order = np.random.default_rng(1).permutation(20)
    return image.reshape(20, 3)[order].reshape(5, 4, 3)


class LuminanceTest(LawTest):
    @law(image=IMAGE, reference=REFERENCE)
    def test_it_is_linear(self, image, reference):
        both = self.apply(ops.luminance, 2 * image - 3 * reference)
        expected = 2 * ops.luminance(image) - 3 * ops.luminance(reference)
        close(both, expected, atol=1e-5)

    @law(image=IMAGE)
    def test_gray_has_the_brightness_of_its_gray_and_others_one_between_their_colors(self, image):
        gray = jnp.broadcast_to(image[..., :1], image.shape)
        close(self.apply(ops.luminance, gray), image[..., :1], atol=1e-6)
        brightness = self.apply(ops.luminance, image)[..., 0]
        between(brightness - image.min(-1), 0, jnp.inf, atol=1e-6)
        between(image.max(-1) - brightness, 0, jnp.inf, atol=1e-6)

    @law(image=IMAGE, reference=REFERENCE)
    def test_an_image_gets_the_brightness_that_it_is_given(self, image, reference):
        brightness = self.apply(ops.luminance, reference)
        result = self.apply(ops.with_luminance, image, brightness)
        close(self.apply(ops.luminance, result), brightness, atol=1e-5)

    @law(image=IMAGE, reference=REFERENCE)
    def test_only_the_last_brightness_that_it_is_given_counts(self, image, reference):
        first, last = ops.luminance(1 - reference), ops.luminance(reference)
        once = self.apply(ops.with_luminance, image, last)
        close(self.apply(ops.with_luminance, once, last), once, atol=1e-6)
        twice = self.apply(ops.with_luminance, ops.with_luminance(image, first), last)
        close(twice, once, atol=1e-5)

    @law(image=IMAGE, reference=REFERENCE)
    def test_its_own_brightness_changes_nothing_and_another_no_difference_of_colors(
        self, image, reference
    ):
        same = self.apply(ops.with_luminance, image, ops.luminance(image))
        close(same, image, atol=1e-6)
        other = self.apply(ops.with_luminance, image, ops.luminance(reference))
        close(jnp.diff(other, axis=-1), jnp.diff(image, axis=-1), atol=1e-5)


class MatchTest(LawTest):
    @law(image=IMAGE, reference=REFERENCE)
    def test_matched_colors_have_the_mean_of_the_reference(self, image, reference):
        result = self.apply(ops.match_colors, image, reference)
        close(result.mean((0, 1)), reference.mean((0, 1)), atol=1e-3)

    @law(image=IMAGE, reference=REFERENCE)
    def test_and_its_covariance_where_the_image_has_colors_to_mix(self, image, reference):
        result = self.apply(ops.match_colors, varied(image), reference)
        close(covariance(result), covariance(reference), atol=1e-3)

    @law(image=IMAGE)
    def test_an_image_has_its_own_colors_already(self, image):
        close(self.apply(ops.match_colors, image, image), image, atol=1e-4)

    @law(image=IMAGE, reference=REFERENCE)
    def test_the_order_of_the_pixels_does_not_matter(self, image, reference):
        image = varied(image)
        result = self.apply(ops.match_colors, image, reference)
        close(self.apply(ops.match_colors, image, permuted(reference)), result, atol=1e-3)
        reordered = self.apply(ops.match_colors, permuted(image), reference)
        close(reordered, permuted(result), atol=1e-3)
