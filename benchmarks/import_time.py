"""The time to import `lectures_jax.ops`, in a fresh process, against that of `jax` alone."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.common import compare, save


def main() -> None:
    """Measures, prints and saves."""
    names = ("lectures_jax.ops", "jax")
    run = partial(subprocess.run, check=True)
    functions: dict[str, Callable[[], Any]] = {
        name: partial(run, [sys.executable, "-c", f"import {name}"]) for name in names
    }
    times = compare(functions, repeats=15)
    ratio = times.seconds[names[0]] / times.seconds[names[1]]
    row = {"case": "import", **times.seconds, "ratio": ratio, **times.conditions()}
    print(row)
    print(save("import_time", [row]))


if __name__ == "__main__":
    main()
