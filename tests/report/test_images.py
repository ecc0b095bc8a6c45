from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lectures_jax import report
from lectures_jax.report.images import encode, to_rgb


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3)])
def test_gray_and_color_floats_become_rgb_bytes(shape):
    image = to_rgb(np.full(shape, 0.5))
    assert (image.shape, image.dtype) == ((2, 3, 3), np.uint8)
    np.testing.assert_array_equal(image, 128)


def test_floats_are_clipped_and_bytes_kept():
    np.testing.assert_array_equal(to_rgb(np.array([[-0.1, 1.1]]))[0, :, 0], [0, 255])
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_rgb(values)[..., 1], values)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 4)), r"got \[2, 3, 4\]"),
        (np.zeros((0, 3, 3)), r"got \[0, 3, 3\]"),
        (np.zeros((2, 3), np.int32), "got int32"),
        (np.full((2, 3), np.nan), "must be finite"),
    ],
)
def test_what_is_no_image_raises(image, message):
    with pytest.raises(ValueError, match=message):
        to_rgb(image)


def test_a_grid_holds_each_image_in_its_cell():
    sheet = report.grid([np.full((4, 6), i, np.uint8) for i in range(5)], columns=3, gap=2)
    assert sheet.shape == (4 + 2 + 4, 3 * 6 + 2 * 2, 3)
    assert (sheet[:4, 8:14] == 1).all()
    assert (sheet[6:, :6] == 3).all()
    assert (sheet[6:, 16:] == 128).all()


def test_smaller_images_are_centered():
    sheet = report.grid([np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8)], columns=2, gap=0)
    assert (sheet[1:3, 5:7] == 0).all()
    assert (sheet[0, 4:] == 128).all()


def test_a_grid_of_nothing_raises():
    with pytest.raises(ValueError, match="at least one image"):
        report.grid([])


@pytest.mark.parametrize("shape", [(1, 2, 1), (5, 1, 2, 3)])
def test_each_pixel_of_an_enlarged_image_is_a_square(shape):
    images = np.random.default_rng(0).uniform(size=shape)
    large = report.enlarge(images, factor=3)
    assert large.shape == (*shape[:-3], 3, 6, shape[-1])
    for y, x in np.ndindex(3, 3):
        np.testing.assert_array_equal(large[..., y::3, x::3, :], images)


@pytest.mark.parametrize(("width", "factor"), [(50, 2), (112, 4), (10, 1)])
def test_a_sheet_enlarges_to_the_nearest_whole_factor(width, factor):
    images = np.random.default_rng(0).uniform(size=(6, 28, 28, 1))
    sheet = report.sheet(images, columns=3, width=width)
    large = report.enlarge(images, factor=factor)
    np.testing.assert_array_equal(sheet, report.grid(large, columns=3))


def test_drawings_are_kept_exactly_and_photographs_stay_close():
    drawing = np.zeros((300, 300, 3), np.uint8)
    drawing[100:200, 50] = 255
    kind, data = encode(drawing)
    assert kind == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(data))), drawing)

    y, x = np.mgrid[:300, :300] / 300
    noise = np.random.default_rng(0).normal(0, 0.02, (300, 300, 3))
    photograph = to_rgb(np.stack([x, y, 1 - x], axis=-1) + noise)
    kind, data = encode(photograph)
    assert kind == "image/jpeg"
    assert len(data) < 90_000
    difference = np.asarray(Image.open(BytesIO(data))).astype(int) - photograph
    assert np.abs(difference).mean() < 4
