"""Trains a small network in one of several processes: `on_processes.py FOLDER PORT COUNT PROCESS`.

With a fifth argument, so many seconds pass between two batches.
"""

import sys
import time
from pathlib import Path

import numpy as np

from lectures_jax import runtime, train
from tests.train.nets import images
from tests.train.on_devices import STEPS, descend, parameters


def slow(batches, seconds):
    for batch in batches:
        time.sleep(seconds)
        yield batch


def main(folder, port, count, process, seconds=0.0):
    runtime.join(f"localhost:{port}", count, process)
    try:
        model, rows = descend(
            train.make_mesh(fsdp=2),
            batches=slow(images(STEPS, size=8), seconds),
            out=folder / "run" if process == 0 else folder / "nowhere",
        )
    except train.Stopped as stopped:
        print(stopped)
        sys.exit(75)
    losses = [row["loss"] for row in rows]
    np.savez(folder / f"{count}-{process}.npz", parameters=parameters(model), losses=losses)


if __name__ == "__main__":
    folder, port, count, process, *seconds = sys.argv[1:]
    main(Path(folder), int(port), int(count), int(process), *map(float, seconds))
