"""The message when something goes wrong, and its exit code."""

import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType

EXPERIMENT = "ljx_experiment"
"""Name of the module that an experiment is loaded as."""

_EXTRA = "pip install 'lectures_jax[experiments]'"
_IN_EXTRA = {
    "PIL",
    "defusedxml",
    "flatbuffers",
    "grain",
    "matplotlib",
    "rich",
    "sklearn",
    "tensorboardX",
    "tyro",
    "yaml",
}
_NO_SUCH_INPUT = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def tell(error: Exception, *, log: Path | None = None) -> int:
    """Prints one line on standard error about what failed, and keeps the traceback.

    With `LJX_TRACEBACK=1` the traceback is shown as well.

    Args:
        error: what was raised.
        log: file for the traceback.

    Returns:
        The exit code: 2 for bad arguments or input, else 1.
    """
    trace = "".join(traceback.format_exception(error))
    shown = os.environ.get("LJX_TRACEBACK", "0") not in ("", "0")
    if log is not None:
        try:
            from lectures_jax.runtime import atomic_write  # not before it is needed: it imports JAX

            with atomic_write(log) as scratch:
                scratch.write_text(trace, encoding="utf-8", errors="backslashreplace")
        except OSError:  # a full disk may be the failure itself
            shown, log = shown or not _is_reasoned(error), None
    if shown:
        _say(trace.rstrip("\n"))
    code = 2 if _is_input(error) else 1
    kept = f" (traceback in {log})" if log is not None and code == 1 else ""
    notes = "".join(f" {note}" for note in getattr(error, "__notes__", []))
    _say(f"ljx: {_line(error, code)}{notes}{kept}")
    return code


def _say(text: str) -> None:
    """Prints on standard error, if somebody reads it."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def _is_input(error: Exception) -> bool:
    """Whether the arguments or the data are to blame, and not the program.

    This library and the experiments raise `ValueError` for what they are given; a `ValueError` that
    comes out of another library means that it was called wrongly.
    """
    if isinstance(error, _NO_SUCH_INPUT):
        return True
    module = _raised_in(error.__traceback__).partition(".")[0]
    return isinstance(error, ValueError) and module in ("lectures_jax", EXPERIMENT)


def _is_reasoned(error: Exception) -> bool:
    """Whether an error of the system says in this library's words what is the matter."""
    return isinstance(error, OSError) and error.errno is None


def _raised_in(trace: TracebackType | None) -> str:
    """Name of the module that raised."""
    name = ""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return name


def _line(error: Exception, code: int) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"{package} is not installed" + (f": {_EXTRA}" if package in _IN_EXTRA else ".")
    if isinstance(error, _NO_SUCH_INPUT) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    text = " ".join(str(error).split())
    text = text if len(text) <= 400 else f"{text[:400]}…"
    if code == 2 or _is_reasoned(error) or isinstance(error, ImportError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
