"""The inverse of DDIM: the noise from which it makes given images."""

from functools import partial

import jax
from jaxtyping import Array, Float

from lectures_jax.ops._reverse import estimate, steps_in_float32
from lectures_jax.ops.diffusion import roots
from lectures_jax.ops.guidance import Predictor, as_partial
from lectures_jax.ops.solvers import sampling_schedule
from lectures_jax.typing import check_count, checked


@checked
def invert_diffusion(
    predict_noise: Predictor,
    x0: Float[Array, "*s"],
    alpha_bar: Float[Array, " t"],
    *,
    steps: int,
    iterations: int = 3,
) -> Float[Array, "*s"]:
    """Returns the noise from which DDIM makes these images in the same number of steps.

    Each step solves `ddim_step(x_t, ε(x_t), ᾱ, ᾱ') = x'` for x_t by repeated substitution.

    Args:
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        x0: images without noise.
        alpha_bar: signal ratios of the training, falling.
        steps: number of steps of the sampler that is inverted.
        iterations: substitutions per step, each a call of the network. 1 is the usual inversion,
            which predicts the noise from the less noisy image; more come closer to the inverse.

    Returns:
        Images at the last signal ratio, of the shape and dtype of `x0`.

    Raises:
        ValueError: if steps is out of range, or there is no iteration.

    Source:
        Song et al. (2021a), sec. 5.4; substitution: Pan et al. (2023), sec. 3.2.
    """
    check_count(iterations=iterations)
    schedule = sampling_schedule(alpha_bar, steps=steps)
    return _invert(as_partial(predict_noise), x0, schedule[::-1], iterations=iterations)


@partial(jax.jit, static_argnames="iterations")
@steps_in_float32
def _invert(predict: Predictor, x: Array, schedule: Array, *, iterations: int) -> Array:
    def step(x: Array, ratios: tuple[Array, Array]) -> tuple[Array, None]:
        ratio, ratio_next = ratios
        signal, spread = roots(ratio, x)
        signal_next, spread_next = roots(ratio_next, x)

        def substitute(estimated: Array, _: None) -> tuple[Array, None]:
            noise = estimate(predict, estimated, ratio_next).noise
            return signal_next * (x - spread * noise) / signal + spread_next * noise, None

        return jax.lax.scan(substitute, x, length=iterations)[0], None

    return jax.lax.scan(step, x, (schedule[:-1], schedule[1:]))[0]
