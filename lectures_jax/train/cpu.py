"""The C library and the compiler, set for training on CPU."""

import ctypes
import platform

import jax

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # names of the settings in <malloc.h>


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


def threaded_convolutions() -> dict[str, str]:
    """Returns compiler options with which XLA's own convolutions run on all cores of a CPU.

    JAX 0.10 gives each to one core; later versions need no options, nor do other devices, and get
    none. For the steps of networks whose convolutions are XLA's own, as on small maps: on two
    cores that of the digits' denoiser takes 0.75 of the time. Those of `ops.conv2d` on large maps
    are matrix products, which these options slow down.

    Returns:
        What `fit`, `make_step` and `jax.jit` take as `compiler_options`.
    """
    if jax.default_backend() != "cpu" or jax.__version_info__ >= (0, 11):
        return {}
    kept = "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"  # without convolutions
    return {"xla_cpu_experimental_ynn_fusion_type": kept}
