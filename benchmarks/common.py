"""What every benchmark needs: alternating timings, the machine described, a file of results."""

import gc
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from benchmarks.load import Meter, is_loaded
from benchmarks.tables import RESULTS
from lectures_jax.runtime import keep_memory

keep_memory()  # as `ljx run` does, before any device starts; it serves all libraries alike

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
    "onnxruntime",
    "foolbox",
    "torchattacks",
    "adversarial-robustness-toolbox",
    "equinox",
)


@dataclass(frozen=True)
class Timing:
    """Times of functions that took turns, and what else the machine did meanwhile.

    Attributes:
        seconds: median of each function, by name.
        quartiles: first and third quartile of each, in seconds.
        load: `average`, the processes that ran in the minute before; `others_before` and `others`,
            the cores that other processes kept busy just before and during the measurement.
    """

    seconds: dict[str, float]
    quartiles: dict[str, tuple[float, float]]
    load: dict[str, float | None]

    def conditions(self) -> dict[str, Any]:
        """What a row keeps beside its medians: quartiles, load, and whether to mistrust it."""
        average, others = self.load["average"], [self.load["others_before"], self.load["others"]]
        loaded = is_loaded(average or 0.0, others)
        return {"quartiles": self.quartiles, "load": self.load, "loaded": loaded}

    def per(self, counts: dict[str, int]) -> "Timing":
        """The times of one of several repetitions that some functions do in each call."""
        seconds = {name: value / counts.get(name, 1) for name, value in self.seconds.items()}
        quartiles = {
            name: (low / counts.get(name, 1), high / counts.get(name, 1))
            for name, (low, high) in self.quartiles.items()
        }
        return replace(self, seconds=seconds, quartiles=quartiles)


def compare(functions: dict[str, Callable[[], Any]], *, repeats: int = 30) -> Timing:
    """Returns the time of each function.

    The functions take turns, so that a slow moment of the machine hits all of them, and in another
    order each time, so that none always starts with the caches that the same other one left. Each
    is called once before, to compile and warm up.

    Args:
        functions: thunks by name; what they return is waited for.
        repeats: measured calls of each.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    times: dict[str, list[float]] = {name: [] for name in functions}
    order, rng = list(functions.items()), random.Random(0)
    load = {"average": os.getloadavg()[0], "others_before": others_now()}
    meter = Meter()
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
    load["others"] = meter.others()
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return Timing(medians, {name: quartiles(seconds) for name, seconds in times.items()}, load)


def others_now(seconds: float = 0.2) -> float | None:
    """Returns the cores that other processes keep busy while this one sleeps."""
    meter = Meter()
    time.sleep(seconds)
    return meter.others()


def quartiles(values: list[float]) -> tuple[float, float]:
    """Returns the first and the third quartile; of one value, the value twice."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def machine() -> dict[str, Any]:
    """Returns what a reader must know about the numbers: processor, cores, devices, versions."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except ModuleNotFoundError:  # of which `metadata` raises a subclass
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
