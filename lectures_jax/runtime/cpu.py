"""The C library and the compiler, set for training on CPU, before a device starts."""

import ctypes
import os
import platform

import jax
from jax._src import xla_bridge

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # names of the settings in <malloc.h>
FUSIONS_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
FUSIONS = "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"  # without convolutions


def keep_memory() -> bool:
    """Lets the process keep freed memory for its next step instead of returning it to the system.

    XLA allocates the scratch of a compiled step anew each time. As it is large, glibc gives it back
    after the step and takes it again page by page, zeroed, which can be a third of the time of a
    small convolutional network's step on CPU. `ljx run` calls this; the process then never shrinks.
    Threads that allocate for the first time after the call, as XLA's do when it starts, share one
    arena: glibc trims the arenas of threads whatever the threshold is.

    Returns:
        Whether the system's C library knows these settings; elsewhere nothing is changed.

    Source:
        The GNU C Library manual, "Malloc Tunable Parameters".
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, ARENA_MAX: 1}
    return all(mallopt(name, value) for name, value in settings.items())


def threaded_convolutions() -> bool:
    """Lets XLA's own convolutions run on all cores of a CPU, from the next device start on.

    JAX 0.10 gives each to one core; later versions need nothing. For processes whose networks have
    small maps, where the convolutions are XLA's own: on two cores a step of the digits' denoiser
    takes 0.75 of the time. Those of `ops.conv2d` on large maps are matrix products, which the flag
    slows down. `ljx run` calls this for experiments that declare `THREADED_CONVOLUTIONS = True`.

    Returns:
        Whether the flag is set: False for a JAX that needs none.

    Raises:
        RuntimeError: if a device has started, which has read the flags already.
    """
    if jax.__version_info__ >= (0, 11):
        return False
    flag = f"{FUSIONS_FLAG}={FUSIONS}"
    flags = os.environ.get("XLA_FLAGS", "").split()
    if FUSIONS_FLAG not in (name.partition("=")[0] for name in flags):
        if xla_bridge.backends_are_initialized():
            raise RuntimeError("threaded_convolutions must be called before a device starts.")
        os.environ["XLA_FLAGS"] = " ".join([*flags, flag])
    return True
