"""The C library's memory, set for training on CPU."""

import ctypes
import platform

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of the settings in <malloc.h>


def keep_memory() -> bool:
    """Lets the process keep freed memory for its next step instead of returning it to the system.

    XLA allocates the scratch of a compiled step anew each time. As it is large, glibc gives it back
    after the step and takes it again page by page, zeroed, which can be a third of the time of a
    small convolutional network's step on CPU. `ljx run` calls this; the process then never shrinks.

    Returns:
        Whether the system's C library knows these settings; elsewhere nothing is changed.

    Source:
        The GNU C Library manual, "Malloc Tunable Parameters".
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1))
