"""Batches of images of fixed shape from a data set, by Grain."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import grain
import jax
import numpy as np

from lectures_jax.data.images import THREADS, decode_image, decode_mask
from lectures_jax.data.letterbox import letterbox, letterbox_boxes, letterbox_mask
from lectures_jax.data.order import Order
from lectures_jax.data.records import Dataset, Record
from lectures_jax.typing import Batch


def loader(
    dataset: Dataset,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    max_boxes: int = 0,
    seed: int = 0,
    shuffle: bool = True,
    repeat: bool = True,
    workers: int = 0,
) -> grain.DatasetIterator[Batch]:
    """Returns batches as NumPy arrays; their order depends on the seed alone.

    Keys of a batch: `image` float32 [b, h, w, 3] in [0, 1], letter-boxed; `present` bool [b], False
    for an empty example that fills up the last batch. With `max_boxes = m > 0` also `boxes` float32
    [b, m, 4] in pixels of the canvas, `labels` int32 [b, m], `valid` and `crowd` bool [b, m]. Where
    every record has one label and no boxes, `labels` int32 [b]; where every record has a mask,
    `mask` int32 [b, h, w].

    With `repeat` the stream is endless, each epoch in another order, and batches cross from one
    epoch to the next, so nothing is dropped. Without it every example comes exactly once.

    The batches are the same however many JAX processes there are. With `repeat`, for training, each
    reads only its own part of a batch: the rows of the others are empty there. A mesh puts
    each process's rows on its devices (see `train.use_mesh`). An evaluation reads all of them.

    Args:
        dataset: records; images that are files are decoded on each pass (see `in_memory`).
        image_size: height and width of the canvas.
        batch_size: examples per batch, of all processes together.
        max_boxes: rows for boxes; at least the largest number in a record.
        seed: for the order, at least 0.
        shuffle: draws a new order for each epoch; otherwise the records keep their order.
        repeat: makes the stream endless, for training; otherwise it is one pass, whose last batch
            is filled up, for evaluation.
        workers: threads that prepare batches ahead; 0 prepares each batch on demand.

    Returns:
        An iterator with `get_state` and `set_state`, which Orbax saves as it is.

    Raises:
        ValueError: if the data set is empty, a record holds more than `max_boxes` boxes, `seed`
            is below 0, or the processes cannot share a batch equally.
    """
    n = len(dataset)
    if not n:
        raise ValueError("the data set must hold at least one record, got 0.")
    most = max(dataset, key=lambda record: len(record.boxes))
    if len(most.boxes) > max_boxes:
        raise ValueError(
            f"max_boxes must be at least {len(most.boxes)} (record {most.id}), got {max_boxes}."
        )
    make = _ExampleMaker(dataset, image_size, max_boxes)
    order = Order(n, seed=seed if shuffle else None)
    if repeat:
        index = grain.MapDataset.source(_Share(order, batch_size))
    else:
        index = grain.MapDataset.source(order.span(0, n).tolist() + [-1] * (-n % batch_size))
    batches = index.map(make).batch(batch_size, drop_remainder=True, batch_fn=_stack)
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)
    return iter(batches.to_iter_dataset(options))


class _Share:
    """An order, with -1 where a row of a batch belongs to another process."""

    def __init__(self, order: Order, batch_size: int):
        count = jax.process_count()
        if batch_size % count:
            raise ValueError(
                f"batch_size must be a multiple of {count} processes, got {batch_size}."
            )
        self.order, self.batch_size = order, batch_size
        first, size = jax.process_index() * batch_size // count, batch_size // count
        self.rows = range(first, first + size)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> int:
        return self.order[index] if index % self.batch_size in self.rows else -1


class _ExampleMaker:
    """Turns the index of a record into arrays of fixed shape; -1 into an empty example."""

    def __init__(self, dataset: Dataset, image_size: tuple[int, int], max_boxes: int):
        self.dataset, self.image_size, self.max_boxes = dataset, image_size, max_boxes
        self.classified = all(len(r.labels) == 1 and not len(r.boxes) for r in dataset)
        self.masked = all(r.mask is not None for r in dataset)

    @cached_property
    def empty(self) -> Batch:
        """An example of zeros."""
        return {name: np.zeros_like(value) for name, value in self(0).items()}

    def __call__(self, index: int) -> Batch:
        if index < 0:
            return self.empty
        record = self.dataset[index]
        image, transform = letterbox(_image(record), image_size=self.image_size)
        example = {"image": image, "present": np.bool_(True)}
        mask = _mask(record) if self.masked else None
        if mask is not None:
            mask = letterbox_mask(mask, image_size=self.image_size)
            example["mask"] = mask.astype(np.int32)
        if self.classified:
            example["labels"] = record.labels[0]
        if self.max_boxes:
            example["boxes"] = self.padded(letterbox_boxes(record.boxes, transform))
            example["labels"] = self.padded(record.labels)
            example["valid"] = np.arange(self.max_boxes) < len(record.boxes)
            example["crowd"] = self.padded(record.crowd)
        return example

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """The rows, and zeros up to `max_boxes` rows; `np.pad` takes ten times as long."""
        result = np.zeros((self.max_boxes, *rows.shape[1:]), rows.dtype)
        result[: len(rows)] = rows
        return result


def _stack(examples: Sequence[Batch]) -> Batch:
    batch = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    batch["image"] = np.multiply(batch["image"], np.float32(1 / 255), dtype=np.float32)
    return batch


def in_memory(dataset: Dataset, *, image_size: tuple[int, int]) -> Dataset:
    """Decodes and letter-boxes every image once, on several cores, and keeps the result.

    Worth `h · w · 3` bytes an image when the same files are read more than once, as in training.
    The boxes then are in pixels of the canvas; `loader` with the same `image_size` only copies.

    Args:
        dataset: records, in files or in memory.
        image_size: height and width of the canvas.
    """

    def load(record: Record) -> Record:
        image, transform = letterbox(_image(record), image_size=image_size)
        boxes = letterbox_boxes(record.boxes, transform)
        mask = _mask(record)
        if mask is not None:
            mask = letterbox_mask(mask, image_size=image_size)
        return replace(record, image=image, boxes=boxes, mask=mask)

    with ThreadPoolExecutor(THREADS) as pool:
        return replace(dataset, records=tuple(pool.map(load, dataset)))


def _image(record: Record) -> np.ndarray:
    return decode_image(record.image) if isinstance(record.image, Path) else record.image


def _mask(record: Record) -> np.ndarray | None:
    return decode_mask(record.mask) if isinstance(record.mask, Path) else record.mask
