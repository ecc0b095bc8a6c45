"""Objectives of half precision are float32, and their numbers are held to their ranges."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import losses, objectives
from lectures_jax.typing import check_range

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(RNG.normal(size=(64, 50)), jnp.float32) for _ in range(2))


def network(output):
    return lambda x, key=None: output


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_mean_over_a_batch_of_half_precision_is_float32(dtype):
    half = X.astype(dtype)
    wide = half.astype(jnp.float32)
    labels = jnp.arange(64) % 50
    cases = [
        (objectives.regression, {"x": X, "y": Y}),
        (partial(objectives.classification, smoothing=0.1), {"image": X, "labels": labels}),
    ]
    for objective, batch in cases:
        loss, metrics = objective(network(half), batch, KEY)
        assert {x.dtype for x in jax.tree.leaves((loss, metrics))} == {jnp.dtype("float32")}
        np.testing.assert_array_equal(loss, objective(network(wide), batch, KEY)[0])
    loss, _ = objectives.autoencoder(network(half), {"image": X.astype(dtype)}, KEY)
    assert (loss.dtype, float(loss)) == (jnp.float32, 0)


class Gan(nnx.Module):
    def __init__(self, dtype):
        self.latent, self.dtype = 50, dtype

    def generator(self, z):
        return z

    def logits(self, images):
        return (100 * jnp.sum(images, axis=1)).astype(self.dtype)


def test_adversarial_losses_of_half_precision_are_float32():
    for objective in (
        objectives.gan_discriminator,
        objectives.gan_generator,
        objectives.gan_generator_relativistic,
    ):
        loss, _ = objective(Gan(jnp.bfloat16), {"image": X}, KEY)
        expected, _ = objective(Gan(jnp.float32), {"image": X}, KEY)
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, expected, rtol=1e-2)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (partial(objectives.classification, smoothing=1.5), "smoothing must be in .0, 1., got 1.5"),
        (partial(objectives.gan_discriminator, r1=-1.0), "r1 must be at least 0, got -1.0"),
        (partial(objectives.gan_discriminator, gradient_penalty=-1.0), "gradient_penalty must be"),
        (partial(objectives.elbo, free_bits=-0.1), "free_bits must be at least 0"),
        (partial(objectives.iwae, samples=0), "samples must be at least 1, got 0"),
        (partial(objectives.naive_likelihood, samples=0), "samples must be at least 1, got 0"),
        (partial(objectives.yolo, ignore_threshold=70.0), "ignore_threshold must be in .0, 1."),
        (partial(objectives.yolo, anchor_iou=-0.1), "anchor_iou must be in .0, 1."),
        (partial(objectives.yolo, overlap_weight=-1.0), "overlap_weight must be at least 0"),
        (
            partial(objectives.diffusion_noise, alpha_bar=jnp.ones(3), class_dropout=1.1),
            "class_dropout must be in .0, 1.",
        ),
    ],
)
def test_numbers_out_of_range_are_named(objective, message):
    with pytest.raises(ValueError, match=message):
        objective(SimpleNamespace(), {}, KEY)


class GanWithColumns(Gan):
    def logits(self, images):
        return super().logits(images)[:, None]


def test_outputs_of_another_shape_are_refused_before_they_are_averaged():
    for objective in (
        objectives.gan_discriminator,
        objectives.gan_generator,
        objectives.gan_generator_relativistic,
    ):
        with pytest.raises(ValueError, match=r"one number per image, shape .64,., got .*64, 1"):
            objective(GanWithColumns(jnp.float32), {"image": X}, KEY)
    one_number = {"x": X, "y": Y[:, 0]}
    with pytest.raises(ValueError, match=r"model must give a row per example, got shape .64,."):
        objectives.regression(network(X[:, 0]), one_number, KEY)


def test_a_decoder_of_rows_has_the_variance_of_one_of_images():
    images = X.reshape(64, 5, 10, 1)
    variances = []
    for output in (Y, Y.reshape(images.shape)):
        model = SimpleNamespace(decode=network(output), pixel_log_var=nnx.Param(jnp.float32(9)))
        objectives.optimal_sigma_nll(model, images, X)
        variances.append(float(model.pixel_log_var[...]))
    assert variances[0] == variances[1] < 9


def test_weights_and_thresholds_of_losses_are_named():
    with pytest.raises(ValueError, match="gamma must be at least 0, got -1"):
        losses.min_snr_weights(jnp.ones(2), gamma=-1.0)
    with pytest.raises(ValueError, match="x must be at least 1, got nan"):
        check_range(x=float("nan"), low=1)
    with pytest.raises(ValueError, match=r"momentum must be in .0, 1., got 2.0"):
        objectives.optimal_sigma_nll(SimpleNamespace(), X, X, momentum=2.0)
    check_range(x=None)
