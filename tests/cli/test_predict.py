import csv
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from lectures_jax import weights
from lectures_jax.cli import main


def save(kind, settings):
    """A run's folder with an untrained model, which is returned."""
    Path("run").mkdir()
    model = weights.build_model(kind, settings, rngs=nnx.Rngs(0))
    weights.save_model(Path("run/model.safetensors"), model, kind=kind, settings=settings)
    return weights.load_model("run/model.safetensors").model


CLASSES = ["zero", "one", "two", "three", "four", "five"]


@pytest.mark.parametrize(("inputs", "mode"), [(1, "L"), (3, "RGB")])
def test_a_classifier_gives_the_five_best_classes_of_each_image(capsys, inputs, mode):
    settings = {
        "network": "cnn",
        "classes": CLASSES,
        "image_size": [8, 12],
        "inputs": inputs,
        "channels": [[4]],
    }
    model = save("classifier", settings)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, inputs), np.uint8)
    Path("images").mkdir()
    Image.fromarray(pixels.squeeze()).convert(mode).save("images/a.png")
    # Twice as large, each pixel four times: brought back to the size of the training images.
    Image.fromarray(pixels.squeeze()).resize((24, 16), Image.Resampling.NEAREST).save(
        "images/b.png"
    )
    assert main(["predict", "run", "images"]) == 0
    image = pixels.astype(np.float32) / 255
    expected = np.asarray(jax.nn.softmax(model(jnp.asarray(image[None]))))[0]
    order = np.argsort(-expected)[:5]
    first, second = json.loads(Path("run/predictions/predictions.json").read_text())
    assert (first["file_name"], second["file_name"]) == ("a.png", "b.png")
    assert [row["label"] for row in first["classes"]] == order.tolist()
    assert [row["name"] for row in first["classes"]] == [CLASSES[i] for i in order]
    probabilities = [row["probability"] for row in first["classes"]]
    np.testing.assert_allclose(probabilities, expected[order], atol=1e-5)
    with Path("run/predictions/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == [*"12345", *"12345"]
    assert rows[0] == {
        "file_name": "a.png",
        "rank": "1",
        "label": str(order[0]),
        "name": CLASSES[order[0]],
        "probability": str(probabilities[0]),
    }
    assert f"a.png: {CLASSES[order[0]]} {probabilities[0]:.3f}, " in capsys.readouterr().out


def test_an_image_that_a_classifier_cannot_read_is_named_and_the_others_are_done(error_line):
    save("classifier", GRAY)
    Path("images").mkdir()
    Image.new("L", (8, 8)).save("images/b.png")
    Path("images/a.png").write_bytes(b"no image")
    assert main(["predict", "run", "images"]) == 2
    assert "images/a.png" in error_line()
    assert len(json.loads(Path("run/predictions/predictions.json").read_text())) == 1


def test_a_file_in_place_of_the_folder_of_results_is_refused(error_line):
    save("classifier", GRAY)
    Image.new("L", (8, 8)).save("a.png")
    assert main(["predict", "run", "a.png", "--out", "a.png"]) == 2
    assert "--out: expected a folder, got the file a.png" in error_line()


SHAPE = [8, 8, 1]
GRAY = {
    "network": "cnn",
    "classes": CLASSES[:2],
    "image_size": [8, 8],
    "inputs": 1,
    "channels": [[2]],
}
CODE = {"shape": SHAPE, "latent": 2, "hidden": 4, "dense": True}
GENERATIVE = {
    "vae": CODE | {"variance": 0.05, "learned_variance": True},
    "gan": {
        "shape": SHAPE,
        "latent": 2,
        "channels": [8, 4],
        "upsampling": "subpixel",
        "spectral": False,
    },
    "flow": {
        "network": "histogram",
        "shape": SHAPE,
        "levels": 3,
        "hidden": [4],
        "classes": CLASSES[:2],
    },
    "diffusion": {
        "shape": SHAPE,
        "classes": CLASSES[:2],
        "channels": [8],
        "patch": 2,
        "schedule_steps": 10,
        "sampling_steps": 2,
    },
}


@pytest.mark.parametrize("kind", GENERATIVE)
def test_a_generative_model_draws_a_sheet_that_its_seed_decides(capsys, kind):
    save(kind, GENERATIVE[kind])
    sheets = []
    for argv in (["--seed", "1"], ["--seed", "1"], ["--seed", "2", "--out", "there"]):
        assert main(["predict", "run", "--count", "12", *argv]) == 0
        folder = "there" if "--out" in argv else "run/predictions"
        sheets.append(np.asarray(Image.open(f"{folder}/samples.png")))
    first, again, other = sheets
    assert first.shape == (2 * 48 + 4, 10 * 48 + 9 * 4, 3)  # 8 pixels, each six times
    np.testing.assert_array_equal(first, again)
    if kind != "diffusion":  # whose last layer begins with zeros
        assert (first != other).any()
    codes = ", of codes from the prior N(0, I)" if kind == "vae" else ""
    assert f"12 samples of a {kind}{codes}: run/predictions/samples.png" in capsys.readouterr().out


def test_a_stylizer_repaints_images_of_any_size(capsys):
    save("stylizer", {"size": {"channels": [2, 2, 2], "blocks": 1, "kernel": 3}})
    Path("images").mkdir()
    Image.new("RGB", (65, 30), "red").save("images/a.png")
    Image.new("L", (21, 42)).save("images/b.jpg")
    Path("images/c.png").write_text("no image")
    assert main(["predict", "run", "images"]) == 2
    for name, size in {"a": (65, 30), "b": (21, 42)}.items():
        with Image.open(f"run/predictions/{name}.png") as painted:
            assert (painted.mode, painted.size) == ("RGB", size)
    printed = capsys.readouterr()
    assert "2 images: run/predictions" in printed.out
    assert "c.png" in printed.err


def test_a_kind_that_cannot_do_it_is_refused(error_line):
    save("autoencoder", CODE)
    assert main(["predict", "run"]) == 2
    assert "expected a detector, classifier, stylizer, segmenter or generative" in error_line()


@pytest.mark.parametrize(
    ("kind", "settings", "images", "message"),
    [
        ("gan", GENERATIVE["gan"], ["images"], "IMAGES: expected none for a gan, got images."),
        ("classifier", GRAY, [], "IMAGES: expected an image or a folder for a classifier, got"),
        ("classifier", GRAY, ["nowhere"], "expected an image or a folder, got nowhere."),
        ("classifier", GRAY, ["run"], "IMAGES: expected images (.bmp"),
    ],
)
def test_images_where_none_belong_or_none_where_some_do_are_refused(
    error_line, kind, settings, images, message
):
    save(kind, settings)
    assert main(["predict", "run", *images]) == 2
    assert message in error_line()


def test_weights_of_something_else_are_refused(error_line):
    Path("run").mkdir()
    weights.save_safetensors(Path("run/model.safetensors"), {"a": np.zeros(1)})
    assert main(["predict", "run"]) == 2
    assert "expected a model saved by save_model" in error_line()
