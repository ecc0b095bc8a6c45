"""A detector's boxes, drawn and in COCO's result format."""

import itertools
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from lectures_jax import report
from lectures_jax.cli.predict.ids import Ids, number
from lectures_jax.cli.predict.images import Inputs, check_out, list_images
from lectures_jax.cli.predict.threads import in_threads
from lectures_jax.cli.predict.video import ANIMATED, frames_of, is_video
from lectures_jax.data.images import THREADS, decode_image
from lectures_jax.data.letterbox import Letterbox
from lectures_jax.data.problems import BadInputError
from lectures_jax.runtime import atomic_write, write_json
from lectures_jax.weights.detector import Detector, Objects

JPEG = (".jpg", ".jpeg")
LONGEST = 65_000  # rows or columns of a JPEG file, and of a drawing that is enlarged


@dataclass(frozen=True)
class Options:
    """How a detector is used.

    Attributes:
        score: least score of a box.
        iou: overlap above which the box of lower score is left out.
        suppression: "hard", "soft", "diou", or for an imported network "darknet".
        class_agnostic: whether a box has its best class only, and suppresses those of any class.
        batch_size: images that the network sees at once.
        max_outputs: most boxes of an image.
        annotations: COCO's file of the true objects, whose ids of images and categories are used.
        draw: whether each image is drawn.
        recursive: whether images in subfolders are used, too.
    """

    score: float = 0.3
    iou: float = 0.45
    suppression: str = "hard"
    class_agnostic: bool = True
    batch_size: int = 8
    max_outputs: int = 100
    annotations: Path | None = None
    draw: bool = True
    recursive: bool = False


class Input(NamedTuple):
    """An image, or a frame of a video.

    Attributes:
        name: in the results.
        image_id: in the results.
        drawing: where it is drawn.
        load: gives its pixels, or raises a `BadInputError`.
    """

    name: str
    image_id: int
    drawing: Path
    load: Callable[[], np.ndarray]


class Prepared(NamedTuple):
    """An input as the network sees it."""

    input: Input
    pixels: np.ndarray
    canvas: np.ndarray
    transform: Letterbox


class Finished(NamedTuple):
    """An input with its results."""

    input: Input
    objects: Objects


class Clock:
    """Seconds that the network takes."""

    def __init__(self):
        self.seconds = 0.0


def detect(detector: Detector, images: Path | None, out: Path, options: Options) -> int:
    """Draws the objects of each image, and writes them to `predictions.json`.

    The drawing of a JPEG file, and of a frame of a video that is no animated image, is one, too;
    others are PNG files, which lose nothing.

    Images are decoded, fitted and drawn in threads, while the network sees batches of one shape.

    Args:
        detector: the network, its classes and its size of images.
        images: an image, a folder of them, or a video.
        out: folder for the drawings and `predictions.json`.
        options: of suppression, batches and drawings.

    Returns:
        The exit code: 0, or 2 if an image could not be read; if none could, nothing is written.

    Raises:
        ValueError: if there are no images, they could be overwritten in `out`, or an image or a
            class is not in the annotation file.
    """
    inputs, ids = _inputs(images, out, detector.classes, options)
    first = list(itertools.islice(inputs, options.batch_size))
    inputs, size = itertools.chain(first, inputs), len(first)  # no larger than all of them
    out.mkdir(parents=True, exist_ok=True)
    canvas, _ = detector.fit(np.zeros((2, 2, 3), np.uint8), detector.image_size)
    _suppressed(detector, np.stack([canvas] * size), options)  # compiles
    clock, failed, start = Clock(), [], time.perf_counter()
    results: list[dict[str, Any]] = []
    total = 0
    for finished in _pipeline(detector, inputs, options, size, clock, failed):
        results += _coco(finished, ids)
        counts = Counter(finished.objects.names).most_common()
        listed = ", ".join(f"{n} {what}" for what, n in counts)
        most = " (--max-boxes)" if len(finished.objects.boxes) == options.max_outputs else ""
        print(f"{finished.input.name}: {listed or 'nothing'}{most}")
        total += 1
    if failed and not total:
        return 2  # what an earlier call wrote stays
    seconds = time.perf_counter() - start
    write_json(out / "predictions.json", results, indent=None)
    share = clock.seconds / seconds
    rate = f"{total / seconds:.1f} images/s, the network's share {share:.0%}"
    print(f"{total} images in {seconds:.1f} s: {rate}")
    print(f"{len(results)} objects: {out / 'predictions.json'}")
    return 2 if failed else 0


def _inputs(
    images: Path | None, out: Path, classes: Sequence[str], options: Options
) -> tuple[Iterator[Input], Ids]:
    """The images or frames, and the ids of classes."""
    if images is not None and images.is_file() and is_video(images):
        if options.annotations is not None:
            raise ValueError(f"--annotations: expected images, got a video: {images}.")
        check_out(out, images.parent, [images])
        return _frames(images, out), number([], classes, None)
    files = list_images(images, out, kind="detector", recursive=options.recursive)
    ids = number([files.name(file) for file in files.files], classes, options.annotations)
    return (_image(files, file, out, ids) for file in files.files), ids


def _image(files: Inputs, file: Path, out: Path, ids: Ids) -> Input:
    name, suffix = files.name(file), ".jpg" if file.suffix.lower() in JPEG else ".png"
    drawing = files.drawing(out, file, suffix=suffix)
    return Input(name, ids.images[name], drawing, partial(decode_image, file))


def _frames(path: Path, out: Path) -> Iterator[Input]:
    """The frames of a video by number; the first that does not decode is the last."""
    frames, suffix = frames_of(path), ".png" if path.suffix.lower() in ANIMATED else ".jpg"
    for count in itertools.count(1):
        load: Callable[[], np.ndarray]
        try:
            frame = next(frames, None)
        except BadInputError as error:
            load, frame, last = partial(_fail, error), error, True
        else:
            load, last = partial(_identity, frame), False
        if frame is None:
            return
        name = f"{count:06d}"
        drawing = out / path.stem / f"{name}{suffix}"
        yield Input(f"{path.name}/{name}", count, drawing, load)
        if last:
            return


def _identity(frame: Any) -> np.ndarray:
    return frame


def _fail(error: BadInputError) -> np.ndarray:
    raise error


def _pipeline(
    detector: Detector,
    inputs: Iterable[Input],
    options: Options,
    size: int,
    clock: Clock,
    failed: list[str],
) -> Iterator[Finished]:
    """The inputs with their results, in order; what cannot be read is named and left out."""

    def prepare(input_: Input) -> Prepared | BadInputError:
        try:
            pixels = input_.load()
        except BadInputError as error:
            return error
        return Prepared(input_, pixels, *detector.fit(pixels, detector.image_size))

    def readable() -> Iterator[Prepared]:
        for prepared in in_threads(prepare, inputs, workers=THREADS, ahead=2 * size):
            if isinstance(prepared, BadInputError):
                print(f"ljx: {prepared}", file=sys.stderr)
                failed.append(str(prepared))
            else:
                yield prepared

    def see(batch: Sequence[Prepared]) -> list[tuple[Prepared, Objects]]:
        canvases = np.stack([one.canvas for one in batch] + [batch[0].canvas] * (size - len(batch)))
        start = time.perf_counter()
        detections = _suppressed(detector, canvases, options)
        clock.seconds += time.perf_counter() - start
        return [
            (one, detector.in_image(detections, row, one.transform, one.pixels.shape[:2]))
            for row, one in enumerate(batch)
        ]

    def finish_one(pair: tuple[Prepared, Objects]) -> Finished:
        prepared, objects = pair
        if options.draw:
            _draw(prepared.input.drawing, prepared.pixels, objects, detector.classes)
        return Finished(prepared.input, objects)

    batches = in_threads(see, _batched(readable(), size), workers=1, ahead=1)
    pairs = itertools.chain.from_iterable(batches)
    yield from in_threads(finish_one, pairs, workers=THREADS, ahead=2 * size)


def _suppressed(detector: Detector, canvases: np.ndarray, options: Options) -> Any:
    """The network's detections, as arrays of NumPy."""
    detections = detector.detect(
        canvases,
        max_outputs=options.max_outputs,
        score_threshold=options.score,
        iou_threshold=options.iou,
        suppression=options.suppression,
        class_agnostic=options.class_agnostic,
    )
    return jax.device_get(detections)


def _batched(items: Iterator[Prepared], size: int) -> Iterator[list[Prepared]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _draw(path: Path, image: np.ndarray, objects: Objects, classes: Sequence[str]) -> None:
    # Small images are drawn larger, up to 4 times, so that labels have room.
    scale = min(4, max(1, 400 // image.shape[1]), max(1, LONGEST // max(image.shape[:2])))
    drawn = report.draw_boxes(
        image, objects.boxes, objects.labels, objects.scores, classes=classes, scale=scale
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg" and max(drawn.shape[:2]) > LONGEST:
        path = path.with_suffix(".png")
    if path.suffix == ".jpg":  # a tenth of the time of a PNG file
        options: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": 0}
    else:  # Only runs of bytes are looked for: a third of the time, and files no larger.
        options = {"format": "PNG", "compress_level": 1, "compress_type": zlib.Z_RLE}
    with atomic_write(path) as scratch:
        Image.fromarray(drawn).save(scratch, **options)


def _coco(finished: Finished, ids: Ids) -> list[dict[str, Any]]:
    """The objects of one image, as COCO's evaluation takes them."""
    return [
        {
            "image_id": finished.input.image_id,
            "file_name": finished.input.name,
            "category_id": ids.categories[int(label)],
            "category_name": category,
            "bbox": [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(score), 5),
        }
        for (x1, y1, x2, y2), score, label, category in zip(*finished.objects, strict=True)
    ]
