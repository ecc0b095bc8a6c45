"""Memory that is freed and kept; convolutions on all cores."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from lectures_jax import runtime

COUNT_FAULTS = """
import resource
from concurrent.futures import ThreadPoolExecutor
from lectures_jax.runtime import keep_memory

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


CONVOLVE = """
import jax
import jax.numpy as jnp
import sys
from lectures_jax import runtime

print(runtime.threaded_convolutions() if sys.argv[1] == "threaded" else None)

def convolve(x, kernel):
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=axes)

x = jnp.linspace(-1, 1, 2**17).reshape(64, 8, 8, 32)
kernel = jnp.linspace(-0.01, 0.01, 9 * 2**10).reshape(3, 3, 32, 32)
program = jax.jit(convolve).lower(x, kernel).compile()
print("ynn_fusion" in program.as_text())
print(float(jnp.abs(program(x, kernel)).sum()))
"""


def convolve(how: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", CONVOLVE, how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_threaded_convolutions_are_not_one_core_kernels_and_give_the_same():
    is_set, fused, total = convolve("threaded")
    if is_set == "False":
        pytest.skip("this JAX needs no flag")
    _, fused_before, total_before = convolve("plain")
    assert (fused_before, fused) == ("True", "False")
    np.testing.assert_allclose(float(total), float(total_before), rtol=1e-5)


def test_a_flag_that_would_come_too_late_is_refused(monkeypatch):
    if jax.__version_info__ >= (0, 11):
        pytest.skip("this JAX needs no flag")
    jax.devices()
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    with pytest.raises(RuntimeError, match="before a device starts"):
        runtime.threaded_convolutions()
