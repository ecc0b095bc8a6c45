"""The C library's memory, set for training on CPU."""

import ctypes
import platform

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
