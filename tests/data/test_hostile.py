"""Files that are made to hang a reader or to fill its memory: each is one line, within seconds."""

import gzip
import json
import os
import stat
import struct
import time
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from lectures_jax import data
from lectures_jax.data.files import is_plain, limit, lines_of, list_files, read_file, unwrap
from lectures_jax.data.images import decode_image
from lectures_jax.data.problems import MAX_OBJECTS, MAX_PROBLEMS, BadInputError, ErrorLog
from tests.data.files import image_file, png_header, text

SECONDS = 2


@pytest.fixture(autouse=True)
def _quick():
    start = time.process_time()
    yield
    assert time.process_time() - start < 2 * SECONDS  # twice: the file is made here, too


def chunks(count):
    """A PNG of empty chunks, none of which a decoder needs."""
    chunk = struct.pack(">I", 0) + b"abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    content = file.getvalue()
    return content[:33] + chunk * count + content[33:]


def comments(count):
    """A JPEG of empty comments."""
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()[:2] + b"\xff\xfe\0\2" * count + file.getvalue()[2:]


def extensions(count):
    """A GIF of empty extensions."""
    file = BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF")
    content = file.getvalue()
    start = content.index(b"\x2c")
    return content[:start] + b"\x21\xfe\0" * count + content[start:]


def scans(count):
    """A progressive JPEG that repeats a scan."""
    file = BytesIO()
    Image.new("RGB", (4000, 4000)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + b"\xff\xd9"


def exif(count):
    """A JPEG whose EXIF has thousands of entries, each of them all of its bytes."""
    entries = b"".join(struct.pack("<HHII", i, 7, 60_000, 8) for i in range(count))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", count) + entries
    part = b"\xff\xe1" + struct.pack(">H", 65_000 + 2) + block.ljust(65_000, b"\0")
    more = b"\xff\xe1" + struct.pack(">H", 65_000 + 2) + b"Exif\0\0".ljust(65_000, b"\1")
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()[:2] + part + more * 20 + file.getvalue()[2:]


def plain_ppm(_):
    return b"P3 4000 4000 255 " + b"0 " * 1000


def deep_ppm(_):
    return b"P6 4000 4000 99 " + bytes(1000)


def runs_bmp(_):
    head = b"BM" + struct.pack("<IHHI", 2000, 0, 0, 54 + 1024)
    info = struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, 0, 0, 0, 256, 256)
    return head + info + bytes(1024) + b"\1\0" * 1000


@pytest.mark.parametrize(
    ("make", "count", "message"),
    [
        (chunks, 1_000_000, "too many parts"),
        (comments, 1_000_000, "too many parts"),
        (extensions, 1_000_000, "too many parts"),
        (scans, 200, "at most 32 scans"),
        (exif, 5000, "at most 3 blocks of EXIF"),
        (plain_ppm, 0, "an image in a binary encoding, got PPM"),
        (deep_ppm, 0, "an image in a binary encoding, got PPM"),
        (runs_bmp, 0, "an image in a binary encoding, got BMP"),
    ],
)
def test_an_image_that_costs_far_more_than_its_pixels_is_refused(tmp_path, make, count, message):
    (tmp_path / "a.png").write_bytes(make(count))
    with pytest.raises(ValueError, match=rf"a\.png: content: expected .*{message}"):
        decode_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("make", "count"), [(chunks, 1000), (comments, 1000), (extensions, 1000), (scans, 3)]
)
def test_an_image_of_a_few_parts_more_is_read(tmp_path, make, count):
    (tmp_path / "a.png").write_bytes(make(count))
    assert decode_image(tmp_path / "a.png").ndim == 3


def test_limits_are_raised_together(tmp_path, monkeypatch):
    png_header(tmp_path / "a.png", 5000, 5000)
    with pytest.raises(ValueError, match="at most 20000000 pixels"):
        decode_image(tmp_path / "a.png")
    monkeypatch.setenv("LJX_LIMITS", "2")
    assert limit(20) == 40
    with pytest.raises(ValueError, match="an image that decodes"):
        decode_image(tmp_path / "a.png")
    monkeypatch.setenv("LJX_LIMITS", "all")
    with pytest.raises(ValueError, match="LJX_LIMITS must be a positive number, got 'all'"):
        decode_image(tmp_path / "a.png")


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [pipe, device, folder])
def test_what_is_no_regular_file_is_refused_wherever_it_stands(tmp_path, make):
    root = tmp_path / "set"
    for path in ("images/b.png", "labels/a.txt", "classes.txt", "data.yaml"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    make(tmp_path / "odd")
    with pytest.raises(ValueError, match="odd: file: expected a regular file, got a"):
        read_file(tmp_path / "odd", "text")
    with pytest.raises(ValueError, match="odd: file: expected a regular file"):
        decode_image(tmp_path / "odd")
    for path in ("images/b.png", "labels/a.txt", "classes.txt", "data.yaml"):
        image_file(root / "images" / "a.png")
        text(root / "labels" / "a.txt", "0 .5 .5 1 1")
        text(root / "classes.txt", "cat")
        (root / path).unlink(missing_ok=True)
        make(root / path)
        with pytest.raises(ValueError, match=r"expected (a path inside|a regular|the name of)"):
            data.read_yolo(root)
        (root / path).rmdir() if make is folder else (root / path).unlink()


def test_a_pipe_among_classified_images_is_refused(tmp_path):
    image_file(tmp_path / "a" / "0.png")
    pipe(tmp_path / "a" / "1.png")
    with pytest.raises(ValueError, match=r"1\.png: file: expected a regular file, got a pipe"):
        data.read_classified("images", tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(10**12)  # holes, which take no disk
    with pytest.raises(ValueError, match=r"a\.txt: size: expected at most 8000000 bytes"):
        lines_of(tmp_path / "a.txt")


def test_a_file_that_the_system_makes_up_is_refused():
    with pytest.raises(ValueError, match="expected its 0 bytes, got more"):
        read_file(Path("/proc/self/maps"), "text")


def packed(shape, content=b""):
    head = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return gzip.compress(head + content, 1)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((10**8, 1, 1), 10**8, "shape: expected at most 300000 images"),
        ((10**5, 0, 0), 0, "shape: expected images of one pixel or more"),
        ((10**5, 100, 100), 0, "shape: expected at most 200000000 bytes"),
    ],
)
def test_an_idx_file_whose_shape_is_unreasonable_is_refused(tmp_path, shape, size, message):
    (tmp_path / "images").write_bytes(packed(shape, bytes(size)))
    (tmp_path / "labels").write_bytes(packed(shape[:1], bytes(shape[0])))
    with pytest.raises(ValueError, match=f"images: {message}"):
        data.read_idx(tmp_path / "images", tmp_path / "labels")


def test_json_of_too_many_values_is_refused_before_it_is_parsed(tmp_path):
    file = text(tmp_path / "a.json", '{"images": [' + "{}," * 4_000_000 + "{}]}")
    with pytest.raises(ValueError, match="content: expected at most 4000000 values"):
        data.read_coco(file, tmp_path)


def test_xml_of_thousands_of_attributes_is_refused(tmp_path):
    image_file(tmp_path / "JPEGImages" / "a.jpg")
    attributes = " ".join(f'a{i}=""' for i in range(100_000))
    text(tmp_path / "Annotations" / "a.xml", f"<annotation {attributes}/>")
    text(tmp_path / "ImageSets" / "Main" / "train.txt", "a")
    with pytest.raises(ValueError, match=r"a\.xml: content: expected at most 2000 attributes"):
        data.read_voc(tmp_path, split="train")


def test_yaml_that_repeats_itself_is_harmless(tmp_path):
    rows = [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]" for i in range(1, 30)]
    image_file(tmp_path / "images" / "a.png")
    text(tmp_path / "data.yaml", "\n".join(["a0: &a0 [x]", *rows, "names: *a29"]))
    with pytest.raises(ValueError, match=r"data\.yaml: names: expected a list"):
        data.read_yolo(tmp_path)


def test_objects_of_one_image_are_bounded(tmp_path):
    image_file(tmp_path / "images" / "a.png", 100, 100)
    lines = [f"0 {0.2 + i / 1e5} 0.5 0.1 0.1" for i in range(MAX_OBJECTS + 10)]
    text(tmp_path / "labels" / "a.txt", "\n".join(lines))
    text(tmp_path / "classes.txt", "cat")
    with pytest.raises(ValueError, match=f"objects: expected at most {MAX_OBJECTS} in an image"):
        data.read_yolo(tmp_path)
    assert len(data.read_yolo(tmp_path, strict=False)[0].boxes) == MAX_OBJECTS


def test_problems_are_kept_up_to_a_number_and_counted_from_there(tmp_path):
    problems = ErrorLog(strict=False)
    for i in range(20_000):
        problems.add(tmp_path, f"line {i}", "a number", "x", kind="lines")
    assert len(problems.lines) == MAX_PROBLEMS + 1
    assert problems.lines[-1] == f"{20_000 - MAX_PROBLEMS} more problems are not listed."
    assert problems.counts == {"lines": 20_000}


def test_a_coco_file_of_missing_images_is_read_in_seconds(tmp_path):
    images = [{"id": i, "file_name": f"{i}"} for i in range(20_000)]
    image_file(tmp_path / "a.png")
    images.append({"id": -1, "file_name": "a.png"})
    row = {"id": 1, "image_id": -1, "category_id": 1, "bbox": [0, 0, 1, 1]}
    content = {"images": images, "annotations": [row], "categories": [{"id": 1, "name": "a"}]}
    dataset = data.read_coco(text(tmp_path / "a.json", json.dumps(content)), tmp_path, strict=False)
    assert (len(dataset), sum(dataset.counts.values())) == (1, 20_000)


def linked(folder):
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("a/b.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/hostname")
    return folder / "x.zip", "b.png: file: expected a regular file, got a link"


def swollen(folder):
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for i in range(11):
            archive.writestr(f"a/{i}.png", bytes(10_000_000))
    return folder / "x.zip", "size unpacked: expected at most 100000000 bytes"


def crowded(folder):
    content = b"PK\x01\x02" * 600_000
    (folder / "x.zip").write_bytes(content)
    return folder / "x.zip", "entries: expected at most 500000 files"


@pytest.mark.parametrize("make", [linked, swollen, crowded])
def test_a_zip_file_that_is_no_set_of_images_is_refused(tmp_path, make, monkeypatch):
    monkeypatch.setattr("lectures_jax.data.class_folders.MAX_TOTAL", 100_000_000)
    file, message = make(tmp_path)
    with pytest.raises(ValueError, match=message):
        data.read_classified("images", file)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_below_class_folders_are_refused(tmp_path, what):
    image_file(tmp_path / "secret" / "0.png")
    image_file(tmp_path / "set" / "a" / "0.png")
    if what == "file":
        (tmp_path / "set" / "a" / "1.png").symlink_to(tmp_path / "secret" / "0.png")
    else:
        (tmp_path / "set" / "b").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"expected a (path inside|folder, got a link)"):
        data.read_classified("images", tmp_path / "set")


@pytest.mark.parametrize("name", ["a\rb", "a\x1b[31m", "\ud800", "a\u2028b", "", "x" * 201])
def test_a_class_name_that_no_report_can_hold_is_refused_by_the_reader(tmp_path, name):
    image_file(tmp_path / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": name}],
    }
    file = text(tmp_path / "a.json", json.dumps(content))
    with pytest.raises(ValueError, match="a name of 1 to 200 characters") as error:
        data.read_coco(file, tmp_path, strict=False)
    assert str(error.value).isprintable()


def test_a_file_name_that_is_no_text_is_a_problem_in_one_printable_line(tmp_path):
    image_file(tmp_path / "images" / "a.png")
    odd = os.fsencode(tmp_path / "images") + b"/b\xff\x1b.png"
    os.link(tmp_path / "images" / "a.png", odd)
    text(tmp_path / "classes.txt", "cat")
    text(tmp_path / "labels" / "a.txt", "0 .5 .5 1 1")
    with pytest.raises(ValueError, match="a name in UTF-8 without control characters") as error:
        data.read_yolo(tmp_path)
    assert str(error.value).isprintable()
    dataset = data.read_yolo(tmp_path, strict=False)
    assert [record.id for record in dataset] == ["a"]
    assert all(line.isprintable() for line in dataset.problems)


def test_names_of_any_script_are_plain():
    assert all(is_plain(name) for name in ("Äpfel", "数字", "ŝerco", "a b", "👩‍🔬"))


def test_what_desktops_leave_is_no_image(tmp_path):
    for name in ("a.JPG", "._a.jpg", ".DS_Store", "Thumbs.db", "b.txt"):
        text(tmp_path / name, "")
    text(tmp_path / ".ipynb_checkpoints" / "a.jpg", "")
    assert [path.name for path in list_files(tmp_path, (".jpg",))] == ["a.JPG"]


def test_a_folder_that_only_wraps_another_is_skipped(tmp_path):
    text(tmp_path / "x" / "y" / "a.txt", "")
    text(tmp_path / "x" / ".DS_Store", "")
    assert unwrap(tmp_path) == tmp_path / "x" / "y"
    (tmp_path / "z").mkdir()
    assert unwrap(tmp_path) == tmp_path


def test_an_error_names_files_that_are_near(tmp_path):
    text(tmp_path / "trainval.txt", "")
    with pytest.raises(BadInputError, match=r"an existing file, got .*near it: trainval\.txt"):
        lines_of(tmp_path / "train.txt")


def test_records_share_what_they_do_not_have(tmp_path):
    count = 2000
    (tmp_path / "images").write_bytes(packed((count, 1, 1), bytes(count)))
    (tmp_path / "labels").write_bytes(packed((count,), bytes(count)))
    dataset = data.read_idx(tmp_path / "images", tmp_path / "labels")
    assert dataset[0].boxes is dataset[1].boxes
