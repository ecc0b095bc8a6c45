"""What every benchmark needs: alternating timings, the machine described, a file of results."""

import gc
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from lectures_jax.runtime import keep_memory

keep_memory()  # as `ljx run` does, before any device starts; it serves all libraries alike

RESULTS = Path(__file__).parent / "results"

LIBRARIES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "torch",
    "torchvision",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
    "pycocotools",
    "faster-coco-eval",
    "flowjax",
    "equinox",
)


def compare(functions: dict[str, Callable[[], Any]], *, repeats: int = 30) -> dict[str, float]:
    """Returns the median time of each function in seconds.

    The functions take turns, so that a slow moment of the machine hits all of them, and in another
    order each time, so that none always finds the caches that one other left. Each is called once
    before, to compile and warm up.

    Args:
        functions: thunks by name; what they return is waited for.
        repeats: measured calls of each.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    times: dict[str, list[float]] = {name: [] for name in functions}
    order, rng = list(functions.items()), random.Random(0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            rng.shuffle(order)
            for name, function in order:
                start = time.perf_counter()
                jax.block_until_ready(function())
                times[name].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def machine() -> dict[str, Any]:
    """Returns what a reader must know to judge the numbers: processor, cores, devices, versions."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "devices": [device.device_kind for device in jax.devices()],
        "versions": versions,
    }


def save(name: str, rows: list[dict[str, Any]]) -> Path:
    """Writes the rows, with the machine that made them, to `results/{name}.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return path


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
