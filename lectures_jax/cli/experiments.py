"""The course's experiments: where they are, and which one a name means."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def experiments_folder() -> Path:
    """Returns the folder of experiments: at or above the working directory, else the installed one.

    A wheel carries the experiments inside of the package, a checkout has them beside it.

    Raises:
        ValueError: if there is none.
    """
    here = Path.cwd()
    around = [folder / "experiments" for folder in (here, *here.parents)]
    for folder in (*around, PACKAGE / "experiments", PACKAGE.parent / "experiments"):
        if any(folder.glob("ch*/*.py")):
            return folder
    raise ValueError(f"expected a folder experiments/ at or above {here}, got none.")


def experiment_files(root: Path) -> list[Path]:
    """Returns the experiments of a folder, by chapter and name.

    Args:
        root: with one folder per chapter.
    """
    return sorted(root.glob("*/[!_]*.py"))


def find_experiment(name: str) -> Path:
    """Returns the file of an experiment.

    Args:
        name: path of a file; or the end of an experiment's path, with or without `.py`, such as
            `yolo` or `ch3_vision/yolo`.

    Raises:
        ValueError: if no experiment has that name, or several have.
    """
    file = Path(name)
    if file.is_file():
        return file
    files = experiment_files(experiments_folder())
    wanted = file.with_suffix("").parts if file.suffix == ".py" else file.parts
    matches = [f for f in files if wanted and f.with_suffix("").parts[-len(wanted) :] == wanted]
    if len(matches) == 1:
        return matches[0]
    if matches:
        known = (f"{f.parent.name}/{f.stem}" for f in matches)
        expected = "one experiment"
    else:
        stems = [f.stem for f in files]
        known = (f.stem if stems.count(f.stem) == 1 else f"{f.parent.name}/{f.stem}" for f in files)
        expected = "the Python file of an experiment"
    raise ValueError(f"EXPERIMENT: expected {expected}, got {name}; there are {', '.join(known)}.")
