"""Images with masks in every layout, and what is wrong with them in one line."""

import numpy as np
import pytest
from PIL import Image

from lectures_jax import data
from lectures_jax.data.class_table import read_class_table
from lectures_jax.data.images import decode_image
from tests.data.files import image_file, noise, png_file, text, truncate

IDS = np.repeat(np.array([[0, 1, 2, 255]], np.uint8), 4, axis=0)
TABLE = "background 0 0 0\ncell 255 0 0\nwall 0 128 0\n"
COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 0], [224, 224, 192]], np.uint8)


def mask_file(path, ids=IDS, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = COLORS[[0, 1, 2, 3]][np.minimum(ids, 3)] if mode in ("RGB", "RGBA") else ids
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette(np.arange(768) % 251)
    (image.convert("RGBA") if mode == "RGBA" else image).save(path)
    return path


def pair(images, masks, *stems, **options):
    for stem in stems:
        image_file(images / f"{stem}.jpg", 4, 4)
        mask_file(masks / f"{stem}.png", **options)


def stems(splits):
    return [[record.id for record in split] for split in splits[:2]]


def listed(root, folders=("images", "masks"), **options):
    """Four images, of which two lists name two each."""
    pair(root / folders[0], root / folders[1], *"abcd", **options)
    text(root / "train.txt", "a\nb\n")
    text(root / "test.txt", "d\nc\n")
    return root


def per_split(root):
    for split, names in (("train", "ab"), ("val", "dc")):
        pair(root / split / "images", root / split / "labels", *names)
    return root


def below(root):
    for split, names in (("train", "ab"), ("valid", "dc")):
        pair(root / "images" / split, root / "annotations" / split, *names)
    return root


def voc(root):
    pair(root / "JPEGImages", root / "SegmentationClass", *"abcde", mode="P")
    text(root / "ImageSets" / "Segmentation" / "train.txt", "a\nb\n")
    text(root / "ImageSets" / "Segmentation" / "val.txt", "d\nc\n")
    return root


@pytest.mark.parametrize("make", [listed, per_split, below, voc])
def test_every_layout_is_read(make, tmp_path):
    train, test, instances = data.read_mask_folders(make(tmp_path / "set"))
    assert [record.id for record in train] == ["a", "b"]
    assert sorted(record.id for record in test) == ["c", "d"]
    assert not instances
    assert train.classes == test.classes == ("background", "1", "2")
    for record in (*train, *test):
        np.testing.assert_array_equal(record.mask, IDS)


def test_a_folder_around_the_set_is_no_matter_and_splits_have_names(tmp_path):
    root = listed(tmp_path / "archive" / "set")
    assert stems(data.read_mask_folders(tmp_path, splits=("test", "train"))) == [
        ["d", "c"],
        ["a", "b"],
    ]
    with pytest.raises(ValueError, match=r"split as \('train', 'dev'\), got images, masks"):
        data.read_mask_folders(root, splits=("train", "dev"))


def test_without_splits_a_fifth_is_drawn(tmp_path):
    pair(tmp_path / "images", tmp_path / "masks", *"abcdefghij")
    train, test, _ = data.read_mask_folders(tmp_path)
    assert (len(train), len(test)) == (8, 2)
    assert "2 of 10 images were drawn" in train.problems[0]
    assert stems(data.read_mask_folders(tmp_path)) == [
        [r.id for r in train],
        [r.id for r in test],
    ]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lines", [TABLE, "0 0 0 background\n255 0 0 cell\n0 128 0 wall\n"])
def test_colors_are_brought_to_ids_by_a_table(tmp_path, mode, lines):
    root = listed(tmp_path, mode=mode)
    text(root / "classes.txt", lines)
    train, _, _ = data.read_mask_folders(root)
    assert train.classes == ("background", "cell", "wall")
    np.testing.assert_array_equal(train[0].mask, IDS)


def test_a_palette_may_be_read_by_its_colors(tmp_path):
    root = listed(tmp_path)
    for file in (root / "masks").iterdir():
        Image.fromarray(COLORS[np.minimum(IDS, 3)]).quantize(4).save(file)
    text(
        root / "labelmap.txt",
        "# name:color:parts:actions\nbackground:0,0,0::\ncell:255,0,0::\nwall:0,128,0::\n",
    )
    train, _, _ = data.read_mask_folders(root)
    np.testing.assert_array_equal(train[0].mask, IDS)


def test_gray_masks_stored_as_colors_hold_their_ids(tmp_path):
    root = listed(tmp_path)
    for file in (root / "masks").iterdir():
        Image.fromarray(np.repeat(IDS[..., None], 3, axis=2)).save(file)
    np.testing.assert_array_equal(data.read_mask_folders(root).train[0].mask, IDS)


def test_black_and_white_masks_have_two_classes(tmp_path):
    root = listed(tmp_path, ids=np.where(IDS > 1, 255, 0).astype(np.uint8))
    train, test, _ = data.read_mask_folders(root)
    assert train.classes == ("background", "object")
    assert np.unique(train[0].mask).tolist() == np.unique(test[0].mask).tolist() == [0, 1]
    assert "255 is the second class" in train.problems[0]


def object_ids(count, dtype):
    ids = np.zeros((12, 12), dtype)
    for i in range(count):
        ids[3 * (i // 4) : 3 * (i // 4) + 2, 3 * (i % 4) : 3 * (i % 4) + 2] = i + 1
    return ids


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ids_of_objects_are_not_taken_for_those_of_classes(tmp_path, dtype):
    for i, stem in enumerate("abcd"):
        image_file(tmp_path / "images" / f"{stem}.png", 12, 12)
        mask_file(tmp_path / "masks" / f"{stem}.png", object_ids(i + 3, dtype))
    train, _, instances = data.read_mask_folders(tmp_path)
    assert instances
    assert train.classes == ("background", "object")
    assert any("ids of objects" in line for line in train.problems)
    train, _, instances = data.read_mask_folders(tmp_path, instances=False)
    assert (instances, len(train.classes)) == (False, 7)


@pytest.mark.parametrize(("bits", "row"), [(2, 0b00_01_10_00), (4, 0x0120)])
def test_ids_of_few_bits_are_those_in_the_file(tmp_path, bits, row):
    for stem in "ab":
        image_file(tmp_path / "images" / f"{stem}.png", 4, 4)
        (tmp_path / "masks").mkdir(exist_ok=True)
        rows = [row.to_bytes(bits // 2, "big")] * 4
        png_file(tmp_path / "masks" / f"{stem}.png", 4, rows, bits=bits, color=0)
    train, _, _ = data.read_mask_folders(tmp_path, instances=False)
    np.testing.assert_array_equal(train[0].mask, [[0, 1, 2, 0]] * 4)
    assert train.classes == ("background", "1", "2")


@pytest.mark.parametrize("table", [None, TABLE])
@pytest.mark.parametrize(("color", "channels"), [(2, 3), (4, 2)])
def test_several_channels_of_16_bits_are_refused(tmp_path, color, channels, table):
    root = listed(tmp_path)
    rows = [np.full((4, channels), 1, ">u2").tobytes()] * 4
    png_file(root / "masks" / "b.png", 4, rows, bits=16, color=color)
    if table:
        text(root / "classes.txt", table)
        mask_file(root / "masks" / "a.png", mode="RGB")
    with pytest.raises(ValueError, match=r"b\.png: bits of a channel: expected at most 8, got 16"):
        data.read_mask_folders(root)


def test_ids_of_which_most_do_not_occur_are_no_classes(tmp_path):
    root = listed(tmp_path, ids=np.where(IDS == 255, 0, 60 * IDS).astype(np.uint8))
    with pytest.raises(ValueError, match=r"masks: expected a list of the classes .* got 60, 120"):
        data.read_mask_folders(root)
    text(root / "classes.txt", "\n".join(f"class {number}" for number in range(130)))
    assert len(data.read_mask_folders(root).train.classes) == 130


def test_objects_of_16_bit_ids_are_numbered_in_a_row(tmp_path):
    pair(tmp_path / "images", tmp_path / "masks", *"abc", ids=IDS.astype(np.uint16) * 100)
    train, _, _ = data.read_mask_folders(tmp_path, instances=True)
    np.testing.assert_array_equal(train[0].mask[0], [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"class ids of at most 254, .* got 25500"):
        data.read_mask_folders(tmp_path, instances=False)


def spoil_size(root):
    mask_file(root / "masks" / "b.png", IDS[:3])
    return r"masks/b\.png: height, width: expected those of the image, \(4, 4\), got \(3, 4\)"


def spoil_id(root):
    mask_file(root / "masks" / "b.png", IDS + 4)
    return r"masks/b\.png: class id: expected 0 to 2 \(background to wall\), or 255, got 4"


def spoil_palette(root):
    mask_file(root / "masks" / "b.png", np.minimum(IDS + 7, 9), "P")
    return r"masks/b\.png: class id: expected 0 to 2 \(background to wall\), or 255, got 7"


def spoil_colors(root):
    Image.fromarray(COLORS[IDS % 4]).save(root / "masks" / "b.png")
    return r"masks/b\.png: mask: expected ids, or a table of colors \(classes\.txt .* got colors"


def spoil_missing(root):
    (root / "masks" / "b.png").unlink()
    return r"train\.txt: mask: expected the name of a file in .*masks, got b\.png"


def spoil_file(root):
    noise(root / "masks" / "b.png")
    truncate(root / "masks" / "b.png")
    return r"masks/b\.png: content: expected an image that decodes"


def spoil_16_bit(root):
    mask_file(root / "masks" / "b.png", IDS.astype(np.uint16) + 300)
    return r"masks/b\.png: class id: expected 0 to 2 .* got 300"


@pytest.mark.parametrize(
    "spoil",
    [
        *(spoil_size, spoil_id, spoil_palette, spoil_colors, spoil_missing, spoil_file),
        spoil_16_bit,
    ],
)
def test_what_is_wrong_is_one_line_or_left_out(tmp_path, spoil):
    root = listed(tmp_path)
    text(root / "classes.txt", "background\ncell\nwall\n")
    message = spoil(root)
    with pytest.raises(ValueError, match=message) as error:
        data.read_mask_folders(root)
    assert "\n" not in str(error.value)
    splits = data.read_mask_folders(root, strict=False)
    assert stems(splits) == [["a"], ["d", "c"]]
    assert len(splits.train.problems) == 1


def test_a_color_that_is_in_no_table_is_named(tmp_path):
    root = listed(tmp_path, mode="RGB")
    text(root / "classes.txt", TABLE)
    pixels = COLORS[np.minimum(IDS, 3)].copy()
    pixels[1, 1] = 1, 2, 3
    Image.fromarray(pixels).save(root / "masks" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: color: .* 3, got \(1, 2, 3\)"):
        data.read_mask_folders(root)


def test_16_bit_and_transparent_images_are_read(tmp_path):
    root = listed(tmp_path)
    for stem, mode in (("a", "I;16"), ("b", "RGBA")):
        (root / "images" / f"{stem}.jpg").unlink()
        image_file(root / "images" / f"{stem}.png", 4, 4, mode)
    train, _, _ = data.read_mask_folders(root)
    assert [decode_image(record.image).shape for record in train] == [(4, 4, 3)] * 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("background 0 0 0\ncell\n", r"class: expected a name and a color, .* got cell"),
        ("a 0 0 0\nb 0 300 0\n", r"class: expected a name and a color, .* got b 0 300 0"),
        ("a 0 0 0\nb 0 0 0\n", r"color: expected another one for each class, got b 0 0 0"),
        ("a 0 0 0\na 0 0 1\n", r"list: expected each name once, got 'a' again"),
        ("\n".join(map(str, range(256))), r"classes: expected at most 255, got 256"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_class_table(text(tmp_path / "classes.txt", lines))


def test_names_with_numbers_are_no_colors(tmp_path):
    table = read_class_table(text(tmp_path / "classes.txt", "background\nlane 2\nroad, wet\n"))
    assert table == (("background", "lane 2", "road, wet"), None)


def test_folders_without_masks_and_sets_of_one_image_are_refused(tmp_path):
    image_file(tmp_path / "images" / "a.png", 4, 4)
    text(tmp_path / "notes.txt", "")
    with pytest.raises(ValueError, match=r"folders: expected images and masks, got images, notes"):
        data.read_mask_folders(tmp_path)
    mask_file(tmp_path / "masks" / "a.png")
    with pytest.raises(ValueError, match=r"images: expected at least two, got 1"):
        data.read_mask_folders(tmp_path)
    with pytest.raises(ValueError, match=r"root: expected a folder"):
        data.read_mask_folders(tmp_path / "missing")


def test_nuclei_are_read_as_objects(shared_data):
    train, test, instances = data.read_mask_folders(shared_data / "nuclei")
    assert (len(train), len(test), instances) == (160, 40, True)
    assert sum(int(r.mask.max()) for r in (*train, *test)) == 5440
