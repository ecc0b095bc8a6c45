"""A photograph is read as people see it, whatever the camera stored."""

import io
import json

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from lectures_jax import data
from lectures_jax.data.images import decode_image, decode_mask, decode_on_black, upright_size
from lectures_jax.recipes import detection_data
from tests.data.files import text

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # stored so, it is turned by 270° to stand upright
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
SEEN = np.zeros((20, 30, 3), np.uint8)
SEEN[:8, :10] = (250, 20, 20)  # top left


def stored(path, orientation, seen=SEEN, **options):
    """Writes an image that is seen as `seen` once it is turned as the orientation says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(seen)
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
def test_each_orientation_is_undone(tmp_path, suffix, orientation):
    path = stored(tmp_path / f"a.{suffix}", orientation, quality=95)
    for decode in (decode_image, decode_on_black):
        error = np.abs(decode(path).astype(int) - SEEN).mean()
        assert error < 12, error
    assert upright_size(path) == (20, 30)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    assert decode_image(stored(tmp_path / "a.png", orientation)).shape == (20, 30, 3)


def test_damaged_exif_does_no_harm(tmp_path):
    Image.fromarray(SEEN).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), SEEN)


def test_a_palette_with_transparency_is_turned(tmp_path):
    palette = Image.fromarray(SEEN).convert("P").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    palette.save(tmp_path / "a.png", exif=exif, transparency=palette.getpixel((0, 0)))
    assert decode_image(tmp_path / "a.png").shape == (20, 30, 3)
    assert decode_on_black(tmp_path / "a.png").shape == (20, 30, 3)


def test_a_mask_is_turned_like_its_image(tmp_path):
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    stored(tmp_path / "a.png", 6, mask)
    np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), mask)


BOX = [0, 0, 10, 8]
"""Of the red corner, as people draw it."""


def voc(root, path):
    stored(path("JPEGImages"), 6, quality=95)
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>8</ymax>"
    size = "<size><width>30</width><height>20</height></size>"
    thing = f"<object><name>red</name><bndbox>{corners}</bndbox></object>"
    text(root / "Annotations" / "a.xml", f"<annotation>{size}{thing}</annotation>")
    text(root / "ImageSets" / "Main" / "train.txt", "a\n")
    return data.read_voc(root, split="train")


def coco(root, path):
    stored(path("images"), 6, quality=95)
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 30, "height": 20}],
        "categories": [{"id": 1, "name": "red"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX}],
    }
    return data.read_coco(text(root / "a.json", json.dumps(content)), root / "images")


def yolo(root, path):
    stored(path("images"), 6, quality=95)
    text(root / "classes.txt", "red\n")
    text(root / "labels" / "a.txt", f"0 {5 / 30} {4 / 20} {10 / 30} {8 / 20}\n")
    return data.read_yolo(root)


@pytest.mark.parametrize("read", [voc, coco, yolo])
def test_boxes_are_in_the_image_as_people_see_it(tmp_path, read):
    dataset = read(tmp_path, lambda folder: tmp_path / folder / "a.jpg")
    np.testing.assert_allclose(dataset[0].boxes, [BOX], atol=1e-5)
    batch = next(data.loader(dataset, image_size=(20, 30), batch_size=1, max_boxes=1))
    x0, y0, x1, y1 = batch["boxes"][0, 0].round().astype(int)
    red = batch["image"][0, :, :, 0]
    assert red[y0:y1, x0:x1].mean() > 0.9
    assert red[y1 + 1 :].mean() < 0.05
    (kept,) = data.in_memory(dataset, image_size=(20, 30))
    assert kept.image[y0:y1, x0:x1, 0].mean() > 230
    assert detection_data.common_size(dataset) == (160, 256)  # 20×30, not 30×20


def test_classified_images_are_upright(tmp_path):
    for name in ("0", "1"):
        stored(tmp_path / "a" / f"{name}.jpg", 6, quality=95)
    splits = data.read_classified("images", tmp_path)
    assert splits.train["image"].shape == (1, 20, 30, 3)
    assert splits.train["image"][0, :8, :10, 0].mean() > 0.9


def test_pillow_agrees_with_the_images_of_this_file():
    content = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(SEEN).transpose(TURNS[6]).save(content, "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(Image.open(content))), SEEN)
