"""Backpropagation by hand, and how errors vanish. CPU, 30 s; orders of magnitude per layer 0.63.

The course's recursion equals `jax.grad`. Then its factors: at each layer the error is multiplied by
the weights and by the activation's slope. Over many layers that is exponential, and the rate that
is measured is the one that the factors foretell. What keeps it near one: the initialization,
rectifiers, normalization, residual connections.
"""

from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import losses, ops, report, runtime
from lectures_jax.ops.activation import ACTIVATIONS
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

TINY = {"depth": 4, "width": 8, "examples": 8, "networks": 1}

GLOROT, HE = jax.nn.initializers.glorot_normal(), jax.nn.initializers.he_normal()


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    depth: int = 30
    """hidden layers"""
    width: int = 128
    """units of each"""
    examples: int = 64
    """inputs, drawn from a normal distribution"""
    networks: int = 3
    """initializations of each kind, averaged"""
    seed: int = 0
    """of weights and inputs"""


@dataclass(frozen=True)
class Kind:
    """One way to build the network."""

    activation: str
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


def run(config: Config, out: Path) -> dict[str, float]:
    """Compares the recursion with JAX's gradients, and measures each kind's decay."""
    exactness = {dtype: agreement(dtype, config) for dtype in ("float32", "float64")}
    keys = jax.random.split(jax.random.key(config.seed), config.networks)
    measured = {}
    for name, kind in KINDS.items():
        with jax.enable_x64(True):  # squares of vanished gradients would underflow
            found = jax.jit(jax.vmap(partial(gradients, kind=kind, config=config)))(keys)
        norms, factors = (np.exp(np.mean(np.log(np.asarray(x)), axis=0)) for x in found)
        measured[name] = norms, factors, *rates(norms, factors)
    plain = [name for name, kind in KINDS.items() if not (kind.residual or kind.normalized)]
    numbers = {
        "error_float32": exactness["float32"],
        "error_float64": exactness["float64"],
        "sigmoid_rate": measured["sigmoid, Glorot"][2],
        "relu_he_rate": measured["ReLU, He"][2],
        "rate_off_prediction": max(abs(measured[n][2] - measured[n][3]) for n in plain),
    }
    write_report(config, out, numbers, measured)
    if config == Config() and not (
        exactness["float32"] < 1e-6
        and exactness["float64"] < 1e-12
        and numbers["rate_off_prediction"] < 0.02
        and numbers["sigmoid_rate"] < -0.55
        and abs(numbers["relu_he_rate"]) < 0.02
    ):
        raise RuntimeError(f"expected equal gradients and the rates foretold, got {numbers}.")
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

        ours, jax_s = (
            jax.tree.leaves(ops.backprop(params, x, y)),
            jax.tree.leaves(jax.grad(loss)(params)),
        )
        scale = max(float(jnp.max(jnp.abs(g))) for g in jax_s)
        return max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(ours, jax_s, strict=True)) / scale


def gradients(key: jax.Array, *, kind: Kind, config: Config) -> tuple[jax.Array, jax.Array]:
    """Norm of the error δ at each layer, and the factor that theory expects from layer to layer.

    The errors are the gradients by zeros that are added to the layers' sums. The factor is
    `√(width · variance of the weights · mean of φ′²)`: the root mean square of a product of
    independent factors.
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
    slopes = ops.activation_derivative(sums, activation=kind.activation)
    variance = jnp.var(kernels, axis=(1, 2))
    factors = jnp.sqrt(config.width * variance * jnp.mean(slopes**2, axis=(1, 2)))
    return jnp.sqrt(jnp.sum(deltas**2, axis=(1, 2))), factors


def rates(norms: np.ndarray, factors: np.ndarray) -> tuple[float, float]:
    """Orders of magnitude per layer: fitted to the norms, and as the product of factors says.

    Toward the input the error shrinks by the rate's power of ten at every layer. The slope of the
    layer itself and the weights of the next give a factor.
    """
    back = np.arange(len(norms))[::-1]
    fitted = np.polyfit(back, np.log10(norms), 1)[0]
    predicted = np.mean(np.log10(factors))
    return float(fitted), float(predicted)


def write_report(config: Config, out: Path, numbers: dict, measured: dict) -> None:
    """Draws the norms over the layers, and writes the page."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    plain = [name for name, kind in KINDS.items() if not (kind.residual or kind.normalized)]
    cured = ["sigmoid, Glorot", *(name for name in KINDS if name not in plain)]
    for file, names in (("vanishing", plain), ("remedies", cured)):
        with plot(figures / f"{file}.svg", height=3.6) as (ax,):
            for name in names:
                norms, factors, _, _ = measured[name]
                shade = color(list(KINDS).index(name))
                layers = np.arange(1, config.depth + 1)
                ax.semilogy(layers, norms / norms[-1], color=shade, label=name)
                if name in plain:
                    product = np.cumprod([1.0, *factors[-2::-1]])[::-1]
                    ax.semilogy(layers, product, ":", color=INK, lw=1)
            ax.set(xlabel="layer, from the input", ylabel="norm of δ, of the last layer's")
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    rows = [
        (name, fitted, predicted if name in plain else None, float(norms[0] / norms[-1]))
        for name, (norms, _, fitted, predicted) in measured.items()
    ]
    report.page(
        out / "report.html",
        title="Backpropagation and vanishing gradients",
        summary="The error of a layer is that of the next one, times its weights, times the slope "
        "of the activation. Thirty such factors decide whether the first layers learn.",
        numbers=numbers,
        sections=[
            Section(
                "The recursion",
                "δ_l = (δ_{l+1} W_{l+1}ᵀ) ⊙ φ′(z_l), without automatic differentiation, equals "
                f"jax.grad up to {numbers['error_float32']:.1g} in float32 and "
                f"{numbers['error_float64']:.1g} in float64 (tanh, nine layers).",
            ),
            Section(
                "Vanishing",
                "A sigmoid's slope is at most ¼: each layer costs more than half an order of "
                "magnitude. The dotted lines are the product of √(n · Var w · E φ′²), which is "
                "computed from the forward pass alone. He's initialization makes that factor 1 for "
                "rectifiers, Glorot's √½.",
                figures=[
                    Figure(figures / "vanishing.svg", "Without remedies; dotted: predicted."),
                    Figure(figures / "remedies.svg", "The sigmoid's network, and remedies."),
                ],
                table=Table(
                    ("network", "measured rate", "predicted", "first layer's δ over the last's"),
                    rows,
                ),
            ),
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
