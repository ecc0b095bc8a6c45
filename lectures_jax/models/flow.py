"""Normalizing flows: densities that can be computed, sampled from and differentiated."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from lectures_jax import ops
from lectures_jax.nn.bijection import Bijection, Transformed
from lectures_jax.nn.conditioner import DenseConditioner, Made
from lectures_jax.nn.flow import Autoregressive, Chain, Coupling, Inverse
from lectures_jax.nn.invertible import ActNorm, InvertibleLinear
from lectures_jax.nn.transforms import Affine, Transform
from lectures_jax.typing import Key

VectorOrClass = Float[Array, "b k"] | Int[Array, " b"] | None
"""The condition of each example, a vector or the number of a class; None where there is none."""


class Flow(nnx.Module):
    """`log p(x) = log N(f(x); 0, I) + log |det f′(x)|` with an invertible f.

    Args:
        bijection: f, from data to vectors.
        size: entries of the vectors.
        classes: number of classes, where the condition is a class; otherwise 0.

    Source: Rezende & Mohamed (2015), sec. 3; Dinh et al. (2017), sec. 3.1.
    """

    def __init__(self, bijection: Bijection, *, size: int, classes: int = 0):
        self.bijection = bijection
        self.size = size
        self.classes = classes

    def forward(
        self,
        x: Float[Array, "b *shape"],
        condition: VectorOrClass = None,
        *,
        key: Key | None = None,
    ) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
        """Returns f(x) and the log-determinants.

        Args:
            x: examples.
            condition: a vector or a class for each example.
            key: for dropout.
        """
        self._check(x)
        return self.bijection.forward(x, self._vector(condition), key=key)

    def inverse(self, z: Float[Array, "b d"], condition: VectorOrClass = None) -> Transformed:
        """Returns the x with f(x) = z, and the log-determinants of the way back.

        Args:
            z: vectors.
            condition: a vector or a class for each example.
        """
        return self.bijection.inverse(z, self._vector(condition))

    def log_prob(
        self,
        x: Float[Array, "b *shape"],
        condition: VectorOrClass = None,
        *,
        key: Key | None = None,
    ) -> Float[Array, " b"]:
        """Returns the log-density of each example, in nats.

        Args:
            x: examples.
            condition: a vector or a class for each example; without it a flow with classes gives
                the density of the mixture of all classes in equal shares.
            key: for dropout.
        """
        if condition is None and self.classes:
            each = jnp.broadcast_to(jnp.arange(self.classes)[:, None], (self.classes, x.shape[0]))
            log_probs = jax.lax.map(lambda labels: self.log_prob(x, labels, key=key), each)
            return jax.nn.logsumexp(log_probs, axis=0) - math.log(self.classes)
        z, log_det = self.forward(x, condition, key=key)
        return log_det + ops.standard_normal_log_prob(z)

    def sample(
        self, key: Key, n: int, condition: VectorOrClass = None, *, temperature: float = 1.0
    ) -> Float[Array, "n *shape"]:
        """Returns examples drawn from the density.

        Args:
            key: for the normal numbers, and for the classes where they are drawn.
            n: number of examples.
            condition: a vector or a class for each example; without it a flow with classes draws
                the classes uniformly.
            temperature: factor of the normal numbers; below 1 the examples are likelier and vary
                less.
        """
        key_z, key_class = jax.random.split(key)
        if condition is None and self.classes:
            condition = jax.random.randint(key_class, (n,), 0, self.classes)
        return self.inverse(temperature * jax.random.normal(key_z, (n, self.size)), condition)[0]

    def data_dependent_init(
        self, x: Float[Array, "b *shape"], condition: VectorOrClass = None
    ) -> None:
        """Sets in place every `ActNorm` and `Whitening` so that its output is normalized.

        Args:
            x: a batch.
            condition: a vector or a class for each example.

        Source:
            Kingma & Dhariwal (2018), sec. 3.1.
        """
        self._check(x)
        self.bijection.data_dependent_init(x, self._vector(condition))

    def _check(self, x: Array) -> None:
        if not jnp.issubdtype(x.dtype, jnp.floating) or x.size != x.shape[0] * self.size:
            raise ValueError(
                f"x must be floats of shape [batch, ...], {self.size} for each example, got "
                f"{x.dtype}{list(x.shape)}; ops.dequantize makes floats of the levels of images."
            )

    def _vector(self, condition: VectorOrClass) -> Float[Array, "b k"] | None:
        if condition is None or jnp.issubdtype(condition.dtype, jnp.floating):
            return condition
        return jax.nn.one_hot(condition, self.classes)


def coupling_flow(
    features: int,
    *,
    transform: Transform = Affine(),  # noqa: B008 (frozen)
    layers: int = 8,
    hidden: Sequence[int] = (64, 64),
    condition: int = 0,
    classes: int = 0,
    mix: bool = False,
    dropout: float = 0.0,
    rngs: nnx.Rngs,
) -> Flow:
    """Returns a flow of couplings on vectors, which transform the two halves in turn.

    With `Affine` it is RealNVP, with `Spline` a neural spline flow.

    Args:
        features: entries of an example, at least two.
        transform: family of functions that transform the entries.
        layers: couplings.
        hidden: sizes of each conditioner's hidden layers.
        condition: size of the condition, where it is a vector; otherwise 0.
        classes: number of classes, where the condition is a class; otherwise 0.
        mix: puts a trained linear map between the couplings, for more than two features.
        dropout: share of the conditioners' hidden values that training sets to zero.
        rngs: for the initial parameters.

    Raises:
        ValueError: if there are fewer than two features.

    Source:
        Dinh et al. (2017), sec. 3; Durkan et al. (2019), sec. 3.2.
    """
    if features < 2:
        raise ValueError(f"features must be at least 2, got {features}.")
    chain: list[Bijection] = []
    for i in range(layers):
        swap = i % 2 == 1
        num_fixed = features // 2 if not swap else features - features // 2
        conditioner = DenseConditioner(
            num_fixed,
            (features - num_fixed) * transform.parameters,
            hidden=hidden,
            condition=condition or classes,
            dropout=dropout,
            rngs=rngs,
        )
        if mix and i:
            chain.append(InvertibleLinear(features, rngs=rngs))
        chain.append(Coupling(conditioner, transform, num_fixed=num_fixed, swap=swap))
    return Flow(Chain([*chain, ActNorm(features)]), size=features, classes=classes)


def autoregressive_flow(
    features: int,
    *,
    transform: Transform = Affine(),  # noqa: B008 (frozen)
    layers: int = 4,
    hidden: Sequence[int] = (64, 64),
    condition: int = 0,
    classes: int = 0,
    inverse: bool = False,
    dropout: float = 0.0,
    rngs: nnx.Rngs,
) -> Flow:
    """Returns a masked autoregressive flow; with `inverse` an inverse autoregressive one.

    A MAF computes densities in one call of each layer's network and samples in `features` calls; an
    IAF the other way round. The order of the features is reversed after each layer.

    Args:
        features: entries of an example.
        transform: family of functions that transform the entries.
        layers: autoregressive layers.
        hidden: sizes of each network's hidden layers.
        condition: size of the condition, where it is a vector; otherwise 0.
        classes: number of classes, where the condition is a class; otherwise 0.
        inverse: makes an IAF.
        dropout: share of the networks' hidden values that training sets to zero.
        rngs: for the initial parameters.

    Source:
        Papamakarios et al. (2017), sec. 3; Kingma et al. (2016), sec. 3.
    """
    chain: list[Bijection] = []
    for i in range(layers):
        order = range(features) if i % 2 == 0 else range(features)[::-1]
        made = Made(
            features,
            transform.parameters,
            hidden=hidden,
            order=order,
            condition=condition or classes,
            dropout=dropout,
            rngs=rngs,
        )
        layer = Autoregressive(made, transform)
        chain.append(Inverse(layer) if inverse else layer)
    return Flow(Chain([*chain, ActNorm(features)]), size=features, classes=classes)
