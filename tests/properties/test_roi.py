"""Laws of the maps inside of boxes."""

import jax.numpy as jnp

from lectures_jax import ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, gradient, law

X, Y = strategies.reals((8, 9, 2)), strategies.reals((8, 9, 2))
ANY = strategies.boxes(5, size=8)
WITHIN = strategies.boxes(5, size=8, kinds=("plain",))
ALIGN = ({"sampling_ratio": 2}, {"sampling_ratio": 0})


class RegionsTest(LawTest):
    @law(x=X, y=Y, boxes=ANY, eager=False, share=0.5)
    def test_aligned_maps_are_linear_and_within_those_of_the_image(self, x, y, boxes):
        for options in ALIGN:
            one, other, both = (
                self.apply(ops.roi_align, map_, boxes, output_size=(2, 3), **options)
                for map_ in (x, y, x + 2 * y)
            )
            close(both, one + 2 * other, rtol=1e-4, atol=1e-4)
            between(one, min(x.min(), 0), max(x.max(), 0), atol=1e-4)

    @law(value=strategies.reals(()), boxes=WITHIN, eager=False, share=0.5)
    def test_a_constant_map_has_its_value_in_every_box(self, value, boxes):
        x = jnp.full((8, 9, 2), value)
        for options in ALIGN:
            y = self.apply(ops.roi_align, x, boxes, output_size=(2, 3), **options)
            close(y, jnp.full((5, 2, 3, 2), value), atol=1e-4)

    @law(x=X, boxes=ANY, eager=False, share=0.5)
    def test_gradients_are_finite_wherever_a_box_is(self, x, boxes):
        for options in ALIGN:
            grads = self.apply(
                gradient(ops.roi_align, (0, 1)), x, boxes, output_size=(2, 3), **options
            )
            between(grads[0], 0, 30)
            between(grads[1], -1e4, 1e4)

    @law(x=X, boxes=ANY, eager=False, share=0.5)
    def test_the_largest_of_a_bin_is_a_value_of_the_map_or_0(self, x, boxes):
        y = self.apply(ops.roi_pool, x, boxes, output_size=2)
        there = jnp.any(y[..., None, None] == jnp.moveaxis(x, -1, 0)[None, None, None], (-2, -1))
        assert bool(jnp.all(there | (y == 0)))
