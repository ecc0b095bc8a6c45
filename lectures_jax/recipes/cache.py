"""The user's cache, of what can be computed again. Imports no JAX, which `ljx` starts later."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Returns a folder of this library in the user's cache, which may not exist yet.

    Args:
        name: of what is kept there, such as "models".

    Source:
        XDG Base Directory Specification: `$XDG_CACHE_HOME` if that is an absolute path, else
        `~/.cache`.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(chosen) if os.path.isabs(chosen) else Path(os.path.expanduser("~")) / ".cache"
    return root / "lectures_jax" / name
