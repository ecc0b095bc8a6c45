import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from lectures_jax import data

PIXELS = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)
LABELS = np.array([1, 0, 2], np.uint8)


def content(array, kind=8, shape=None):
    shape = array.shape if shape is None else shape
    head = bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return head + array.tobytes()


def read(folder, images=None, labels=None, packed=False, **options):
    paths = []
    for name, given, array in (("images", images, PIXELS), ("labels", labels, LABELS)):
        written = content(array) if given is None else given
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(written) if packed else written)
        paths.append(path)
    return data.read_idx(*paths, **options)


@pytest.mark.parametrize("packed", [False, True])
def test_images_and_labels_are_read(tmp_path, packed):
    dataset = read(tmp_path, packed=packed)
    np.testing.assert_array_equal(np.stack([record.image[:, :, 0] for record in dataset]), PIXELS)
    assert [record.labels.tolist() for record in dataset] == [[1], [0], [2]]
    assert dataset.classes == ("0", "1", "2")


def test_class_names_may_be_given(tmp_path):
    assert read(tmp_path, classes=["a", "b", "c", "d"]).classes == ("a", "b", "c", "d")


def test_a_label_without_a_class_is_an_error_or_leaves_out_its_image(tmp_path):
    with pytest.raises(ValueError, match="labels: label 2: expected less than 2, got 2"):
        read(tmp_path, classes=["a", "b"])
    dataset = read(tmp_path, classes=["a", "b"], strict=False)
    assert [record.id for record in dataset] == ["00000", "00001"]
    assert len(dataset.problems) == 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            content(PIXELS, shape=(3, 2, 5)),
            r"length: expected 30 bytes for shape \(3, 2, 5\), got 24",
        ),
        (content(PIXELS, shape=(3, 2, 3)), "length: expected 18 bytes .* got more"),
        (content(PIXELS, shape=(2**32 - 1,) * 3), "shape: expected at most"),
        (content(PIXELS, kind=13), "magic number: expected 00 00 08 03, got 00 00 0d 03"),
        (content(LABELS), "magic number: expected 00 00 08 03, got 00 00 08 01"),
        (content(PIXELS)[:10], "header: expected 16 bytes, got 10"),
        (b"", "magic number: expected 00 00 08 03, got nothing"),
    ],
)
def test_a_file_that_is_not_what_its_header_says_is_refused(tmp_path, images, message, packed):
    with pytest.raises(ValueError, match=rf"images(\.gz)?: {message}"):
        read(tmp_path, images=images, packed=packed, strict=False)


def test_labels_and_images_of_different_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="labels: length: expected 3 labels, got 2"):
        read(tmp_path, labels=content(LABELS[:2]), strict=False)


def test_an_empty_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one good image, got none"):
        read(tmp_path, images=content(PIXELS[:0]), labels=content(LABELS[:0]))


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damaged_compression_is_refused(tmp_path, damage):
    packed = gzip.compress(content(PIXELS))
    damaged = {
        "truncated": packed[:-12],
        "flipped": packed[:20] + bytes([packed[20] ^ 255]) + packed[21:],
    }[damage]
    (tmp_path / "images.gz").write_bytes(damaged)
    (tmp_path / "labels").write_bytes(content(LABELS))
    with pytest.raises(ValueError, match=r"images\.gz: "):
        data.read_idx(tmp_path / "images.gz", tmp_path / "labels")


def test_a_compression_bomb_is_not_inflated(tmp_path):
    bomb = content(PIXELS) + bytes(200_000_000)
    (tmp_path / "images.gz").write_bytes(gzip.compress(bomb, 1))
    (tmp_path / "labels").write_bytes(content(LABELS))
    del bomb
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"expected 24 bytes .* got more"):
        data.read_idx(tmp_path / "images.gz", tmp_path / "labels")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000  # the file has 0.9 MB


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="images: file: expected an existing file"):
        data.read_idx(tmp_path / "images", tmp_path / "labels")


def test_fashion_images_are_read_whole(shared_data):
    folder = shared_data / "fashion_mnist"
    dataset = data.read_idx(
        folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"
    )
    assert len(dataset) == 10_000
    assert len(dataset.classes) == 10
    assert dataset[0].image.shape == (28, 28, 1)
    counts = np.bincount([record.labels[0] for record in dataset])
    np.testing.assert_array_equal(counts, np.full(10, 1000))
