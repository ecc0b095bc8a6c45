"""Training steps of a flow of two moons against FlowJAX: same architecture, optimizer and batch.

Eight couplings with conditioners of one hidden layer of 50 units, FlowJAX's default, affine and
with splines of eight bins; 256 points per step. Both take one compiled step per call, as their
training loops do. Ours also checks that loss, gradients and updates are finite, and lets Adam move
all parameters as one vector (`optax.flatten`), as the experiment does; FlowJAX's is
`flowjax.train.step`, with Adam as its training takes it, and with all parameters as one vector.
FlowJAX's flow permutes where ours lets the halves take turns.
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import equinox as eqx
import flowjax.bijections as bijections
import flowjax.flows
import jax
import jax.numpy as jnp
import numpy as np
import optax
import paramax
from flax import nnx
from flowjax.distributions import Normal
from flowjax.train import step as flowjax_step
from flowjax.train.losses import MaximumLikelihoodLoss

from benchmarks.common import compare, save
from lectures_jax import data, objectives, train
from lectures_jax.models.flow import coupling_flow
from lectures_jax.nn.transforms import Affine, Spline

LAYERS, WIDTH, BATCH, STEPS = 8, 50, 256, 50
KINDS = {
    "affine": (Affine(), None),
    "spline": (Spline(8, 4.0), bijections.RationalQuadraticSpline(knots=7, interval=4)),
}


def ours(transform, batches):
    """Our step, as `train.fit` calls it, `STEPS` times."""
    flow = coupling_flow(2, transform=transform, layers=LAYERS, hidden=(WIDTH,), rngs=nnx.Rngs(0))
    optimizer = optax.flatten(optax.adam(1e-3))
    structure, state = train.init(jax.random.key(0), flow, optimizer)
    step = train.make_step(structure, objectives.flow, optimizer)

    def run():
        nonlocal state
        loss = None
        for x in batches:
            state, metrics = step(state, {"x": x})
            loss = metrics["loss"]
        return loss

    return run


def theirs(transformer, batches, optimizer):
    """FlowJAX's step, as its `fit_to_data` calls it, `STEPS` times."""
    flow = flowjax.flows.coupling_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(2)),
        transformer=transformer,
        flow_layers=LAYERS,
        nn_width=WIDTH,
        nn_depth=1,
        nn_activation=jax.nn.silu,
    )
    params, static = eqx.partition(
        flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )
    opt_state = optimizer.init(params)
    loss_fn = MaximumLikelihoodLoss()

    def run():
        nonlocal params, opt_state
        loss = None
        for x in batches:
            params, opt_state, loss = flowjax_step(
                params, static, x, optimizer=optimizer, opt_state=opt_state, loss_fn=loss_fn
            )
        return loss

    return run


def main(repeats: int = 30) -> None:
    """Measures, prints and saves."""
    points = np.asarray(data.two_moons(jax.random.key(0), count=STEPS * BATCH)["x"])
    batches = list(jnp.asarray(points.reshape(STEPS, BATCH, 2)))
    rows = []
    for kind, (transform, transformer) in KINDS.items():
        functions = {
            "lectures_jax": ours(transform, batches),
            "flowjax": theirs(transformer, batches, optax.adam(1e-3)),
            "flowjax, one vector": theirs(transformer, batches, optax.flatten(optax.adam(1e-3))),
        }
        times = compare(functions, repeats=repeats)
        rate = {name: STEPS / seconds for name, seconds in times.seconds.items()}
        row = {"case": f"{kind}, batch {BATCH}", "unit": "steps per second", **rate}
        row["ratio"] = rate["lectures_jax"] / rate["flowjax"]
        row["ratio, one vector"] = rate["lectures_jax"] / rate["flowjax, one vector"]
        spread = {
            name: (STEPS / high, STEPS / low) for name, (low, high) in times.quartiles.items()
        }
        rows.append(row | times.conditions() | {"quartiles": spread})
        print(
            ", ".join(f"{k}: {v:.4g}" if isinstance(v, float) else f"{v}" for k, v in row.items())
        )
    print(save("flow", rows))


if __name__ == "__main__":
    main()
