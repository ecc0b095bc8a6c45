"""Memory that is freed and kept; convolutions on all cores."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import train

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


def test_threaded_convolutions_are_not_one_core_kernels_and_give_the_same():
    options = train.threaded_convolutions()
    if not options:
        pytest.skip("this JAX needs no options")

    def convolve(x, kernel):
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=axes)

    x = jnp.linspace(-1, 1, 2**17).reshape(64, 8, 8, 32)
    kernel = jnp.linspace(-0.01, 0.01, 9 * 2**10).reshape(3, 3, 32, 32)
    plain = jax.jit(convolve).lower(x, kernel).compile()
    threaded = jax.jit(convolve, compiler_options=options).lower(x, kernel).compile()
    assert "ynn_fusion" in plain.as_text()
    assert "ynn_fusion" not in threaded.as_text()
    np.testing.assert_allclose(threaded(x, kernel), plain(x, kernel), rtol=1e-5, atol=1e-5)
