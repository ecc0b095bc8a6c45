"""Normalizing flows: densities that can be computed, sampled from and differentiated."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from lectures_jax import ops
from lectures_jax.nn.conditioner import DenseConditioner, Made
from lectures_jax.nn.flow import Autoregressive, Chain, Coupling, Inverse, Multiscale
from lectures_jax.nn.invertible import ActNorm, InvertibleLinear, Whitening
from lectures_jax.nn.transforms import Affine, Moved, Transform
from lectures_jax.typing import Key

Told = Float[Array, "b k"] | Int[Array, " b"] | None
"""A vector or a class for each example; None for flows that are told nothing."""


class Flow(nnx.Module):
    """`log p(x) = log N(f(x); 0, I) + log |det f′(x)|` with an invertible f.

    Args:
        bijection: f, a layer of `nn.flow`: from data to vectors.
        size: entries of the vectors.
        classes: of a flow that is told the class of each example; 0 for others.

    Source: Rezende & Mohamed (2015), sec. 3; Dinh et al. (2017), sec. 3.1.
    """

    def __init__(self, bijection: nnx.Module, *, size: int, classes: int = 0):
        self.bijection: Any = bijection
        self.size = size
        self.classes = classes

    def forward(
        self, x: Float[Array, "b *shape"], told: Told = None, *, key: Key | None = None
    ) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
        """Returns f(x) and the log-determinants.

        Args:
            x: examples.
            told: a vector or a class for each.
            key: for dropout.
        """
        return self.bijection.forward(x, self._vector(told), key=key)

    def inverse(self, z: Float[Array, "b d"], told: Told = None) -> Moved:
        """Returns the x with f(x) = z, and the log-determinants of the way back.

        Args:
            z: vectors.
            told: a vector or a class for each.
        """
        return self.bijection.inverse(z, self._vector(told))

    def log_prob(
        self, x: Float[Array, "b *shape"], told: Told = None, *, key: Key | None = None
    ) -> Float[Array, " b"]:
        """Returns the log-density of each example, in nats.

        Args:
            x: examples.
            told: a vector or a class for each; without it a flow with classes gives the density of
                all of them, each as likely as the others.
            key: for dropout.
        """
        if told is None and self.classes:
            each = jnp.broadcast_to(jnp.arange(self.classes)[:, None], (self.classes, len(x)))
            log_probs = jax.lax.map(lambda labels: self.log_prob(x, labels, key=key), each)
            return jax.nn.logsumexp(log_probs, axis=0) - math.log(self.classes)
        z, log_det = self.forward(x, told, key=key)
        return log_det - 0.5 * jnp.sum(z**2 + math.log(2 * math.pi), axis=-1)

    def sample(
        self, key: Key, n: int, told: Told = None, *, temperature: float = 1.0
    ) -> Float[Array, "n *shape"]:
        """Returns examples drawn from the density.

        Args:
            key: of the draw.
            n: how many.
            told: a vector or a class for each; without it a flow with classes draws the classes.
            temperature: factor of the normal deviates; below 1, likelier and more alike.
        """
        key_z, key_told = jax.random.split(key)
        if told is None and self.classes:
            told = jax.random.randint(key_told, (n,), 0, self.classes)
        return self.inverse(temperature * jax.random.normal(key_z, (n, self.size)), told)[0]

    def _vector(self, told: Told) -> Float[Array, "b k"] | None:
        if told is None or jnp.issubdtype(told.dtype, jnp.floating):
            return told
        return jax.nn.one_hot(told, self.classes)


def adapt(flow: Flow, x: Float[Array, "b *shape"], told: Told = None) -> None:
    """Lets every `ActNorm` and `Whitening` of a flow, in place, begin with normalized output.

    Args:
        flow: changed in place.
        x: the batch.
        told: a vector or a class for each example.

    Source:
        Kingma & Dhariwal (2018), sec. 3.1.
    """
    _adapt(flow.bijection, x, flow._vector(told))


def _adapt(layer: Any, x: Array, condition: Array | None) -> Array:
    """Adapts what is inside of a layer, and passes the batch on."""
    if isinstance(layer, Chain):
        for inner in layer.layers:
            x = _adapt(inner, x, condition)
        return x
    if isinstance(layer, Multiscale):
        for i, chain in enumerate(layer.chains):
            x = _adapt(chain, ops.space_to_depth(x), condition)
            if i < len(layer.chains) - 1:
                x = jnp.split(x, 2, axis=-1)[0]
        return x
    if isinstance(layer, ActNorm):
        layer.adapt(x)
    if isinstance(layer, Whitening):
        layer.adapt(x, condition)
    return layer.forward(x, condition)[0]


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
    """Returns a flow of couplings on vectors, in which the halves take turns.

    With `Affine` it is RealNVP, with `Spline` a neural spline flow.

    Args:
        features: entries of an example, at least two.
        transform: what moves the entries.
        layers: couplings.
        hidden: sizes of each conditioner's hidden layers.
        condition: numbers of the vector that it is told.
        classes: that it is told instead of a vector.
        mix: put a trained rotation between the couplings, for more than two features.
        dropout: in the conditioners.
        rngs: for the parameters.

    Raises:
        ValueError: if there are fewer than two features.

    Source:
        Dinh et al. (2017), sec. 3; Durkan et al. (2019), sec. 3.2.
    """
    if features < 2:
        raise ValueError(f"features must be at least 2, got {features}.")
    chain: list[nnx.Module] = []
    for i in range(layers):
        swap = i % 2 == 1
        stay = features // 2 if not swap else features - features // 2
        conditioner = DenseConditioner(
            stay,
            (features - stay) * transform.parameters,
            hidden=hidden,
            condition=condition or classes,
            dropout=dropout,
            rngs=rngs,
        )
        if mix and i:
            chain.append(InvertibleLinear(features, rngs=rngs))
        chain.append(Coupling(conditioner, transform, stay=stay, swap=swap))
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
    IAF the other way round. The order of the features turns round after each layer.

    Args:
        features: entries of an example.
        transform: what moves the entries.
        layers: autoregressive layers.
        hidden: sizes of each network's hidden layers.
        condition: numbers of the vector that it is told.
        classes: that it is told instead of a vector.
        inverse: IAF.
        dropout: in the networks.
        rngs: for the parameters.

    Source:
        Papamakarios et al. (2017), sec. 3; Kingma et al. (2016), sec. 3.
    """
    chain: list[nnx.Module] = []
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
