"""Memory that is freed and kept."""

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource
from lectures_jax.train import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b"x" * 64_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
usual = faults()
print(keep_memory())
faults()
print(faults() < usual / 10)
"""


def test_a_large_array_is_not_faulted_in_again():
    pytest.importorskip("resource")
    lines = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COUNT_FAULTS],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if lines[0] == "False":
        pytest.skip("the system's C library is not glibc")
    assert lines == ["True", "True"]
