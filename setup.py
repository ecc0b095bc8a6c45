"""The wheel carries the experiments inside of the package, where `ljx run NAME` looks for them.

An editable install needs no copy: the experiments lie beside the package. All else that a build
needs is in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithExperiments(build_py):
    """`experiments/` of the repository becomes `lectures_jax/experiments/` of the wheel."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "lectures_jax" / "experiments"
            shutil.rmtree(target, ignore_errors=True)  # of an earlier build
            source = Path(__file__).resolve().parent / "experiments"
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithExperiments})
