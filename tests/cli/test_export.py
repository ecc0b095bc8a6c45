"""Exported models: the answers of the model itself, from a program without its code."""

import json
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lectures_jax import weights
from lectures_jax.cli import main
from tests.cli.test_predict import GENERATIVE, GRAY, save
from tests.detectors import ANCHORS, TINY

UNET = {
    "network": "unet",
    "classes": ["ground", "road"],
    "image_size": [16, 16],
    "inputs": 3,
    "channels": [4, 4],
    "padding": "SAME",
    "batch_norm": True,
}
DETECTOR = {
    "classes": ["cat", "dog"],
    "image_size": [64, 64],
    "anchors": ANCHORS,
    "size": asdict(TINY),
}
OF_IMAGES = {
    "classifier": GRAY,
    "detector": DETECTOR,
    "segmenter": UNET,
    "valid": UNET | {"padding": "VALID", "batch_norm": False},
    "stylizer": {"size": {"channels": [2, 2, 2], "blocks": 1, "kernel": 3}},
}


@pytest.fixture
def images():
    """A folder with images of two sizes."""
    Path("images").mkdir()
    rng = np.random.default_rng(0)
    for name, size in {"a": (9, 14), "b": (40, 33)}.items():
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(f"images/{name}.png")


def same_files(first, second):
    """Whether two folders hold the same files, images up to one level of a pixel."""
    names = sorted(x.relative_to(first) for x in Path(first).rglob("*") if x.is_file())
    assert names
    assert names == sorted(x.relative_to(second) for x in Path(second).rglob("*") if x.is_file())
    for name in names:
        a, b = Path(first, name), Path(second, name)
        if name.suffix == ".png":
            pixels = (np.asarray(Image.open(path)).astype(int) for path in (a, b))
            np.testing.assert_allclose(*pixels, atol=1)
        elif name.suffix == ".json":
            assert rounded(json.loads(a.read_text())) == rounded(json.loads(b.read_text()))


def rounded(value):
    match value:
        case float():
            return pytest.approx(value, abs=2e-5)
        case list():
            return [rounded(item) for item in value]
        case dict():
            return {key: rounded(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("name", OF_IMAGES)
def test_an_artifact_answers_for_images_as_the_model(name, images, capsys):
    save("segmenter" if name == "valid" else name, OF_IMAGES[name])
    options = ["--score", "0.2"] if name == "detector" else []
    assert main(["export", "run", "--out", "artifact"]) == 0
    assert "takes images: float32[b, " in capsys.readouterr().out
    Path("run/model.safetensors").rename("elsewhere")
    assert main(["predict", "--artifact", "artifact", "images", "--out", "here", *options]) == 0
    Path("elsewhere").rename("run/model.safetensors")
    assert main(["predict", "run", "images", "--out", "there", *options]) == 0
    same_files("there", "here")


@pytest.mark.parametrize("kind", GENERATIVE)
def test_an_artifact_draws_the_samples_of_the_model(kind):
    save(kind, GENERATIVE[kind])
    assert main(["export", "run"]) == 0
    draws = ["--count", "5", "--seed", "3"]
    assert main(["predict", "--artifact", "run/artifact", "--out", "here", *draws]) == 0
    assert main(["predict", "run", "--out", "there", *draws]) == 0
    same_files("there", "here")


def test_a_program_takes_any_number_of_images_and_is_for_three_platforms():
    model = save("classifier", GRAY)
    assert main(["export", "run"]) == 0
    artifact = weights.load_artifact("run/artifact")
    assert artifact.exported.platforms == artifact.platforms == ("cpu", "cuda", "tpu")
    assert artifact.inputs == {"images": weights.ArraySpec("b, 8, 8, 1", "float32")}
    assert artifact.outputs == {"probabilities": weights.ArraySpec("b, 2", "float32")}
    for count in (1, 3):
        x = np.random.default_rng(0).random((count, 8, 8, 1), np.float32)
        expected = jax.nn.softmax(model(jnp.asarray(x)))
        np.testing.assert_allclose(artifact(images=x)["probabilities"], expected, atol=1e-6)


def test_what_a_program_does_not_take_is_refused():
    save("classifier", GRAY)
    assert main(["export", "run", "--platforms", "cpu"]) == 0
    artifact = weights.load_artifact("run/artifact")
    assert artifact.platforms == ("cpu",)
    for wrong in (np.zeros((2, 8, 9, 1), np.float32), np.zeros((2, 8, 8, 1), np.uint8), 1.0):
        with pytest.raises(ValueError, match=r"images must be float32\[b, 8, 8, 1\], got "):
            artifact(images=wrong)
    with pytest.raises(ValueError, match="inputs must be images, got none"):
        artifact()


def test_a_detector_has_no_more_boxes_than_it_was_exported_for(images, error_line):
    save("detector", DETECTOR)
    assert main(["export", "run", "--max-boxes", "3"]) == 0
    use = ["predict", "--artifact", "run/artifact", "images/a.png", "--score", "0"]
    assert main(use) == 2
    assert "--max-boxes: expected at most 3, got 100." in error_line()
    assert main([*use, "--max-boxes", "2"]) == 0
    assert len(json.loads(Path("run/artifact/predictions/predictions.json").read_text())) == 2
    assert main([*use, "--max-boxes", "2", "--suppression", "soft"]) == 2
    assert "suppression must be hard, as exported, got soft." in error_line()


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def later(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))


def for_tpu(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"platforms": ["tpu"]}))


def without_hashes(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": {}}))


DAMAGES = [
    ("program.export", flip_a_bit, "program.export: expected the file of the manifest"),
    ("arrays.safetensors", flip_a_bit, "arrays.safetensors: expected the file of the manifest"),
    ("manifest.json", later, "manifest.json: format: expected 1, got 2."),
    ("manifest.json", for_tpu, "run/artifact: expected a program for cpu, got tpu."),
    ("manifest.json", lambda path: path.write_text("{}"), "format: expected 1, got None"),
    ("manifest.json", without_hashes, "program.export: expected the file of the manifest"),
    ("manifest.json", lambda path: path.write_text('{"format": 1}'), "kind: expected another"),
    ("manifest.json", Path.unlink, "run/artifact/manifest.json"),
    ("program.export", Path.unlink, "run/artifact/program.export"),
]


def test_a_damaged_artifact_is_refused(error_line):
    save("gan", GENERATIVE["gan"])
    for name, damage, message in DAMAGES:
        assert main(["export", "run"]) == 0
        damage(Path("run/artifact", name))
        assert main(["predict", "--artifact", "run/artifact"]) == 2
        assert message in error_line()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "RUN_DIR: expected a finished run's model.safetensors, got nowhere."),
        (["run"], "expected one that ljx predict uses, got a autoencoder"),
        (["run", "--platforms", "cpu,abacus"], "expected some of cpu, cuda, tpu, got 'abacus'."),
        (["run", "--out", "run/model.safetensors"], "--out: expected a folder, got the file run"),
    ],
)
def test_what_cannot_be_exported_is_refused(arguments, message, error_line):
    code = {"shape": [8, 8, 1], "latent": 2, "hidden": 4, "dense": True}
    save("autoencoder", code)
    assert main(["export", *arguments]) == 2
    assert message in error_line()


def test_an_artifact_beside_files_of_darknet_is_refused(error_line):
    assert main(["predict", "--artifact", "a", "--darknet", "b", "c"]) == 2
    assert "--artifact: expected no --darknet beside it" in error_line()
