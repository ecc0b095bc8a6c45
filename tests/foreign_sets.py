"""Small image sets as other tools leave them, each with the peculiarities of its tool."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
NAMES = ("red", "green")
Box = tuple[int, int, int, int]
BOM = "\ufeff"


def scene(rng: np.random.Generator) -> tuple[Image.Image, list[tuple[int, Box]]]:
    """Draws two squares on gray noise; returns the image, and class and corners of each square."""
    pixels = rng.integers(90, 130, (SIDE, SIDE + 16, 3), np.uint8)
    objects = []
    for label in (0, 1):
        side = int(rng.integers(12, 24))
        x, y = (int(v) for v in rng.integers(2, 30, 2))
        x += 10 * label
        pixels[y : y + side, x : x + side] = (220, 30, 30) if label == 0 else (30, 200, 30)
        objects.append((label, (x, y, x + side, y + side)))
    return Image.fromarray(pixels), objects


def save(image: Image.Image, path: Path, *, lying: bool = False) -> None:
    """Writes an image; a lying one is stored turned, with the EXIF tag that stands it up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not lying:
        image.save(path, quality=95)
        return
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


def text(path: Path, content: str) -> None:
    """Writes a text file as it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())


def litter(folder: Path) -> None:
    """Leaves what desktops and notebooks leave in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (".DS_Store", "Thumbs.db", "._000.jpg", "._000.xml", "._000.txt"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07 not an image \xff")
    (folder / ".ipynb_checkpoints").mkdir(exist_ok=True)
    (folder / ".ipynb_checkpoints" / "000-checkpoint.jpg").write_bytes(b"half")


def voc(root: Path, rng: np.random.Generator) -> None:
    """labelImg's: a byte-order mark, CRLF, upper-case suffixes, a photograph lying on its side."""
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for number in range(8):
        stem = f"{number:03d}"
        lists["trainval" if number < 5 else "test"].append(stem)
        image, objects = scene(rng)
        save(image, root / "JPEGImages" / f"{stem}.JPG", lying=number == 2)
        parts = [
            f"<object><name>{NAMES[label]}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}.0</xmax><ymax>{y2}</ymax></bndbox></object>"
            for label, (x1, y1, x2, y2) in objects
        ]
        size = f"<size><width>{SIDE + 16}</width><height>{SIDE}</height><depth>3</depth></size>"
        lines = ["<annotation>", f"<filename>{stem}.JPG</filename>", size, *parts, "</annotation>"]
        text(root / "Annotations" / f"{stem}.xml", BOM + "\r\n".join(lines))
    for split, stems in lists.items():
        text(root / "ImageSets" / "Main" / f"{split}.txt", "\r\n".join([*stems, "", ""]))
    for folder in ("JPEGImages", "Annotations"):
        litter(root / folder)


def coco(root: Path, rng: np.random.Generator) -> None:
    """Categories are numbered otherwise in the second file, polygons stand beside the boxes."""
    for split, ids in (("train", (7, 3)), ("test", (1, 2))):
        images, annotations = [], []
        for number in range(5 if split == "train" else 3):
            image, objects = scene(rng)
            save(image, root / split / f"{number:012d}.jpg", lying=number == 1)
            images.append(
                {
                    "id": 100 + number,
                    "file_name": f"{number:012d}.jpg",
                    "width": image.width,
                    "height": image.height,
                }
            )
            for label, (x1, y1, x2, y2) in objects:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 100 + number,
                        "category_id": ids[label],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": 0,
                        "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
                    }
                )
        categories = [{"id": i, "name": name} for i, name in zip(ids, NAMES, strict=True)]
        content = {
            "info": {},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": sorted(categories, key=lambda c: c["id"]),
        }
        text(root / "annotations" / f"instances_{split}.json", json.dumps(content))
        litter(root / split)


def _line(label: str, box: Box) -> str:
    x1, y1, x2, y2 = box
    w, h = SIDE + 16, SIDE
    return f"{label} {(x1 + x2) / 2 / w} {(y1 + y2) / 2 / h} {(x2 - x1) / w} {(y2 - y1) / h}"


def _polygon(label: str, box: Box) -> str:
    x1, y1, x2, y2 = box
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    return " ".join([label, *(f"{x / (SIDE + 16)} {y / SIDE}" for x, y in corners)])


def yolo(root: Path, rng: np.random.Generator) -> None:
    """Class numbers written as floats, CRLF, labelImg's classes.txt among the labels."""
    for split, count in (("train", 5), ("test", 3)):
        for number in range(count):
            image, objects = scene(rng)
            save(image, root / "images" / split / f"{number:03d}.JPEG", lying=number == 1)
            lines = [_line(f"{label}.000e+00", box) for label, box in objects]
            text(root / "labels" / split / f"{number:03d}.txt", "\r\n".join([*lines, ""]))
        text(root / "labels" / split / "classes.txt", "\n".join(NAMES))
        litter(root / "images" / split)
        litter(root / "labels" / split)
    text(root / "classes.txt", BOM + "\r\n".join([*NAMES, ""]))


def roboflow(root: Path, rng: np.random.Generator) -> None:
    """data.yaml, a folder for each split, polygons for boxes, and an image without any object."""
    for split, count in (("train", 5), ("valid", 3)):
        for number in range(count):
            image, objects = scene(rng)
            stem = f"{number:03d}_jpg.rf.0a1b2c"
            save(image, root / split / "images" / f"{stem}.jpg")
            kinds = (_polygon, _line)
            lines = [kinds[label](str(label), box) for label, box in objects]
            text(root / split / "labels" / f"{stem}.txt", "\n".join(lines))
        save(Image.new("RGB", (SIDE + 16, SIDE)), root / split / "images" / "empty.jpg")
        text(root / split / "labels" / "empty.txt", "")
    text(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['red', 'green']\n",
    )
    text(root / "README.dataset.txt", "exported\n")


def class_folders(root: Path, rng: np.random.Generator) -> None:
    """Splits above the classes, images of any size, kind and orientation."""
    for split, count in (("train", 8), ("test", 3)):
        for label, name in enumerate(NAMES):
            for number in range(count):
                height, width = (int(v) for v in rng.integers(24, 60, 2))
                pixels = rng.integers(90, 130, (height, width, 3), np.uint8)
                pixels[4:-4, 4:-4, label] = 240
                image = Image.fromarray(pixels)
                suffix = (".jpg", ".PNG", ".tiff")[number % 3]
                if number == 1:
                    image = image.convert("P")
                save(image, root / split / name / f"{number:03d}{suffix}", lying=number == 0)
            litter(root / split / name)
    litter(root)


def idx(root: Path, rng: np.random.Generator) -> None:
    """MNIST's format, not compressed, with a file of class names."""
    root.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 60), ("t10k", 20)):
        labels = rng.integers(0, 2, count).astype(np.uint8)
        images = rng.integers(0, 60, (count, 12, 12), np.uint8)
        images[labels == 1, 3:9, 3:9] = 220
        head = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (root / f"{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">4BI", 0, 0, 8, 1, count)
        (root / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    text(root / "classes.txt", BOM + "\r\n".join(["empty", "square", ""]))
    litter(root)


SETS: dict[str, tuple[Callable[[Path, np.random.Generator], None], list[str]]] = {
    "voc": (voc, ["yolo", "--data", "voc"]),
    "coco": (coco, ["yolo", "--data", "coco"]),
    "yolo": (yolo, ["yolo", "--data", "yolo"]),
    "roboflow": (roboflow, ["yolo", "--data", "yolo"]),
    "class_folders": (class_folders, ["classification", "--data", "images"]),
    "idx": (idx, ["classification", "--data", "idx"]),
}
"""How each set is written, and what trains on it."""
