"""Where variational autoencoders meet their losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax import losses, metrics, ops
from lectures_jax.ops._draws import draw
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics, check_count, check_range

Reconstruction = Callable[[Any, Array, Array], Float[Array, " b"]]
"""`(model, x, z) -> −log p(x|z)` for each example, in nats."""

Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]
"""A number for each step, like Optax's schedules."""


def gaussian_nll(model, x: Float[Array, "b *shape"], z: Float[Array, "b z"]) -> Float[Array, " b"]:
    """Returns `−log N(x; decode(z), σ²I)` with the model's own variance.

    Args:
        model: a `Vae`, with a fixed or a learned variance.
        x: data.
        z: codes.

    Source:
        Kingma & Welling (2014), appendix C.2; one learned variance: Rybkin et al. (2021), sec. 3.
    """
    log_var = model.pixel_log_var[...]
    x, mean, log_var = upcast(x), upcast(model.decode(z)), upcast(log_var)
    return losses.gaussian_reconstruction(_flat(x), _flat(mean), log_var)


def optimal_sigma_nll(
    model, x: Float[Array, "b *shape"], z: Float[Array, "b z"], *, momentum: float = 0.99
) -> Float[Array, " b"]:
    """Returns `−log N(x; decode(z), σ²I)` with the optimal σ², the mean squared error.

    σ² is a moving average over the training steps that never rises, so that reconstruction and
    divergence keep their balance while the reconstruction improves. For training; evaluate with
    `gaussian_nll`.

    Args:
        model: a `Vae` whose variance is not a parameter; it is updated in place.
        x: data.
        z: codes.
        momentum: of the moving average.

    Raises:
        ValueError: if `momentum` is out of [0, 1].

    Source:
        Asperti & Trentin (2020), sec. 5.
    """
    check_range(momentum=momentum, low=0, high=1)
    x, mean = _flat(upcast(x)), _flat(upcast(model.decode(z)))
    error = jax.lax.stop_gradient(jnp.mean((x - mean) ** 2))
    variance = jnp.exp(upcast(model.pixel_log_var[...]))
    average = momentum * variance + (1 - momentum) * error
    log_var = jnp.log(jnp.minimum(variance, average))
    model.pixel_log_var[...] = log_var
    return losses.gaussian_reconstruction(x, mean, log_var)


def bernoulli_nll(model, x: Float[Array, "b *shape"], z: Float[Array, "b z"]) -> Float[Array, " b"]:
    """Returns the cross-entropy of the pixels, `logits(z)` being their log-odds.

    Args:
        model: a `Vae`.
        x: data in [0, 1].
        z: codes.

    Source:
        Kingma & Welling (2014), appendix C.1.
    """
    return losses.bernoulli_reconstruction(_flat(upcast(x)), _flat(upcast(model.logits(z))))


def elbo(
    model,
    batch: Batch,
    key: Key,
    *,
    beta: float | Schedule = 1.0,
    free_bits: float | Float[Array, ""] = 0.0,
    reconstruction: Reconstruction = gaussian_nll,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns minus the evidence lower bound, `E_q −log p(x|z) + β · KL(q(z|x) ‖ p(z))`.

    Args:
        model: a `Vae`; its step counter is increased.
        batch: `image`, of any shape.
        key: for the sample from the posterior.
        beta: weight of the divergence, or a schedule of it, such as
            `optax.linear_schedule(0, 1, 500)` for a warm-up.
        free_bits: nats of each unit's mean divergence that add nothing to the loss.
        reconstruction: −log p(x|z): `gaussian_nll`, `optimal_sigma_nll` or `bernoulli_nll`.

    Returns:
        The loss, and `loss`, `reconstruction`, `divergence` (both in nats, before β and free bits),
        `active_units` (of more than 0.01 nats) and `beta`.

    Raises:
        ValueError: if `free_bits` is negative.

    Source:
        Kingma & Welling (2014), eq. 10; β: Higgins et al. (2017), eq. 4; warm-up: Sønderby et al.
        (2016), sec. 2.3; free bits: Kingma et al. (2016), eq. 15.
    """
    check_range(free_bits=free_bits, low=0)
    x = batch["image"]
    mean, log_var = map(upcast, model.posterior(x))
    z = ops.reparameterize(key, mean, log_var)
    error = jnp.mean(reconstruction(model, x, z))
    units = jnp.mean(losses.gaussian_kl(mean[..., None], log_var[..., None]), axis=0)
    weight = beta(model.steps[...]) if callable(beta) else jnp.float32(beta)
    model.steps[...] += 1
    loss = error + weight * jnp.sum(jnp.maximum(units, free_bits))
    return loss, {
        "loss": loss,
        "reconstruction": error,
        "divergence": jnp.sum(units),
        "active_units": jnp.sum(units > 0.01, dtype=jnp.float32),
        "beta": weight,
    }


def iwae(
    model,
    batch: Batch,
    key: Key,
    *,
    samples: int,
    reconstruction: Reconstruction = gaussian_nll,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns minus the importance-weighted bound of log p(x), for training and for evaluation.

    Args:
        model: a `Vae`.
        batch: `image`, of any shape.
        key: for the samples from the posterior.
        samples: K, the number of codes per image; with 1 the bound is the evidence lower bound.
        reconstruction: −log p(x|z): `gaussian_nll` or `bernoulli_nll`.

    Returns:
        The loss, and `loss`, `log_likelihood` (the bound, in nats) and `effective_samples`.

    Raises:
        ValueError: if `samples` is not positive.

    Source:
        Burda et al. (2016), eq. 8.
    """
    check_count(samples=samples)
    mean, log_var = map(upcast, model.posterior(batch["image"]))
    shape = (samples, *mean.shape)
    mean, log_var = jnp.broadcast_to(mean, shape), jnp.broadcast_to(log_var, shape)
    z = ops.reparameterize(key, mean, log_var)
    divergence = ops.gaussian_log_prob(z, mean, log_var) - ops.standard_normal_log_prob(z)
    return _bound(model, batch["image"], z, divergence, reconstruction)


def naive_likelihood(
    model,
    batch: Batch,
    key: Key,
    *,
    samples: int,
    reconstruction: Reconstruction = gaussian_nll,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns minus `log mean_k p(x|z_k)` with codes drawn from the prior: the course's first try.

    Few codes explain a given image; `effective_samples` is their number.

    Args:
        model: a `Vae`, of which the encoder only gives the size of the codes.
        batch: `image`, of any shape.
        key: for the samples from the prior.
        samples: K, the number of codes, drawn anew for each image.
        reconstruction: −log p(x|z): `gaussian_nll` or `bernoulli_nll`.

    Returns:
        The loss, and `loss`, `log_likelihood` (in nats) and `effective_samples`.

    Raises:
        ValueError: if `samples` is not positive.

    Source:
        Doersch (2016), sec. 2.
    """
    check_count(samples=samples)
    size = jax.eval_shape(model.encode, batch["image"])
    z = draw(jax.random.normal, key, (samples, *size.shape), size.dtype)
    return _bound(model, batch["image"], z, jnp.zeros(z.shape[:-1]), reconstruction)


def _bound(
    model, x: Array, z: Array, divergence: Array, reconstruction: Reconstruction
) -> tuple[Float[Array, ""], Metrics]:
    k, b = z.shape[:2]
    many = jnp.broadcast_to(x, (k, *x.shape)).reshape(k * b, *x.shape[1:])
    error = reconstruction(model, many, z.reshape(k * b, -1)).reshape(k, b)
    log_weights = (-error - divergence).T
    bound = jnp.mean(losses.iwae_bound(log_weights))
    effective = jnp.mean(metrics.effective_sample_size(log_weights))
    return -bound, {"loss": -bound, "log_likelihood": bound, "effective_samples": effective}


def _flat(x: Array) -> Array:
    return x.reshape(len(x), -1)
