"""What a checkpoint's folder must hold to be trusted: a manifest of hashes, and its own step."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from lectures_jax.runtime import atomic_write, sync, write_json
from lectures_jax.runtime.files import finite_or_none
from lectures_jax.train.history import Row, numbers

MANIFEST = "manifest.json"
PROGRESS = "progress.json"
_MANIFEST_FIELDS = {"step": int, "row": dict, "evaluation": dict | None, "files": dict}
_PROGRESS_FIELDS = {"step": int, "position": object, "tree": dict, "key": str}


class Damaged(Exception):  # noqa: N818  (a finding about a file, which the caller reports)
    """What is wrong with a checkpoint, in words that name the file."""


class Manifest(NamedTuple):
    """What is known about a checkpoint besides its arrays.

    Attributes:
        step: of the state.
        row: what training measured there.
        evaluation: what `evaluate` returned there, None before it has.
        files: SHA-256 of every other file, by its path in the folder.
    """

    step: int
    row: Row
    evaluation: Row | None
    files: dict[str, str]


class Progress(NamedTuple):
    """Where a run was, and what its state looks like.

    Attributes:
        step: of the state.
        position: of the batches, as JSON holds it.
        tree: shape and dtype of each array, by its path.
        key: hash of the key that the run began with.
    """

    step: int
    position: Any
    tree: dict[str, str]
    key: str


def write_checkpoint_files(folder: Path, progress: Progress, manifest: Manifest) -> Manifest:
    """Adds progress and manifest to a folder of arrays, and waits until all is on the disk.

    Returns the manifest with the hashes of the files there.

    Args:
        folder: of one checkpoint.
        progress: of its step.
        manifest: of its step.
    """
    write_json(folder / PROGRESS, progress._asdict(), indent=None)
    manifest = manifest._replace(files=_hashes(folder))
    write_manifest(folder, manifest)
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes a manifest with a hash of its own, atomically.

    Args:
        folder: of one checkpoint.
        manifest: of it.
    """
    content = finite_or_none(manifest._asdict())
    text = json.dumps(content | {"sha256": _digest(content)}, indent=1)
    with atomic_write(folder / MANIFEST) as scratch:
        scratch.write_text(text, encoding="utf-8")


def read_checkpoint_files(folder: Path, step: int) -> tuple[Manifest, Progress]:
    """Returns the manifest and the progress of a checkpoint in which all is as it was saved.

    Args:
        folder: of one checkpoint.
        step: that the folder's name says.

    Raises:
        Damaged: if a file is missing, foreign or damaged, or of another step.
    """
    content = _read_json(folder / MANIFEST, _MANIFEST_FIELDS)
    if content.pop("sha256", None) != _digest(content):
        raise Damaged(f"{folder / MANIFEST} is damaged")
    row, evaluation = content["row"], content["evaluation"]
    content |= {"row": numbers(row), "evaluation": evaluation and numbers(evaluation)}
    manifest = Manifest(**{name: content[name] for name in _MANIFEST_FIELDS})
    _compare(folder, manifest.files)
    content = _read_json(folder / PROGRESS, _PROGRESS_FIELDS)
    progress = Progress(**{name: content[name] for name in _PROGRESS_FIELDS})
    for name, there in ((MANIFEST, manifest.step), (PROGRESS, progress.step)):
        if there != step:
            raise Damaged(f"{folder / name} is of step {there}")
    return manifest, progress


def _read_json(path: Path, fields: dict[str, Any]) -> dict[str, Any]:
    if path.is_symlink() or not path.is_file():
        raise Damaged(f"{path} is missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise Damaged(f"{path} is damaged")
    for name, kind in fields.items():
        if name not in content or not isinstance(content[name], kind):
            raise Damaged(f"{path} is damaged: it has no {name}")
    return content


def _compare(folder: Path, expected: dict[str, str]) -> None:
    try:
        actual = _hashes(folder)
    except OSError as error:
        raise Damaged(f"{error.filename} cannot be read ({error.strerror})") from error
    for name in sorted(expected.keys() | actual.keys()):
        if name not in actual:
            raise Damaged(f"{folder / name} is missing")
        if actual[name] != expected.get(name):
            raise Damaged(f"{folder / name} is damaged")


def _hashes(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below a folder but the manifest's."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Damaged(f"{path} is no regular file")
        if path.is_file() and path != folder / MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            hashes[path.relative_to(folder).as_posix()] = digest
    return hashes


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
