"""Invertible layers without a conditioner."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.bijection import Bijection, Condition, Transformed
from lectures_jax.typing import Key


class ActNorm(Bijection):
    """A scale and a shift of each channel. Source: Kingma & Dhariwal (2018), sec. 3.1."""

    def __init__(self, channels: int):
        self.shift = nnx.Param(jnp.zeros(channels))
        self.log_scale = nnx.Param(jnp.zeros(channels))

    def data_dependent_init(self, x: Array, condition: Condition = None) -> Array:
        """Sets shift and scale so that this batch gets mean 0 and variance 1 in each channel."""
        self.shift[...], self.log_scale[...] = ops.actnorm_statistics(x)
        return self.forward(x)[0]

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        return _per_example(ops.actnorm(x, self.shift[...], self.log_scale[...]))

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        return _per_example(ops.actnorm_inverse(z, self.shift[...], self.log_scale[...]))


class InvertibleLinear(Bijection):
    """`x W`, on maps a 1×1 convolution, with W stored as its LU decomposition.

    W starts as a random rotation. Source: Kingma & Dhariwal (2018), sec. 3.2.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.init_from(jax.random.orthogonal(rngs.params(), channels))

    def init_from(self, kernel: Float[Array, "c c"]) -> None:
        """Sets W, and with it the signs and the permutation, which are not trained.

        Args:
            kernel: W, invertible.
        """
        p, lower, upper = jax.scipy.linalg.lu(kernel)
        pivots = jnp.diag(upper)
        self.lower = nnx.Param(jnp.tril(lower, -1))
        self.upper = nnx.Param(jnp.triu(upper, 1))
        self.log_diagonal = nnx.Param(jnp.log(jnp.abs(pivots)))
        self.sign = nnx.Variable(jnp.sign(pivots))
        self.permutation = nnx.Variable(jnp.argmax(p, axis=1))

    def kernel(self) -> Float[Array, "c c"]:
        """Returns W."""
        return ops.lu_kernel(
            self.lower[...],
            self.upper[...],
            self.log_diagonal[...],
            self.sign[...],
            self.permutation[...],
        )

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        log_det = jnp.broadcast_to(jnp.sum(self.log_diagonal[...]), x.shape[:-1])
        return _per_example((x @ self.kernel(), log_det))

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        x, _ = ops.invertible_linear_inverse(z, self.kernel())
        log_det = jnp.broadcast_to(-jnp.sum(self.log_diagonal[...]), x.shape[:-1])
        return _per_example((x, log_det))


class Whitening(Bijection):
    """`(x + shift + condition V) W`, which can start as what makes a batch white.

    A flow that ends with it starts as good as a fitted Gaussian with full covariance, whose mean
    depends on the condition.

    Args:
        features: entries of a vector.
        condition: size of the condition.
        ridge: added to the variances by which the start divides.

    Source: Kessy et al. (2018), sec. 2.3, PCA whitening.
    """

    def __init__(self, features: int, *, condition: int = 0, ridge: float = 1e-3, rngs: nnx.Rngs):
        self.shift = nnx.Param(jnp.zeros(features))
        self.condition = nnx.Param(jnp.zeros((condition, features))) if condition else None
        self.linear = InvertibleLinear(features, rngs=rngs)
        self.ridge = ridge

    def data_dependent_init(self, x: Array, condition: Condition = None) -> Array:
        """Sets shift, V and W so that this batch gets mean 0 and, but for the ridge, covariance I.

        With a condition the mean is a linear regression on it: that of each class, for classes.
        """
        mean = jnp.mean(x, axis=0)
        if self.condition is not None and condition is not None:
            centered = condition - jnp.mean(condition, axis=0)[None]
            self.condition[...] = -jnp.linalg.lstsq(centered, x - mean[None])[0]
            mean = mean + jnp.mean(condition, axis=0) @ self.condition[...]
        self.shift[...] = -mean
        centered = x + self._shift(condition)
        variance, axes = jnp.linalg.eigh(centered.T @ centered / x.shape[0])
        self.linear.init_from(axes * jax.lax.rsqrt(jnp.maximum(variance, 0) + self.ridge)[None])
        return self.forward(x, condition)[0]

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        return self.linear.forward(x + self._shift(condition))

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        x, log_det = self.linear.inverse(z)
        return x - self._shift(condition), log_det

    def _shift(self, condition: Condition) -> Float[Array, "_ d"]:
        shift = self.shift[...][None]
        if self.condition is None or condition is None:
            return shift
        return shift + condition @ self.condition[...]


class Logit(Bijection):
    """From [0, 1] to all numbers: `ops.logit_transform`. Source: Dinh et al. (2017), sec. 4.1."""

    def __init__(self, *, alpha: float = 0.05):
        self.alpha = alpha

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        return _per_example(ops.logit_transform(x, alpha=self.alpha))

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        return _per_example(ops.logit_transform_inverse(z, alpha=self.alpha))


class Probit(Bijection):
    """From [0, 1] to all numbers, the uniform density to the normal one: `ops.probit`."""

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        return _per_example(ops.probit(x))

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        return _per_example(ops.probit_inverse(z))


class Flatten(Bijection):
    """Images as vectors, row by row."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(
        self, x: Array, condition: Condition = None, *, key: Key | None = None
    ) -> Transformed:
        return x.reshape(x.shape[0], -1), jnp.zeros(x.shape[0], x.dtype)

    def inverse(self, z: Array, condition: Condition = None) -> Transformed:
        return z.reshape(z.shape[0], *self.shape), jnp.zeros(z.shape[0], z.dtype)


def _per_example(transformed: tuple[Array, Array]) -> Transformed:
    """Sums the log-determinants of an example's cells or entries."""
    y, log_det = transformed
    return y, jnp.sum(log_det, axis=tuple(range(1, log_det.ndim)))
