import importlib
import json

import jax
import numpy as np
import pytest
from PIL import Image

from lectures_jax import data
from lectures_jax.data.records import Dataset, Record


def numbered(n, boxes=1):
    """Images that show their own number, with some boxes of that number as the label."""
    return Dataset(
        tuple(
            Record(
                id=str(i),
                image=np.full((4, 4, 3), i, np.uint8),
                boxes=np.tile(np.array([[0, 1, 2, 3]], np.float32), (boxes, 1)) + np.float32(i),
                labels=np.full(boxes, i, np.int32),
                crowd=np.arange(boxes) == 1,
            )
            for i in range(n)
        ),
        classes=tuple(map(str, range(n))),
    )


def batches(dataset, **options):
    return data.loader(dataset, **{"image_size": (4, 4), "batch_size": 2, "max_boxes": 1} | options)


def numbers(batch):
    return np.rint(batch["image"][:, 0, 0, 0] * 255).astype(int).tolist()


def take(iterator, n):
    return [number for _ in range(n) for number in numbers(next(iterator))]


def test_a_batch_has_the_promised_arrays():
    records = numbered(2, boxes=2)
    batch = next(batches(records, max_boxes=3, shuffle=False))
    assert {name: (v.shape, v.dtype.name) for name, v in batch.items()} == {
        "image": ((2, 4, 4, 3), "float32"),
        "present": ((2,), "bool"),
        "boxes": ((2, 3, 4), "float32"),
        "labels": ((2, 3), "int32"),
        "valid": ((2, 3), "bool"),
        "crowd": ((2, 3), "bool"),
    }
    np.testing.assert_array_equal(batch["boxes"][1], [[1, 2, 3, 4], [1, 2, 3, 4], [0, 0, 0, 0]])
    np.testing.assert_array_equal(batch["labels"][1], [1, 1, 0])
    np.testing.assert_array_equal(batch["valid"][1], [True, True, False])
    np.testing.assert_array_equal(batch["crowd"][1], [False, True, False])
    np.testing.assert_allclose(batch["image"][1], 1 / 255, rtol=1e-6)


def test_white_is_one_and_black_is_zero():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 255
    batch = next(batches(Dataset((Record("a", image),), ()), batch_size=1, max_boxes=0))
    assert batch["image"].min() == 0
    assert batch["image"].max() == 1


def test_images_and_boxes_are_letterboxed():
    record = Record(
        "wide",
        np.full((2, 4, 3), 255, np.uint8),
        np.array([[1, 0, 3, 2]], np.float32),
        np.array([0], np.int32),
        np.array([False]),
    )
    batch = next(batches(Dataset((record,), ("a",)), image_size=(8, 8), batch_size=1))
    np.testing.assert_array_equal(batch["boxes"], [[[2, 2, 6, 6]]])
    np.testing.assert_allclose(batch["image"][0, :2], 128 / 255)
    np.testing.assert_array_equal(batch["image"][0, 2:6], np.ones((4, 8, 3)))


def test_evaluation_sees_every_example_once_and_marks_what_fills_up():
    seen = list(batches(numbered(5), repeat=False, shuffle=False))
    assert [numbers(batch) for batch in seen] == [[0, 1], [2, 3], [4, 0]]
    assert [batch["present"].tolist() for batch in seen] == [[True] * 2, [True] * 2, [True, False]]
    assert seen[2]["valid"].tolist() == [[True], [False]]
    assert not seen[2]["boxes"][1].any()


def test_shuffled_evaluation_sees_every_example_once():
    seen = [
        n for b in batches(numbered(7), repeat=False) for n in np.array(numbers(b))[b["present"]]
    ]
    assert sorted(seen) == list(range(7))
    assert seen != list(range(7))


def test_training_shows_every_example_in_each_epoch_in_another_order():
    stream = take(batches(numbered(5), seed=3), 10)  # four epochs of 5 in batches of 2
    epochs = [stream[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_order_depends_on_the_seed():
    assert take(batches(numbered(9), seed=1), 5) == take(batches(numbered(9), seed=1), 5)
    assert take(batches(numbered(9), seed=1), 5) != take(batches(numbered(9), seed=2), 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_order_does_not_depend_on_the_number_of_workers(workers):
    expected = take(batches(numbered(9), seed=1), 12)
    assert take(batches(numbered(9), seed=1, workers=workers), 12) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_resumes_where_its_state_was_saved(workers):
    stream = batches(numbered(5), workers=workers)
    take(stream, 4)
    state = json.loads(json.dumps(stream.get_state()))
    expected = take(stream, 6)
    other = batches(numbered(5), workers=workers)
    take(other, 1)
    other.set_state(state)
    assert take(other, 6) == expected


def as_process(monkeypatch, index, count):
    monkeypatch.setattr(jax, "process_index", lambda: index)
    monkeypatch.setattr(jax, "process_count", lambda: count)


def test_each_process_reads_its_rows_of_the_batches_of_one(monkeypatch):
    whole = batches(numbered(7), batch_size=4)
    expected = [next(whole) for _ in range(5)]
    for index in range(2):
        as_process(monkeypatch, index, 2)
        part, mine = batches(numbered(7), batch_size=4), slice(2 * index, 2 * index + 2)
        for batch in expected:
            read = next(part)
            rows = np.zeros(4, bool)
            rows[mine] = True
            np.testing.assert_array_equal(read["present"], rows)
            for name, value in batch.items():
                np.testing.assert_array_equal(read[name][mine], value[mine])
                assert not read[name][~rows].any()


def test_other_processes_images_are_not_decoded(monkeypatch):
    decoded, module = [], importlib.import_module("lectures_jax.data.loader")
    original = module.letterbox

    def letterbox(image, **options):
        decoded.append(int(image.max()))
        return original(image, **options)

    as_process(monkeypatch, 1, 2)
    monkeypatch.setattr(module, "letterbox", letterbox)
    next(batches(numbered(7), batch_size=4, shuffle=False))
    assert sorted(decoded) == [0, 2, 3]  # the first one for the shape of an empty example


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch):
    as_process(monkeypatch, 1, 3)
    with pytest.raises(ValueError, match="multiple of 3 processes, got 4"):
        batches(numbered(7), batch_size=4)


def test_every_process_evaluates_every_example_once(monkeypatch):
    as_process(monkeypatch, 1, 3)
    seen = [
        n for b in batches(numbered(7), repeat=False) for n in np.array(numbers(b))[b["present"]]
    ]
    assert sorted(seen) == list(range(7))


def test_classified_images_have_one_label_each():
    records = tuple(
        Record(str(i), np.zeros((4, 4, 1), np.uint8), labels=np.array([i], np.int32))
        for i in range(3)
    )
    batch = next(batches(Dataset(records, ("a", "b", "c")), max_boxes=0, shuffle=False))
    np.testing.assert_array_equal(batch["labels"], np.array([0, 1], np.int32))
    assert "boxes" not in batch


def test_masks_are_loaded_where_every_record_has_one(tmp_path):
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    image = np.zeros((4, 4, 3), np.uint8)
    records = (Record("file", image, mask=tmp_path / "mask.png"), Record("array", image, mask=mask))
    batch = next(batches(Dataset(records, ()), max_boxes=0, shuffle=False))
    assert batch["mask"].dtype == np.int32
    np.testing.assert_array_equal(batch["mask"], np.stack([mask, mask]))
    without = Dataset((*records, Record("none", image)), ())
    assert "mask" not in next(batches(without, max_boxes=0))


def test_too_few_rows_for_boxes_are_refused_before_the_first_batch():
    with pytest.raises(ValueError, match=r"max_boxes must be at least 3 \(record 0\), got 2"):
        batches(numbered(2, boxes=3), max_boxes=2)


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="at least one record, got 0"):
        batches(Dataset((), ()))


def test_keeping_images_in_memory_changes_no_batch(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "mask.png")
    record = Record(
        "a",
        tmp_path / "a.png",
        np.array([[3, 4, 20, 15]], np.float32),
        np.array([0], np.int32),
        np.array([False]),
        tmp_path / "mask.png",
    )
    from_files = Dataset((record,), ("a",))
    from_memory = data.in_memory(from_files, image_size=(16, 16))
    options = {"image_size": (16, 16), "batch_size": 1, "max_boxes": 2}
    expected = next(data.loader(from_files, **options))
    batch = next(data.loader(from_memory, **options))
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(batch[name], value)


def test_a_record_with_a_label_too_few_is_refused():
    with pytest.raises(ValueError, match="got 1 boxes, 0 labels and 0 crowd flags"):
        Record("a", np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4), np.float32))


def test_a_slice_of_a_data_set_is_a_data_set_of_the_same_classes():
    part = numbered(5)[1:3]
    assert isinstance(part, Dataset)
    assert [record.id for record in part] == ["1", "2"]
    assert part.classes == ("0", "1", "2", "3", "4")
