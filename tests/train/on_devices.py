"""Trains small networks on one device and on meshes of eight: `on_devices.py FOLDER`."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import train
from tests.train.nets import images, squared

MESHES = {"1": None, "8x1": (8, 1), "4x2": (4, 2)}
STEPS = 20
# Not Adam: where a gradient is 0 but for rounding, as that of a bias before batch normalization,
# its moves are as long as elsewhere, in a direction that rounding chose.
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


class Wide(nnx.Module):
    """Convolutions, one of them large enough to be split, with batch norm and dropout."""

    def __init__(self, inputs=1, *, rngs):
        self.first = nnx.Conv(inputs, 32, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(32, momentum=0.9, rngs=rngs)
        self.second = nnx.Conv(32, 16, (3, 3), rngs=rngs)
        self.dropout = nnx.Dropout(0.2)
        self.dense = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x, *, key=None):
        x = jax.nn.relu(self.norm(self.first(x)))
        x = jax.nn.relu(self.second(self.dropout(x, rngs=key)))
        return self.dense(x.mean(axis=(1, 2)))


class Pair(nnx.Module):
    def __init__(self, *, rngs):
        self.generator = nnx.Linear(128, 36, rngs=rngs)
        self.discriminator = Wide(rngs=rngs)


def realness(model, x, key):
    return model.discriminator(x.reshape(-1, 6, 6, 1), key=key)


def fake(model, batch, key):
    return model.generator(jax.random.normal(key, (len(batch["x"]), 128)))


def of_discriminator(model, batch, key):
    real, other = realness(model, batch["x"], key), realness(model, fake(model, batch, key), key)
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(other)), {}


def of_generator(model, batch, key):
    return jnp.mean(jax.nn.softplus(-realness(model, fake(model, batch, key), key))), {}


def make_wide():
    return Wide(rngs=nnx.Rngs(0))


def mesh_of(name):
    sizes = MESHES[name]
    return sizes and train.make_mesh(data=sizes[0], fsdp=sizes[1])


def descend(mesh, *, steps=STEPS, size=8, batches=None, model=None, **options):
    with train.use_mesh(mesh):
        return train.fit(
            *(jax.random.key(1), model or make_wide(), squared, OPTIMIZER),
            batches or images(steps, size=size),
            **{"steps": steps, "ema_decay": 0.9, "log_every": 5, "save_every": 10, **options},
        )


def contend(mesh):
    player = (train.Player(f, OPTIMIZER) for f in (of_discriminator, of_generator))
    with train.use_mesh(mesh):
        return train.fit_adversarial(
            *(jax.random.key(1), Pair(rngs=nnx.Rngs(0)), *player),
            images(STEPS, size=16),
            **{"steps": STEPS, "ema_decay": 0.9, "log_every": 5, "discriminator_steps": 2},
        )


class Watch:
    """Batches that note the largest array on one device when they are asked for."""

    def __init__(self):
        self.largest = 0

    def __iter__(self):
        for batch in images(STEPS, size=8):
            shards = [x.addressable_shards[0].data for x in jax.live_arrays()]
            self.largest = max(self.largest, *(shard.nbytes for shard in shards))
            yield batch


def parameters(model):
    """All parameters in a row."""
    leaves = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    return np.concatenate([np.ravel(x) for x in leaves])


def main(folder):
    results = {}

    def note(case, name, trained):
        model, rows = trained
        results[f"{case} {name} losses"] = [row["loss"] for row in rows]
        results[f"{case} {name} parameters"] = parameters(model)
        leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
        results[f"{case} {name} split"] = sum(
            x.sharding.shard_shape(x.shape) != x.shape for x in leaves
        )

    for case, name in [("function", "4x2"), *[("descent", name) for name in MESHES]]:
        watch = Watch()
        model = make_wide if case == "function" else make_wide()
        note(case, name, descend(mesh_of(name), batches=watch, model=model))
        results[f"{case} {name} largest"] = watch.largest
    for name in ("1", "4x2"):
        note("adversarial", name, contend(mesh_of(name)))
        note("odd", name, descend(mesh_of(name), size=5))
    for before, name in (("4x2", "1"), ("1", "4x2"), ("4x2", "8x1")):
        descend(mesh_of(before), steps=10, out=folder / name)
        note("resumed", name, descend(mesh_of(name), out=folder / name))
    for name in ("1", "4x2"):
        model, _ = descend(mesh_of(name), steps=2)
        results[f"evaluated {name} shards"] = shards = []

        def watched(model, batch, key, shards=shards):
            look = lambda sharding: shards.append(sharding.shard_shape(batch["x"].shape)[0])
            jax.debug.inspect_array_sharding(batch["x"], callback=look)
            return squared(model, batch, key)

        with train.use_mesh(mesh_of(name)):
            measured = train.evaluate(model, watched, [*images(2, size=8), *images(1, size=5)])
        results[f"evaluated {name} losses"] = measured["loss"]
    np.savez(folder / "results.npz", **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
