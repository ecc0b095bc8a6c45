"""Trains a small network in a process of its own, for tests that end it: `worker.py OUT STEPS`."""

import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx

from lectures_jax import train
from tests.train.nets import ConvNet, images, squared


def slow(batches):
    for batch in batches:
        time.sleep(0.01)
        yield batch


def main(out, steps):
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 100))
    try:
        model, history = train.fit(
            jax.random.key(1),
            ConvNet(rngs=nnx.Rngs(0)),
            squared,
            optimizer,
            slow(images(steps)),
            steps=steps,
            out=out,
            ema_decay=0.95,
            accumulate=2,
            save_every=9,
            log_every=5,
        )
    except train.Stopped as stopped:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        print(stopped)
        sys.exit(75)
    leaves = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model)))
    np.savez(out / "result.npz", *leaves, losses=[row["loss"] for row in history])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
