"""Memory that is freed and kept."""

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource
from concurrent.futures import ThreadPoolExecutor
from lectures_jax.train import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b"x" * (MEGABYTES * 1_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages = 5 * MEGABYTES * 1_000_000 / resource.getpagesize()
print(keep_memory())
with ThreadPoolExecutor(1) as pool:
    for run in (lambda f: f(), lambda f: pool.submit(f).result()):
        run(faults)
        print(run(faults) < pages / 10)
"""


# Up to 64 MB may lie in a thread's own arena, more only in the process's.
@pytest.mark.parametrize("megabytes", [24, 96])
def test_a_large_array_is_not_faulted_in_again(megabytes: int):
    pytest.importorskip("resource")
    lines = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COUNT_FAULTS.replace("MEGABYTES", str(megabytes))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if lines[0] == "False":
        pytest.skip("the system's C library is not glibc")
    assert lines == ["True", "True", "True"]
