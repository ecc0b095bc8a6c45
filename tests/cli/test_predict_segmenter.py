"""A segmenter's masks: PNG files of the images' size, names and colors, damaged images."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from lectures_jax import weights
from lectures_jax.cli import main
from lectures_jax.recipes import segmenter

SIZES = {"a": (9, 14), "b": (16, 16)}


@pytest.fixture
def model():
    """A run's folder with an untrained segmenter, a folder with images of two sizes, the model."""
    return saved(["ground", "road"], instances=False)


def saved(classes, *, instances):
    settings = {
        "network": "unet",
        "classes": classes,
        "instances": instances,
        "image_size": [16, 16],
        "inputs": 3,
        "channels": [4, 4],
        "padding": "SAME",
        "batch_norm": True,
    }
    Path("run").mkdir()
    model = weights.build_model("segmenter", settings, rngs=nnx.Rngs(0))
    weights.save_model(Path("run/model.safetensors"), model, kind="segmenter", settings=settings)
    rng = np.random.default_rng(0)
    Path("images").mkdir()
    for name, size in SIZES.items():
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(f"images/{name}.png")
    return weights.load_model("run/model.safetensors").model


def test_masks_have_the_size_of_their_images_and_a_palette_of_the_classes(model, capsys):
    assert main(["predict", "run", "images", "--out", "there"]) == 0
    legend = json.loads(Path("there/classes.json").read_text())
    assert [(row["id"], row["name"]) for row in legend] == [(0, "ground"), (1, "road")]
    rows = json.loads(Path("there/predictions.json").read_text())
    for row, (name, size) in zip(rows, SIZES.items(), strict=True):
        image = np.asarray(Image.open(f"images/{name}.png"))
        expected = segmenter.predict(model, image).classes
        with Image.open(f"there/masks/{name}.png") as mask:
            assert (mask.mode, mask.size) == ("P", size[::-1])
            np.testing.assert_array_equal(np.asarray(mask), expected)
            assert mask.getpalette()[3:6] == legend[1]["color"]
        assert row["file_name"] == f"{name}.png"
        assert row["shares"]["road"] == pytest.approx((expected == 1).mean())
        with Image.open(f"there/overlays/{name}.png") as drawing:
            assert (drawing.width % size[1], drawing.height % size[0]) == (0, 0)
    assert "2 images: there" in capsys.readouterr().out
    assert Path("there/legend.png").is_file()


def test_drawings_may_be_left_out_and_damaged_images_are_named(model, error_line):
    Path("images/broken.png").write_bytes(b"no image")
    assert main(["predict", "run", "images", "--out", "there", "--no-draw"]) == 2
    assert "images/broken.png" in error_line()
    assert sorted(os.listdir("there")) == ["classes.json", "masks", "predictions.json"]
    assert sorted(os.listdir("there/masks")) == ["a.png", "b.png"]


def test_objects_have_ids_of_their_own(capsys):
    model = saved(["background", "cell", "border"], instances=True)
    assert main(["predict", "run", "images"]) == 0
    out = Path("run/predictions")
    rows = json.loads((out / "predictions.json").read_text())
    for row, name in zip(rows, SIZES, strict=True):
        image = np.asarray(Image.open(f"images/{name}.png"))
        expected = segmenter.predict(model, image, instances=True).instances
        with Image.open(out / "instances" / f"{name}.png") as ids:
            assert ids.mode == "I;16"
            np.testing.assert_array_equal(np.asarray(ids), expected)
        assert row["objects"] == expected.max()
    assert f"{rows[0]['objects']} objects" in capsys.readouterr().out
