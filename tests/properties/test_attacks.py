"""Laws of attacks: budgets and ranges are kept for all inputs, and steps are the steepest."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lectures_jax import input_optimization
from lectures_jax.input_optimization.perturbation import project, random_point, steepest
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, close, equal, law

NORMS = {"linf": np.inf, "l2": 2, "l1": 1}
DUALS = {"linf": 1, "l2": 2}
PIXELS = strategies.reals((3, 7), low=0, high=1)
ANYWHERE = strategies.reals((3, 7), low=-2, high=3)
RADII = strategies.reals((3, 1), low=0, high=2)
WEIGHTS = strategies.reals((7, 4), low=-3, high=3)
LABELS = np.array([0, 3, 1], np.int32)
IMAGES = strategies.reals((3, 4, 5, 1), low=0, high=1)
OF_IMAGES = strategies.reals((20, 4), low=-3, high=3)


def size(x, center, norm):
    """In double precision, which makes no error of its own that counts."""
    delta = np.asarray(x, np.float64) - np.asarray(center, np.float64)
    return np.linalg.norm(delta.reshape(len(delta), -1), ord=NORMS[norm], axis=1)


def linear(weights, x):
    return x.reshape(len(x), -1) @ weights


def attack(name, weights, x, epsilon, **options):
    network, labels = Partial(linear, weights), jnp.asarray(LABELS)
    key = () if name == "fgsm" else (jax.random.key(0),)
    run = getattr(input_optimization, name)
    return run(*key, network, x, labels, epsilon=epsilon[:, 0], **options)


def squares(weights, x, epsilon, *, norm):
    given = jax.random.key(0), Partial(linear, weights), x, jnp.asarray(LABELS)
    options = {"epsilon": epsilon[:, 0], "norm": norm, "queries": 6}
    return input_optimization.square_attack(*given, **options)


ATTACKS = {
    "fgsm": (functools.partial(attack, "fgsm"), {}),
    "pgd": (functools.partial(attack, "pgd"), {"step_size": 0.1, "steps": 3}),
    "apgd": (functools.partial(attack, "apgd"), {"steps": 4}),
}
for name, (run, _) in ATTACKS.items():
    run.__name__ = name


class BallTest(LawTest):
    @law(x=ANYWHERE, center=PIXELS, epsilon=RADII)
    def test_projections_keep_ball_and_range_exactly(self, x, center, epsilon):
        for norm in NORMS:
            inside = self.apply(project, x, center, epsilon, norm=norm)
            assert np.all(size(inside, center, norm) <= np.asarray(epsilon, np.float64)[:, 0])
            assert jnp.all((inside >= 0) & (inside <= 1))
            close(self.apply(project, inside, center, epsilon, norm=norm), inside, atol=1e-6)
            equal(self.apply(project, x, center, 0 * epsilon, norm=norm), center)

    @law(x=ANYWHERE, other=PIXELS, center=PIXELS, epsilon=RADII)
    def test_no_point_of_the_ball_is_nearer_than_the_projection(self, x, other, center, epsilon):
        """In L2, before the range cuts: the obtuse angle of a projection onto a convex set."""
        x = jnp.clip(x, 0, 1)
        inside = self.apply(project, x, center, epsilon, norm="l2")
        other = self.apply(project, other, center, epsilon, norm="l2")
        angle = jnp.sum((x - inside) * (other - inside), axis=1)
        assert jnp.all(angle <= 1e-4)

    @law(center=PIXELS, epsilon=RADII)
    def test_random_points_are_inside(self, center, epsilon):
        for norm in NORMS:
            point = self.apply(random_point, jax.random.key(0), center, epsilon, norm=norm)
            assert np.all(size(point, center, norm) <= np.asarray(epsilon, np.float64)[:, 0])
            assert jnp.all((point >= 0) & (point <= 1))

    @law(gradient=strategies.reals((3, 7), low=-100, high=100))
    def test_the_steepest_step_of_length_1_gains_the_dual_norm(self, gradient):
        for norm, dual in DUALS.items():
            step = self.apply(steepest, gradient, norm=norm)
            gain = np.sum(np.asarray(gradient, np.float64) * np.asarray(step), axis=1)
            close(gain, np.linalg.norm(gradient, ord=dual, axis=1), rtol=1e-4)
        sparse = np.asarray(self.apply(steepest, gradient, norm="l1"))
        largest = np.abs(gradient).max(axis=1)
        close(np.sum(np.asarray(gradient) * sparse, axis=1), largest, rtol=1e-4)


class AttackTest(LawTest):
    @law(eager=False, share=0.5, weights=WEIGHTS, x=PIXELS, epsilon=RADII)
    def test_no_attack_leaves_its_budget_and_none_is_worse_than_nothing(self, weights, x, epsilon):
        before = self.margins(weights, x)
        for name, (run, options) in ATTACKS.items():
            result = self.apply(run, weights, x, epsilon, **options)
            assert np.all(size(result, x, "linf") <= np.asarray(epsilon, np.float64)[:, 0])
            assert jnp.all((result >= 0) & (result <= 1))
            if name == "pgd":  # whose first point is random, and so may be worse by itself
                continue
            equal(self.apply(run, weights, x, 0 * epsilon, **options), x)
        several = input_optimization.bim(
            Partial(linear, weights), x, LABELS, epsilon=epsilon[:, 0], step_size=0.1, steps=3
        )
        assert np.all(self.margins(weights, several) <= before)

    @law(eager=False, share=0.5, weights=OF_IMAGES, x=IMAGES, epsilon=RADII)
    def test_squares_stay_in_the_ball_of_their_norm(self, weights, x, epsilon):
        for norm in ("linf", "l2"):
            result = self.apply(squares, weights, x, epsilon, norm=norm)
            assert np.all(size(result.inputs, x, norm) <= np.asarray(epsilon, np.float64)[:, 0])
            assert jnp.all((result.inputs >= 0) & (result.inputs <= 1))
            assert jnp.all((result.queries >= 1) & (result.queries <= 6))
            assert jnp.all(result.fooled | (result.queries == 6))
            equal(self.apply(squares, weights, x, 0 * epsilon, norm=norm).inputs, x)

    def margins(self, weights, x):
        logits = np.asarray(x @ weights)
        own = logits[np.arange(3), LABELS]
        rest = np.where(np.eye(4, dtype=bool)[LABELS], -np.inf, logits).max(axis=1)
        return own - rest


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_many_pixels_of_few_digits_stay_in_the_ball_and_use_it(norm, dtype):
    """With 3 · 128² pixels a sum in 16 bits has no digit left that is right."""
    shape = (2, 128, 128, 3)
    center = jax.random.uniform(jax.random.key(0), shape).astype(dtype)
    x = jax.random.uniform(jax.random.key(1), shape).astype(dtype)
    epsilon = jnp.asarray([20.0, 0.0], dtype).reshape(2, 1, 1, 1)
    sizes = size(project(x, center, epsilon, norm=norm), center, norm)
    assert 10 < sizes[0] <= 20
    assert sizes[1] == 0
