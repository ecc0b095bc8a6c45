"""Functions of images and a kernel, linear in each, with derivatives that are written by hand."""

from collections.abc import Callable
from functools import partial, update_wrapper

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from lectures_jax.ops._window import SlidingWindow

Convolution = Callable[[Array, Array, SlidingWindow], Array]
"""`(x, kernel, window) -> y`."""


def with_derivatives(
    *, in_x: Convolution, in_kernel: Convolution
) -> Callable[[Convolution], Convolution]:
    """Returns a decorator that replaces the derivative of a convolution.

    The convolution is linear in x and in its kernel: `dy = y(dx, kernel) + y(x, dkernel)`. Each of
    the two terms may be computed in a form of its own, chosen so that its transpose, which is the
    gradient, is fast.

    Args:
        in_x: called with `(dx, kernel, window)`.
        in_kernel: called with `(x, dkernel, window)`.
    """

    def decorate(convolution: Convolution) -> Convolution:
        @partial(jax.custom_jvp, nondiff_argnums=(2,))
        def differentiable(x: Array, kernel: Array, window: SlidingWindow) -> Array:
            return convolution(x, kernel, window)

        def derivative(
            window: SlidingWindow, primals: tuple, tangents: tuple
        ) -> tuple[Array, Array]:
            (x, kernel), (dx, dkernel) = primals, tangents
            y = differentiable(x, kernel, window)
            dy = jnp.zeros_like(y)
            if not isinstance(dx, SymbolicZero):
                dy = in_x(dx, kernel, window)
            if not isinstance(dkernel, SymbolicZero):
                dy = dy + in_kernel(x, dkernel, window)
            return y, dy

        differentiable.defjvp(derivative, symbolic_zeros=True)
        return update_wrapper(differentiable, convolution)

    return decorate
