import numpy as np
import pytest
from PIL import Image

from lectures_jax.data.images import (
    decode_image,
    decode_mask,
    decode_on_black,
    verify,
)
from lectures_jax.data.problems import ErrorLog
from tests.data.files import image_file, noise, png_header, truncate


def test_a_image_decodes_to_its_pixels(tmp_path):
    pixels = noise(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_8_bit_mode_becomes_rgb(tmp_path, mode):
    assert decode_image(image_file(tmp_path / "a.png", 3, 4, mode)).shape == (3, 4, 3)


def test_a_palette_with_transparency_becomes_rgb_without_a_warning(tmp_path):
    image = Image.new("P", (4, 3))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert decode_image(tmp_path / "a.png").shape == (3, 4, 3)


def test_the_numbers_of_a_mask_are_kept(tmp_path):
    mask = np.array([[0, 1], [255, 7]], np.uint8)
    Image.fromarray(mask).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(decode_mask(tmp_path / "gray.png"), mask)
    palette = Image.fromarray(mask)
    palette.putpalette([9, 9, 9] * 256)  # colors, which do not matter
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(decode_mask(tmp_path / "palette.png"), mask)
    deep = np.array([[0, 1], [300, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(decode_mask(tmp_path / "deep.png"), deep)


def test_a_color_image_is_no_mask(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: mode: expected one of 1, L, .*, got RGB"):
        decode_mask(image_file(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_a_channel_become_8_rather_than_clipped(tmp_path, suffix):
    values = np.array([[0, 128, 129], [257, 60000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    expected = np.array([[0, 0, 1], [1, 233, 255]], np.uint8)
    for decode in (decode_image, decode_on_black):
        decoded = decode(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(decoded, np.repeat(expected[..., None], 3, axis=2))


def test_32_bits_a_channel_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a\.tiff: mode: expected .*, got F"):
        decode_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise(path)
    truncate(path)
    with pytest.raises(ValueError, match=rf"a\.{suffix}: content: expected an image that decodes"):
        decode_image(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"<html></html>", bytes(1000)])
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png: content: expected an image that decodes"):
        decode_image(tmp_path / "a.png")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: file: expected an existing file"):
        decode_image(tmp_path / "a.png")


def test_a_format_not_listed_is_refused_whatever_its_name(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png", format="TGA")
    with pytest.raises(ValueError, match="an image that decodes, got none of BMP, GIF"):
        decode_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (4500, "size: expected at most 20000000 pixels .LJX_LIMITS=4 .*, got 4500×4500"),
        (10_000, "content: expected .*DecompressionBombWarning"),  # an error in these tests
        (60_000, "content: expected .*DecompressionBombError"),
    ],
)
def test_a_image_of_too_many_pixels_is_refused_from_its_header(tmp_path, side, message):
    png_header(tmp_path / "bomb.png", side, side)
    with pytest.raises(ValueError, match=rf"bomb\.png: {message}"):
        decode_image(tmp_path / "bomb.png")


def test_verifying_returns_the_sizes_and_notes_what_does_not_decode(tmp_path):
    good = image_file(tmp_path / "good.png", 3, 4)
    noise(tmp_path / "bad.png")
    truncate(tmp_path / "bad.png")
    problems = ErrorLog(strict=False)
    assert verify([tmp_path / "bad.png", good], problems) == {good: (3, 4)}
    assert len(problems.lines) == 1
    assert "bad.png" in problems.lines[0]
    with pytest.raises(ValueError, match=r"bad\.png"):
        verify([good, tmp_path / "bad.png"], ErrorLog(strict=True))
