"""`ljx doctor`: what there is to compute with, and what stands in the way."""

import os
import platform
import re
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

SETTINGS = (
    "JAX_PLATFORMS",
    "JAX_ENABLE_X64",
    "JAX_DEBUG_NANS",
    "XLA_FLAGS",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)
"""Environment variables that change where arrays live, how much memory is taken, and speed."""


def doctor() -> int:
    """Prints devices, versions and settings; then, on standard error, one line per problem.

    Returns:
        The exit code: 0, or 1 if there is a problem.
    """
    problems: list[str] = []
    _say("python", f"{platform.python_version()} on {platform.platform()}")
    _packages(problems)
    _jax(problems)
    for name in SETTINGS:
        if name in os.environ:
            _say(name, os.environ[name])
    _memory()
    _cache()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    _say("chromium", browser or "absent: the tests that look at report pages are skipped")
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()):
            pass
    except OSError as error:
        problems.append(f"{Path.cwd()} must be writable for runs/: {error.strerror}")
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    if not problems:
        print("\nNo problem.")
    return 1 if problems else 0


def _say(what: str, value: str) -> None:
    print(f"{what:<16} {value}")


def _packages(problems: list[str]) -> None:
    """Compares what is installed with what lectures_jax asks for; the extras may be missing."""
    try:
        requirements = requires("lectures_jax") or []
    except PackageNotFoundError:
        problems.append("lectures_jax is not installed: pip install -e '.[experiments]'")
        return
    packages, missing = [], []
    for requirement in requirements:
        match = re.match(r"([\w.-]+)>=([\d.]+)", requirement)
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if match is None or (extra and extra[1] != "experiments"):
            continue
        name, least = match.groups()
        try:
            installed = version(name)
        except PackageNotFoundError:
            if extra:
                missing.append(name)
            else:
                problems.append(f"{name} must be installed: pip install '{name}>={least}'")
            continue
        packages.append(f"{name} {installed}")
        if _numbers(installed) < _numbers(least):
            problems.append(f"{name} must be {least} or newer, got {installed}")
    _say("packages", ", ".join(packages))
    extras = f"{', '.join(missing)} missing: pip install 'lectures_jax[experiments]'"
    _say("extras", extras if missing else "experiments: complete")


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def _jax(problems: list[str]) -> None:
    """Starts the devices and computes on each."""
    try:
        import jax
    except (ImportError, RuntimeError) as error:  # jax refuses a jaxlib that is too old or too new
        problems.append(f"jax must import: {' '.join(str(error).split())}")
        return
    ours, library = jax.__version__, version("jaxlib")
    if _numbers(ours)[:2] != _numbers(library)[:2]:
        problems.append(f"jax and jaxlib must be of one release, got {ours} and {library}")
    try:
        for device in jax.devices():
            total = float(jax.device_put(jax.numpy.arange(4.0), device).sum())
            limit = (device.memory_stats() or {}).get("bytes_limit")
            memory = f", {limit / 2**30:.1f} GiB for arrays" if limit else ""
            _say("device", f"{device} ({device.device_kind}{memory})")
            if total != 6:
                problems.append(f"{device} must compute 0 + 1 + 2 + 3 = 6, got {total}")
        cpu_only = jax.default_backend() == "cpu"
    except RuntimeError as error:
        problems.append(f"a device must start: {' '.join(str(error).split())}")
        return
    if cpu_only and shutil.which("nvidia-smi") and "JAX_PLATFORMS" not in os.environ:
        problems.append("an NVIDIA GPU is there but JAX does not see it: pip install 'jax[cuda13]'")


def _memory() -> None:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        _say("host", f"{os.cpu_count()} processors, {total / 2**30:.1f} GiB")


def _cache() -> None:
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    files = [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
    size = sum(file.stat().st_size for file in files)
    _say("cache", f"{folder}: {len(files)} files, {size / 2**20:.0f} MiB")
