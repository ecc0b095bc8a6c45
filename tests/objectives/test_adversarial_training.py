"""Training on attacked images: by hand, in the right mode, and a network becomes robust."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import input_optimization, objectives, train
from lectures_jax.models.cnn import Cnn
from lectures_jax.models.mlp import Mlp

KEY = jax.random.key(0)


class Identity(nnx.Module):
    def __call__(self, x, *, key=None):
        return x


def test_the_loss_is_the_cross_entropy_on_what_the_attack_returns():
    batch = {"image": jnp.array([[0.5, 0.5], [0.5, 0.5]]), "labels": jnp.array([0, 1])}

    def attack(key, logits_fn, images, labels):
        return images + jnp.array([[0.0, 1.0]])

    loss, metrics = objectives.adversarial_training(Identity(), batch, KEY, attack=attack)
    np.testing.assert_allclose(loss, (np.log(1 + np.e) + np.log(1 + np.exp(-1))) / 2, rtol=1e-6)
    assert float(metrics["accuracy"]) == 0.5


def test_the_attack_sees_the_network_in_evaluation_mode_and_changes_nothing_of_it():
    model = Cnn(3, channels=((2,),), inputs=1, dropout=0.5, rngs=nnx.Rngs(0))
    images = jax.random.uniform(KEY, (4, 6, 6, 1))
    batch = {"image": images, "labels": jnp.array([0, 1, 2, 0])}
    logits = []

    def attack(key, logits_fn, images, labels):
        logits.extend([logits_fn(images), logits_fn(images[:2])])
        return images

    view = nnx.view(model, deterministic=True, use_running_average=True)
    expected = view(images)
    objectives.adversarial_training(model, batch, KEY, attack=attack)
    np.testing.assert_allclose(logits[0], expected, rtol=1e-5)
    np.testing.assert_allclose(logits[1], expected[:2], rtol=1e-5)


def test_no_gradient_goes_through_the_attack():
    model = Mlp((4, 3), rngs=nnx.Rngs(0))
    x = jax.random.uniform(KEY, (5, 4))
    batch = {"image": x, "labels": jnp.array([0, 1, 2, 0, 1])}
    structure, params = nnx.split(model)

    def grads(attack):
        def loss(params):
            model = nnx.merge(structure, params)
            return objectives.adversarial_training(model, batch, KEY, attack=attack)[0]

        return jax.grad(loss)(params)

    through = grads(lambda key, logits_fn, x, y: x + 0.1 * jnp.sum(logits_fn(x)))
    shift = 0.1 * jnp.sum(model(x))
    fixed = grads(lambda key, logits_fn, x, y: x + shift)
    for a, b in zip(jax.tree.leaves(through), jax.tree.leaves(fixed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_network_that_sees_attacks_in_training_leaves_the_feature_that_they_change():
    """One feature is right for 80 % and beyond the budget; many small ones are always right."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400).astype(np.int32)
    sign = 2.0 * labels[:, None] - 1
    large = 0.5 + 0.4 * sign * np.where(rng.random((400, 1)) < 0.8, 1, -1)
    small = np.clip(0.5 + 0.05 * sign + 0.02 * rng.normal(size=(400, 20)), 0, 1)
    batch = {"image": np.concatenate([large, small], axis=1).astype(np.float32), "labels": labels}
    attack = partial(input_optimization.pgd, epsilon=0.1, step_size=0.05, steps=4)

    def trained(objective):
        model = Mlp((21, 2), rngs=nnx.Rngs(0))
        return train.fit(KEY, model, objective, optax.adam(0.3), [batch] * 200)[0]

    def accuracy(model, x):
        return np.mean(np.asarray(model(x)).argmax(axis=1) == labels)

    plain = trained(objectives.classification)
    robust = trained(partial(objectives.adversarial_training, attack=attack))
    x = jnp.asarray(batch["image"])
    assert accuracy(plain, x) > 0.97
    assert accuracy(plain, attack(KEY, plain, x, labels)) < 0.4
    assert accuracy(robust, attack(KEY, robust, x, labels)) > 0.75
