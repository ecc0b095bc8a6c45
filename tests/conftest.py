"""Settings of the whole suite: strict shapes, strict promotion, warnings as errors."""

import gc
import os
import signal
from itertools import count
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest
from hypothesis import settings
from jax._src import compiler
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling

install_import_hook("lectures_jax", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
if os.environ["JAX_PLATFORMS"] != "cpu":  # whose products are exact; others shorten float32's
    jax.config.update("jax_default_matmul_precision", "highest")

# The same inputs in every run, or, with HYPOTHESIS_PROFILE=fuzz, others each time and many of them.
settings.register_profile("suite", max_examples=20, deadline=None, derandomize=True)
settings.register_profile("fuzz", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# Tracing makes and drops objects by the million, and the collector would look through those that
# stay each time: at the usual threshold it takes 6 % of the time of the flows' tests.
gc.set_threshold(50_000, 20, 50)

ROOT = Path(__file__).resolve().parent.parent

# Compilation is most of the suite's time: the workers, later runs and other checkouts share it.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lectures_jax"
jax.config.update(
    "jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", str(CACHE / "tests"))
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

SMOKE = "LECTURES_JAX_SMOKE" in os.environ  # `make smoke` compiles all tests so
CHEAPLY_COMPILED = {
    *("cli", "data", "losses", "metrics", "models", "nn", "objectives", "ops", "optim"),
    *("input_optimization", "recipes", "report", "train", "weights"),
    *("test_experiments.py", "test_readme.py", "test_contributing.py"),
}
"""Folders and files whose tests run programs once: compiling costs them more than running. The
contract and the properties prove ops, losses and metrics as users compile them."""
RUN_OFTEN = {"test_inversion.py"}
"""Files whose programs run hundreds of steps, on images of a usual size."""


MAPS, MOST_MAPS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
TESTS = count(1)


@pytest.fixture(autouse=True)
def few_programs():
    """Drops compiled programs before they are too many for the kernel.

    Each takes some seven mappings of memory. Beyond the kernel's limit, some nine thousand
    programs, the next one ends the process by a segmentation fault.
    """
    yield
    if next(TESTS) % 20 or not (MAPS.exists() and MOST_MAPS.exists()):
        return
    if MAPS.read_bytes().count(b"\n") > int(MOST_MAPS.read_text()) / 3:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def heard():
    """Signals are as in a terminal: what starts the tests in the background may ignore some."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in names}
    for number in names:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="module")
def cheap_compilation(request, monkeypatch_module):
    """Leaves XLA's expensive passes out where no value depends on them."""
    parts = set(request.path.relative_to(ROOT / "tests").parts)
    if parts & RUN_OFTEN or not (SMOKE or parts & CHEAPLY_COMPILED):
        return
    from lectures_jax.testing._compiling import cheap_options  # after the import hook

    cheap, original = cheap_options(), compiler.get_compile_options

    def get_compile_options(*args, **kwargs):
        options = original(*args, **kwargs)
        options.env_option_overrides = [*cheap.items(), *options.env_option_overrides]
        return options

    monkeypatch_module.setattr(compiler, "get_compile_options", get_compile_options)


@pytest.fixture(scope="module")
def monkeypatch_module():
    """Like `monkeypatch`, for a module."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets, which are not part of the project."""
    folder = Path(os.environ.get("LECTURES_JAX_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set LECTURES_JAX_DATA to their folder")
    return folder


@pytest.fixture(autouse=True)
def strict_promotion(request):
    """Ops and losses never promote a dtype by accident; optax and flax need implicit casts."""
    parts = Path(request.node.fspath).parts
    if "ops" in parts or "losses" in parts:
        with jax.numpy_dtype_promotion("strict"):
            yield
    else:
        yield


LONG = ("test_it_runs_two_steps", "test_contract_holds", "test_a_killed_run")


class ByFile(LoadScopeScheduling):
    """Gives the tests of a file to one worker, which shares what they trace and compile.

    Files of many tests are first; then come the long tests one by one, the longest kind first, so
    that no worker is left alone for long at the end.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        return nodeid if name.startswith(LONG) else file


@pytest.hookimpl(optionalhook=True)  # of xdist, which `-p no:xdist` leaves out
def pytest_xdist_make_scheduler(config, log):
    """Takes the place of `--dist`."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """Puts the long tests first, the longest kind before the others."""
    items.sort(key=lambda item: [not item.name.startswith(kind) for kind in LONG])
