"""The frames of a video: of animated images by Pillow, of other files by PyAV."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from lectures_jax.data.files import at_most, limit, read_file
from lectures_jax.data.images import MAX_PIXELS
from lectures_jax.data.problems import BadInputError

ANIMATED = (".apng", ".gif", ".png", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")


def is_video(path: Path) -> bool:
    """Returns whether a file is a video by its suffix, or an animated image by its content.

    Args:
        path: of the file, which need not exist.
    """
    if path.suffix.lower() in VIDEOS:
        return True
    if path.suffix.lower() not in ANIMATED or not path.is_file():
        return False
    try:
        with Image.open(path, formats=("GIF", "PNG", "WEBP")) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # a decoder may raise nearly anything; as an image, it is named
        return False


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a video in turn, as RGB bytes [h, w, 3].

    Args:
        path: of the file.

    Raises:
        ValueError: in one line, if it does not decode, or PyAV is needed and not installed.
    """
    frames = _by_av(path) if path.suffix.lower() in VIDEOS else _by_pillow(path)
    number = 0
    while True:
        number += 1
        try:
            frame = next(frames, None)
        except BadInputError:
            raise
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
            raise BadInputError(path, f"frame {number}", "a frame that decodes", got) from error
        if frame is None:
            return
        yield frame


def _by_pillow(path: Path) -> Iterator[np.ndarray]:
    content = BytesIO(read_file(path, "image"))
    with Image.open(content, formats=("GIF", "PNG", "WEBP")) as image:
        _check_size(path, *image.size)
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            yield np.asarray(image.convert("RGB"))


def _by_av(path: Path) -> Iterator[np.ndarray]:
    try:
        import av  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        install = "PyAV for this video: pip install 'lectures_jax[video]'"
        raise BadInputError(path, "video", install, "an environment without it") from error
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise BadInputError(path, "video", "a stream of images", "none")
        for frame in container.decode(video=0):
            _check_size(path, frame.width, frame.height)
            yield frame.to_ndarray(format="rgb24")


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > limit(MAX_PIXELS):
        raise BadInputError(path, "size", at_most(MAX_PIXELS, "pixels"), f"{width}×{height}")
