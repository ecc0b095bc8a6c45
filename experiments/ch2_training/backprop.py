"""Backpropagation by hand, and how errors vanish. CPU, 30 s; orders of magnitude per layer 0.63.

The course's recursion equals `jax.grad`. Then its factors are measured: at each layer the error is
multiplied by the weights and by the derivative of the activation. Over many layers the product
grows or shrinks exponentially, at the rate that the factors predict. Initialization, rectifiers,
normalization and residual connections keep the factors near one.
"""

from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import losses, ops, report, runtime
from lectures_jax.ops.activation import ACTIVATIONS, Name
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

TINY = {"depth": 4, "width": 8, "examples": 8, "networks": 1}
EXPECTED = {
    "error_float32": (None, 1e-6),
    "error_float64": (None, 1e-12),
    "rate_off_prediction": (None, 0.02),
    "sigmoid_rate": (None, -0.55),
    "relu_he_rate": (-0.02, 0.02),
}

GLOROT, HE = jax.nn.initializers.glorot_normal(), jax.nn.initializers.he_normal()


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    depth: int = 30
    """hidden layers"""
    width: int = 128
    """units of each"""
    examples: int = 64
    """inputs, drawn from the standard normal distribution"""
    networks: int = 3
    """initializations of each kind, averaged"""
    seed: int = 0
    """of weights and inputs"""


@dataclass(frozen=True)
class Kind:
    """Activation, initialization and remedies of a network."""

    activation: Name
    init: jax.nn.initializers.Initializer
    residual: bool = False
    normalized: bool = False


KINDS = {
    "sigmoid, Glorot": Kind("sigmoid", GLOROT),
    "tanh, Glorot": Kind("tanh", GLOROT),
    "ReLU, Glorot": Kind("relu", GLOROT),
    "ReLU, He": Kind("relu", HE),
    "sigmoid, Glorot, residual": Kind("sigmoid", GLOROT, residual=True),
    "sigmoid, Glorot, normalized": Kind("sigmoid", GLOROT, normalized=True),
    "ReLU, Glorot, normalized": Kind("relu", GLOROT, normalized=True),
}
PLAIN = [name for name, kind in KINDS.items() if not (kind.residual or kind.normalized)]
"""Networks without a residual connection or normalization: the factors predict their rates."""


class Decay(NamedTuple):
    """How the error decays toward the input, as geometric means over the networks of a kind."""

    norms: np.ndarray
    """of the error δ at each layer"""
    factors: np.ndarray
    """expected from each layer to the one before"""
    measured: float
    """orders of magnitude per layer, fitted to the norms"""
    predicted: float
    """orders of magnitude per layer, as the product of the factors says"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Compares the recursion with JAX's gradients, and measures each kind's decay."""
    exactness = {dtype: agreement(dtype, config) for dtype in ("float32", "float64")}
    keys = jax.random.split(jax.random.key(config.seed), config.networks)
    decays = {name: decay(keys, kind, config) for name, kind in KINDS.items()}
    numbers = {
        "error_float32": exactness["float32"],
        "error_float64": exactness["float64"],
        "sigmoid_rate": decays["sigmoid, Glorot"].measured,
        "relu_he_rate": decays["ReLU, He"].measured,
        "rate_off_prediction": max(abs(decays[n].measured - decays[n].predicted) for n in PLAIN),
    }
    write_report(config, out, numbers, decays)
    return numbers


def agreement(dtype: str, config: Config) -> float:
    """Largest difference of the recursion from `jax.grad`, relative to the largest gradient."""
    with jax.enable_x64(True):
        sizes = (5, *[16] * min(config.depth, 8), 3)
        keys = jax.random.split(jax.random.key(config.seed), len(sizes) + 1)
        params = [
            {"kernel": GLOROT(key, (n, m), dtype), "bias": jnp.zeros(m, dtype)}
            for key, (n, m) in zip(keys[2:], pairwise(sizes), strict=True)
        ]
        x, y = (jax.random.normal(k, (32, n), dtype) for k, n in zip(keys[:2], (5, 3), strict=True))

        def loss(params):
            z = x
            for layer in params[:-1]:
                z = jnp.tanh(ops.linear(z, layer["kernel"], layer["bias"]))
            z = ops.linear(z, params[-1]["kernel"], params[-1]["bias"])
            return jnp.mean(losses.squared_error(z, y))

        recursion = jax.tree.leaves(ops.backprop(params, x, y))
        automatic = jax.tree.leaves(jax.grad(loss)(params))
        scale = max(float(jnp.max(jnp.abs(g))) for g in automatic)
        pairs = zip(recursion, automatic, strict=True)
        return max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs) / scale


def decay(keys: jax.Array, kind: Kind, config: Config) -> Decay:
    """The decay of one kind of network, one initialization per key."""
    with jax.enable_x64(True):  # squares of vanished gradients would underflow
        each = jax.jit(jax.vmap(partial(gradients, kind=kind, config=config)))(keys)
    norms, factors = (np.exp(np.mean(np.log(np.asarray(x)), axis=0)) for x in each)
    return Decay(norms, factors, *rates(norms, factors))


def gradients(key: jax.Array, *, kind: Kind, config: Config) -> tuple[jax.Array, jax.Array]:
    """Norm of the error δ at each layer, and the factor that theory expects from layer to layer.

    The errors are the gradients with respect to zeros that are added to the layers' sums. The
    factor is `√(width · variance of the weights · mean of φ′²)`: the root mean square of a product
    of independent factors.
    """
    key_x, key_y, *keys = jax.random.split(key, config.depth + 3)
    shape = (config.width, config.width)
    kernels = jnp.stack([kind.init(k, shape) for k in keys[:-1]])
    last = GLOROT(keys[-1], (config.width, 1))
    x = jax.random.normal(key_x, (config.examples, config.width))
    y = jax.random.normal(key_y, (config.examples, 1))
    phi = ACTIVATIONS[kind.activation].value

    def loss(probes):
        def layer(a, inputs):
            kernel, probe = inputs
            z = ops.linear(a, kernel)
            if kind.normalized:
                ones = jnp.ones(config.width)
                z = ops.batch_norm(z, *ops.batch_moments(z), ones, 0 * ones)
            z += probe
            return (a if kind.residual else 0) + phi(z), z

        a, sums = jax.lax.scan(layer, x, (kernels, probes))
        return jnp.mean(losses.squared_error(ops.linear(a, last), y)), sums

    probes = jnp.zeros((config.depth, config.examples, config.width))
    deltas, sums = jax.grad(loss, has_aux=True)(probes)
    derivatives = ops.activation_derivative(sums, activation=kind.activation)
    variance = jnp.var(kernels, axis=(1, 2))
    factors = jnp.sqrt(config.width * variance * jnp.mean(derivatives**2, axis=(1, 2)))
    return jnp.sqrt(jnp.sum(deltas**2, axis=(1, 2))), factors


def rates(norms: np.ndarray, factors: np.ndarray) -> tuple[float, float]:
    """Orders of magnitude per layer: fitted to the norms, and as the product of factors says.

    Toward the input the error is multiplied by ten to the rate at every layer. A factor consists of
    the derivative of the layer itself and the weights of the next.
    """
    back = np.arange(len(norms))[::-1]
    fitted = np.polyfit(back, np.log10(norms), 1)[0]
    predicted = np.mean(np.log10(factors))
    return float(fitted), float(predicted)


def write_report(
    config: Config, out: Path, numbers: dict[str, float], decays: dict[str, Decay]
) -> None:
    """Draws the norms over the layers, and writes the page."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    cured = ["sigmoid, Glorot", *(name for name in KINDS if name not in PLAIN)]
    draw_norms(figures / "vanishing.svg", {name: decays[name] for name in PLAIN})
    draw_norms(figures / "remedies.svg", {name: decays[name] for name in cured})
    report.page(
        out / "report.html",
        title="Backpropagation and vanishing gradients",
        summary="The error of a layer is that of the next one, times its weights, times the "
        "derivative of the activation. Thirty such factors decide how far the first layers train.",
        numbers=numbers,
        sections=[
            Section(
                "The recursion",
                "δₗ = (δₗ₊₁ Wₗ₊₁ᵀ) ⊙ φ′(zₗ), without automatic differentiation, equals "
                f"jax.grad up to {numbers['error_float32']:.1g} in float32 and "
                f"{numbers['error_float64']:.1g} in float64 (tanh, nine layers).",
            ),
            vanishing_section(figures, decays),
            Section(
                "How to read the rates",
                "Orders of magnitude per layer toward the input: −0.6 divides the error by four. "
                "Normalization multiplies the error by what it divided the sums by, which undoes "
                "the shrinking, and for rectifiers more than that: there the error grows toward "
                "the input. A residual connection passes the error on beside the layer, unchanged.",
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def vanishing_section(figures: Path, decays: dict[str, Decay]) -> Section:
    """Measured and predicted rates, with both plots."""
    rows = [
        (
            name,
            decay.measured,
            decay.predicted if name in PLAIN else None,
            float(decay.norms[0] / decay.norms[-1]),
        )
        for name, decay in decays.items()
    ]
    return Section(
        "Vanishing",
        "The derivative of a sigmoid is at most ¼: each layer costs more than half an order of "
        "magnitude. The dotted lines are the product of √(n · Var w · E φ′²), which is computed "
        "from the forward pass alone. He's initialization makes that factor 1 for rectifiers, "
        "Glorot's √½.",
        figures=[
            Figure(figures / "vanishing.svg", "Without remedies; dotted: predicted."),
            Figure(figures / "remedies.svg", "The sigmoid's network, and remedies."),
        ],
        table=Table(
            ("network", "measured rate", "predicted", "first layer's δ over the last's"), rows
        ),
    )


def draw_norms(path: Path, decays: dict[str, Decay]) -> None:
    """Norm of δ over the layers; dotted where the factors predict it."""
    with plot(path, height=3.6) as (ax,):
        for name, (norms, factors, _, _) in decays.items():
            layers = np.arange(1, len(norms) + 1)
            shade = color(list(KINDS).index(name))
            ax.semilogy(layers, norms / norms[-1], color=shade, label=name)
            if name in PLAIN:
                product = np.cumprod([1.0, *factors[-2::-1]])[::-1]
                ax.semilogy(layers, product, ":", color=INK, lw=1)
        ax.set(xlabel="layer, from the input", ylabel="norm of δ, of the last layer's")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
