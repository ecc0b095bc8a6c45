"""Laws that hold for all inputs, run under chex's variants.

    class MyOpTest(LawTest):
        @law(x=strategies.reals((3, 4)))
        def test_it_is_odd(self, x):
            close(self.apply(my_op, -x), -self.apply(my_op, x))

Each law becomes three tests: compiled, not compiled, and with its arguments on a device. How many
inputs are drawn is hypothesis's setting `max_examples`, which `settings.load_profile` sets; what is
not compiled takes longer and draws fewer.
"""

import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

try:
    import chex
    from hypothesis import given, settings
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.testing.properties needs {error.name}: pip install 'lectures_jax[test]'"
    ) from error

SHARES = {"with_jit": 1.0, "without_jit": 0.5, "with_device": 0.25}
"""How many inputs a variant draws, as a share of the setting."""


def law(
    *, variants: bool = True, eager: bool = True, share: float = 1.0, **inputs: Any
) -> Callable[[Callable[..., None]], Any]:
    """Returns a decorator that makes a property of a method of a `LawTest`.

    Args:
        variants: run it compiled, and perhaps not. Functions that cannot be traced run as they are.
        eager: also run it without `jit` and with arguments on a device. Functions with long loops
            take too long for that.
        share: how many inputs are drawn, as a share of hypothesis's setting.
        inputs: a hypothesis strategy for each argument of the method. NumPy arrays, also in trees,
            arrive as JAX arrays.
    """

    def decorate(method: Callable[..., None]) -> Any:
        @functools.wraps(method)
        def check(self: LawTest, **drawn: Any) -> None:
            method(self, **jax.tree.map(_to_jax, drawn))

        def drawing(part: float) -> Callable[[LawTest], None]:
            count = max(1, round(share * part * settings().max_examples))
            return settings(max_examples=count)(given(**inputs)(check))

        if not variants:
            return drawing(1.0)
        tests = {name: drawing(part) for name, part in SHARES.items()}

        def test(self: LawTest) -> None:
            tests[self.id().rpartition("__")[2]](self)

        test.__name__, test.__doc__ = method.__name__, method.__doc__
        variant: Any = chex.variants(with_jit=True, without_jit=eager, with_device=eager)
        return variant(test)

    return decorate


class LawTest(chex.TestCase):
    """A set of laws about related functions."""

    def apply(self, fn: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
        """Returns `fn(*arrays, **options)` as the variant at hand runs it, and checks it.

        Within one law, a function is traced once for each set of shapes and options.

        Args:
            fn: the function. One made anew for each input would be compiled for each.
            arrays: its arrays, or trees of them.
            options: its hyperparameters, hashable.
        """
        shapes = tuple(str(jax.typeof(x)) for x in jax.tree.leaves(arrays))
        bound = _bound(fn, tuple(sorted(options.items())), (self.id(), *shapes))
        return self.variant(bound)(*arrays)


def close(got: Any, expected: Any, *, rtol: int | float = 1e-5, atol: int | float = 1e-5) -> None:
    """Raises an error unless two trees agree up to rounding, and are finite.

    Args:
        got: arrays.
        expected: arrays of the same structure.
        rtol: largest difference as a share of the expected value.
        atol: largest difference besides.

    Raises:
        AssertionError: if they do not agree.
    """
    chex.assert_tree_all_finite(got)
    chex.assert_trees_all_close(got, expected, rtol=rtol, atol=atol)


def equal(got: Any, expected: Any) -> None:
    """Raises an error unless two trees agree in every bit.

    Args:
        got: arrays.
        expected: arrays of the same structure.

    Raises:
        AssertionError: if they do not agree.
    """
    chex.assert_trees_all_equal(got, expected)


def between(values: Any, low: Any, high: Any, *, atol: int | float = 1e-6) -> None:
    """Raises an error unless all values of a tree are finite and within bounds.

    Args:
        values: arrays.
        low: lower bound, a number or an array.
        high: upper bound, a number or an array.
        atol: how far rounding may exceed a bound.

    Raises:
        AssertionError: if a value is out of bounds.
    """
    chex.assert_tree_all_finite(values)
    low, high = np.asarray(low), np.asarray(high)
    for value in map(np.asarray, jax.tree.leaves(values)):
        if not (np.all(value >= low - atol) and np.all(value <= high + atol)):
            raise AssertionError(f"{value} is not between {low} and {high}.")


@functools.cache
def gradient(fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Returns the function that gives the gradient of the sum of all results of `fn`.

    Args:
        fn: the function.
        argnums: the positions of the arguments by which to differentiate.
    """

    def total(*arrays: Any, **options: Any) -> jax.Array:
        return jnp.asarray(sum(jnp.sum(y) for y in jax.tree.leaves(fn(*arrays, **options))))

    def grads(*arrays: Any, **options: Any) -> Any:
        return jax.grad(total, argnums=argnums)(*arrays, **options)

    grads.__name__ = f"gradient_{getattr(fn, '__name__', 'fn')}_{argnums}"
    return grads


@functools.cache
def _bound(
    fn: Callable[..., Any], options: tuple[tuple[str, Any], ...], owner: tuple[str, ...]
) -> Callable[..., Any]:
    """Returns `fn` with its options, a function of its own for each owner, traced at most once."""

    def bound(*arrays: Any) -> Any:
        return fn(*arrays, **dict(options))

    # chex counts by name, JAX's cache on disk goes by it: the same in every run, and no other's.
    number = zlib.crc32(repr((options, owner)).encode())
    bound.__name__ = f"{getattr(fn, '__name__', 'fn')}_{number:08x}"
    return chex.assert_max_traces(bound, n=1)


def _to_jax(x: Any) -> Any:
    return jnp.asarray(x) if isinstance(x, np.ndarray) else x
