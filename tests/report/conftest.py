"""A page with everything in it, and a browser to look at it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lectures_jax import report
from lectures_jax.report.page import Figure, Section, Table

HOSTILE = '<script>document.title="broken"</script> & "quoted" \'names\''


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Path:
    """A report with every kind of content, and names that try to break out of their place."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    rows = [{"step": i, "loss": 9 / (i + 1), HOSTILE: float(i)} for i in range(50)]
    report.curves(rows, folder / "curves.svg")
    sizes = rng.uniform(10, 90, (600, 2))
    report.anchors(sizes, sizes[:6], folder / "anchors.svg")
    report.precision_recall_curves(
        {"cat": np.linspace(1, 0, 101), HOSTILE: np.ones(101)}, folder / "p.svg"
    )
    photograph = rng.uniform(size=(300, 500, 3))
    Image.fromarray(np.zeros((20, 3000, 3), np.uint8)).save(folder / "wide.webp")
    plots = [Figure(folder / f"{name}.svg", name) for name in ("curves", "anchors", "p")]
    images = [photograph, rng.uniform(size=(8, 8)), folder / "wide.webp"]
    wide = Table([f"column {i}" for i in range(30)], [[i * 0.37 for i in range(30)]])
    report.page(
        folder / "report.html",
        title=HOSTILE,
        summary=HOSTILE,
        numbers={"mAP50": 0.91234, HOSTILE: HOSTILE, "a_name_without_any_space_in_it" * 3: 1},
        sections=[
            Section("Plots", HOSTILE, plots),
            Section(HOSTILE, "One.\n\nTwo.", [Figure(p, HOSTILE, HOSTILE) for p in images]),
            Section("Wide", table=wide),
            Section("Names", table=Table([HOSTILE, "n"], [[HOSTILE, 12345], ["x" * 300, None]])),
            Section("Configuration", table=wide, folded=True),
        ],
        footer={"versions": {"jax": "0.10.2", HOSTILE: HOSTILE}, "device": "cpu"},
    )
    return folder / "report.html"


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """Headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    service = shutil.which("chromedriver")
    if not browser or not service:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync"
    for flag in flags.split():
        options.add_argument(f"--{flag}")
    options.add_argument("--disable-background-networking")
    options.add_argument("--disable-component-update")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(service))
    yield driver
    driver.quit()
