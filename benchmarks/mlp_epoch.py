"""An epoch of a multilayer perceptron as one compiled scan, against a PyTorch loop.

60,000 images of 784 numbers, layers of 256 and 128, batches of 128, Adam; the size of
Fashion-MNIST, on random images, as only time is measured. Both shuffle by one permutation.
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

from benchmarks.common import compare, save
from lectures_jax import objectives, train
from lectures_jax.models.mlp import Mlp

COUNT, SIZES, BATCH = 60_000, (784, 256, 128, 10), 128


def ours(images, labels):
    """`train.make_step` inside of a scan over the batches."""
    model = Mlp(SIZES, rngs=nnx.Rngs(0))
    optimizer = optax.adam(1e-3)
    structure, state = train.init(jax.random.key(0), model, optimizer)
    step = train.make_step(structure, objectives.classification, optimizer)
    images, labels = jnp.asarray(images), jnp.asarray(labels)

    @jax.jit
    def epoch(state, key):
        order = jax.random.permutation(key, COUNT)[: COUNT // BATCH * BATCH].reshape(-1, BATCH)
        advance = lambda state, rows: step(state, {"image": images[rows], "labels": labels[rows]})
        state, metrics = jax.lax.scan(advance, state, order)
        return state, jnp.mean(metrics["loss"])

    def run():
        nonlocal state
        state, loss = epoch(state, jax.random.key(1))
        return loss

    return run


def theirs(images, labels):
    """PyTorch's loop."""
    torch.manual_seed(0)
    a, b, c, d = SIZES
    layers = [nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c), nn.ReLU(), nn.Linear(c, d)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=True)
    images, labels = torch.tensor(images), torch.tensor(labels).long()

    def run():
        order = torch.randperm(COUNT)[: COUNT // BATCH * BATCH].view(-1, BATCH)
        total = torch.zeros(())
        for rows in order:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return total.item()

    return run


def main() -> None:
    """Measures, prints and saves."""
    rng = np.random.default_rng(0)
    images = rng.random((COUNT, SIZES[0]), np.float32)
    labels = rng.integers(0, SIZES[-1], COUNT, np.int32)
    times = compare(
        {"lectures_jax": ours(images, labels), "torch": theirs(images, labels)}, repeats=5
    )
    ratio = times.seconds["lectures_jax"] / times.seconds["torch"]
    row = {"case": "an epoch", **times.seconds, "ratio": ratio, **times.conditions()}
    print(row)
    print(save("mlp_epoch", [row]))


if __name__ == "__main__":
    main()
