"""Detectors in `ljx predict`: boxes, batches, damaged images, videos, Darknet's files."""

import json
import os
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lectures_jax import weights
from lectures_jax.cli import main
from lectures_jax.cli.predict import detector as predicted
from lectures_jax.cli.predict.threads import in_threads
from lectures_jax.cli.predict.video import frames_of, is_video
from lectures_jax.nn.detection import Detections
from lectures_jax.weights.detector import Objects


class Detector:
    """Has one box in each image, whose score is the mean of the image."""

    def __init__(self):
        self.options, self.shapes = [], set()

    def predict(self, images, **options):
        self.options.append(options)
        self.shapes.add(images.shape)
        count = len(images)
        boxes = np.array([[[8, 24, 40, 80], [0, 0, 9, 9]]], np.float32).repeat(count, axis=0)
        means = np.asarray(images).mean(axis=(1, 2, 3))
        scores = np.stack([means, 0 * means], axis=1).astype(np.float32)
        labels = np.array([[1, -1]], np.int32).repeat(count, axis=0)
        return Detections(*map(jnp.asarray, (boxes, scores, labels, labels >= 0)))


@pytest.fixture
def detector(monkeypatch):
    """A run's folder whose detector is known, and a folder with an image."""
    settings = {"classes": ["cat", "dog"], "image_size": [64, 64]}
    model = Detector()
    saved = weights.SavedModel(model, "detector", settings)
    monkeypatch.setattr(weights, "load_model", lambda path: saved)
    Path("run").mkdir()
    Path("run/model.safetensors").touch()
    Path("images").mkdir()
    # Twice as wide as high: on the canvas of 64 it is 64×32, 16 below the top.
    Image.new("RGB", (128, 64), "gray").save("images/12.png")
    return model


def results(folder="run/predictions"):
    return json.loads(Path(folder, "predictions.json").read_text())


def test_predictions_are_in_pixels_of_the_image_and_in_coco_format(detector, capsys):
    assert main(["predict", "run", "images/12.png", "--score", "0.25"]) == 0
    assert results() == [
        {
            "image_id": 12,
            "file_name": "12.png",
            "category_id": 1,
            "category_name": "dog",
            "bbox": [16.0, 16.0, 64.0, 48.0],  # top: (24 - 16)·2; the bottom, 128, is cut at 64
            "score": 0.50196,
        }
    ]
    printed = capsys.readouterr().out
    assert "12.png: 1 dog" in printed
    assert "1 images in" in printed
    assert "the network's share" in printed
    with Image.open("run/predictions/12.png") as drawn:
        assert drawn.format == "PNG"
        assert drawn.size == (384, 192)
        assert drawn.getpixel((3 * 16, 3 * 40)) != (128, 128, 128)
    defaults = {"iou_threshold": 0.45, "suppression": "hard", "class_agnostic": True}
    assert detector.options[-1] == defaults | {"score_threshold": 0.25, "max_outputs": 100}
    assert detector.shapes == {(1, 64, 64, 3)}


def test_suppression_is_as_the_command_says(detector):
    argv = ["predict", "run", "images", "--suppression", "diou", "--per-class", "--iou", "0.6"]
    assert main(argv) == 0
    own = {"iou_threshold": 0.6, "suppression": "diou", "class_agnostic": False}
    assert detector.options[-1] == own | {"score_threshold": 0.3, "max_outputs": 100}


def test_batches_of_one_shape_keep_the_order_of_the_images(detector):
    for number in range(7):
        Image.new("RGB", (9, 9), (30 * number,) * 3).save(f"images/{number:02d}.png")
    assert main(["predict", "run", "images", "--batch-size", "3", "--no-draw"]) == 0
    assert [row["file_name"] for row in results()] == [f"{n:02d}.png" for n in (*range(7), 12)]
    scores = [row["score"] for row in results()][:7]
    np.testing.assert_allclose(scores, np.arange(7) * 30 / 255, atol=1e-5)
    assert detector.shapes == {(3, 64, 64, 3)}
    assert os.listdir("run/predictions") == ["predictions.json"]


def test_an_unreadable_image_is_named_and_the_others_are_done(detector, error_line):
    Path("images/broken.jpg").write_bytes(b"no image")
    Path("images/notes.txt").touch()
    argv = ["predict", "run", "images", "--out", "there", "--score", "0.25"]
    assert main(argv) == 2
    assert "images/broken.jpg" in error_line()
    assert sorted(os.listdir("there")) == ["12.png", "predictions.json"]


def test_images_are_never_overwritten(detector, error_line):
    assert main(["predict", "run", "images", "--out", "images", "--score", "0.25"]) == 2
    assert "another folder" in error_line()


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_frames_of_an_animated_image_are_named_by_number(detector, suffix):
    frames = [Image.new("RGB", (64, 64), (level,) * 3) for level in (10, 100, 200)]
    path = f"images/clip.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    assert main(["predict", "run", path, "--batch-size", "2"]) == 0
    rows = results()
    names = [f"clip.{suffix}/{number:06d}" for number in (1, 2, 3)]
    assert [row["file_name"] for row in rows] == names
    assert [row["image_id"] for row in rows] == [1, 2, 3]
    np.testing.assert_allclose([r["score"] * 255 for r in rows], [10, 100, 200], atol=1)
    drawn = ["000001.png", "000002.png", "000003.png"]
    assert sorted(os.listdir("run/predictions/clip")) == drawn
    assert main(["predict", "run", path, "--batch-size", "500"]) == 0
    assert detector.shapes == {(2, 64, 64, 3), (3, 64, 64, 3)}  # no larger than the video


def test_folders_with_images_of_the_user_are_not_written_to(detector, error_line):
    Path("images/new").mkdir()
    Image.new("RGB", (64, 64)).save("images/new/1.png")
    for path, out in (
        ("images/new", "images"),
        ("images", "images/new"),
        ("images/new/1.png", "."),
    ):
        assert main(["predict", "run", path, "--out", out]) == 2
        assert "--out: expected" in error_line()
    Path("images/clip.mp4").touch()
    assert main(["predict", "run", "images/clip.mp4", "--out", "images"]) == 2
    assert "--out: expected another folder than one of the images" in error_line()


def test_drawings_are_no_larger_than_a_jpeg_file_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr(predicted, "LONGEST", 300)
    nothing = Objects(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int32), [])
    for rows, suffix, drawn_rows in ((100, ".jpg", 300), (301, ".png", 301)):
        predicted._draw(tmp_path / "a.jpg", np.zeros((rows, 8, 3), np.uint8), nothing, ["cat"])
        with Image.open(tmp_path / f"a{suffix}") as drawn:
            assert drawn.size[1] == drawn_rows


def test_a_video_that_ends_in_the_middle_gives_its_frames_and_a_line(detector, error_line):
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    first, *rest = map(Image.fromarray, noise)
    first.save("images/clip.png", save_all=True, append_images=rest)
    content = Path("images/clip.png").read_bytes()
    Path("images/clip.png").write_bytes(content[: len(content) * 5 // 8])
    assert main(["predict", "run", "images/clip.png", "--no-draw", "--score", "0"]) == 2
    assert "images/clip.png: frame 3: expected a frame that decodes" in error_line()
    assert [row["image_id"] for row in results()] == [1, 2]


def test_other_videos_need_pyav_and_what_was_written_stays(detector, error_line, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    Path("images/clip.mp4").write_bytes(b"what")
    Path("run/predictions").mkdir()
    Path("run/predictions/predictions.json").write_text("[1]")
    assert main(["predict", "run", "images/clip.mp4"]) == 2
    assert results() == [1]
    assert "expected PyAV for this video: pip install 'lectures_jax[video]'" in error_line()


def test_videos_are_decoded_by_pyav():
    av = pytest.importorskip("av")
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for level in (40, 120, 200):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert is_video(Path("clip.mp4"))
    means = [frame.mean() for frame in frames_of(Path("clip.mp4"))]
    np.testing.assert_allclose(means, [40, 120, 200], atol=3)


def test_an_image_of_one_frame_is_no_video():
    Image.new("RGB", (4, 4)).save("a.gif")
    Path("b.gif").write_bytes(b"no image")
    assert not any(map(is_video, map(Path, ("a.gif", "b.gif", "c.gif", "a.jpg"))))


def test_work_in_threads_comes_in_order_and_looks_no_further_than_asked():
    drawn = []

    def items():
        for n in range(20):
            drawn.append(n)
            yield n

    squares = in_threads(lambda n: n * n, items(), workers=3, ahead=4)
    assert [next(squares) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(drawn) == 9
    assert list(squares) == [n * n for n in range(5, 20)]
    failing = in_threads(lambda n: 1 / n, [1, 0, 1], workers=1, ahead=0)
    assert next(failing) == 1
    with pytest.raises(ZeroDivisionError):
        next(failing)


CFG = """[net]
width=16
height=16
[convolutional]
filters=7
size=8
stride=8
activation=linear
[yolo]
anchors=8,8
classes=2
"""


@pytest.fixture
def darknet():
    """A network of one convolution that has a box of 8 pixels in each cell of 8, by brightness."""
    Path("a.cfg").write_text(CFG)
    bias = np.array([0, 0, 0, 0, -4, 9, -9], "<f4")
    kernel = np.zeros((7, 3, 8, 8), "<f4")
    kernel[4] = 8 / 192
    head = np.array([0, 2, 5, 0, 0], "<i4")
    Path("a.weights").write_bytes(head.tobytes() + bias.tobytes() + kernel.tobytes())
    Path("a.names").write_text("lamp\nshade\n")
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8, 8:] = 255  # the cell at the top right: σ(4) = 0.982
    Path("images").mkdir()
    Image.fromarray(pixels).save("images/a.png")
    return ["predict", "--darknet", "a.cfg", "a.weights", "--names", "a.names", "images"]


def test_darknet_s_files_are_used_in_place_of_a_run(darknet):
    assert main(darknet) == 0
    (row,) = results("predictions")
    assert (row["category_name"], row["bbox"]) == ("lamp", [8.0, 0.0, 8.0, 8.0])
    expected = 1 / (1 + np.exp(-4)) / (1 + np.exp(-9))
    np.testing.assert_allclose(row["score"], expected, atol=1e-4)
    assert Path("predictions/a.png").is_file()


def test_a_letterbox_is_asked_for(darknet):
    Image.new("RGB", (16, 8), "white").save("images/a.png")
    darknet += ["--score", "0.9"]
    assert main([*darknet, "--letterbox"]) == 0  # each cell is half gray: σ(2) = 0.881
    assert results("predictions") == []
    assert main(darknet) == 0
    assert len(results("predictions")) == 4


def test_names_of_another_number_are_refused(darknet, error_line):
    Path("a.names").write_text("lamp\n")
    assert main(darknet) == 2
    assert "a.names: expected 2 names, one for each class of a.cfg, got 1" in error_line()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("lamp\nlamp\n", "a.names: list: expected each name once, got 'lamp' again"),
        ("lamp\n\x1b[31m\n", "a.names: class: expected a name of 1 to 200 characters"),
    ],
)
def test_names_that_are_none_are_refused(darknet, error_line, names, message):
    Path("a.names").write_text(names)
    assert main(darknet) == 2
    assert message in error_line()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("height=16", "height=16\nchannels=1", "a.cfg: channels: expected 3 for RGB images, got 1"),
        (CFG[CFG.index("[yolo]") :], "", "a.cfg: expected a detector, with [yolo] or [region]"),
    ],
)
def test_networks_that_cannot_be_used_are_refused(darknet, error_line, old, new, message):
    Path("a.cfg").write_text(CFG.replace(old, new))
    assert main(darknet) == 2
    assert message in error_line()


def test_an_image_with_as_many_boxes_as_allowed_is_marked(darknet, capsys):
    Image.new("RGB", (16, 16), "white").save("images/a.png")
    assert main([*darknet, "--max-boxes", "2"]) == 0
    assert "a.png: 2 lamp (--max-boxes)" in capsys.readouterr().out
    assert main(darknet) == 0
    assert "a.png: 4 lamp\n" in capsys.readouterr().out


def test_what_is_missing_is_named(darknet, error_line):
    assert main(["predict"]) == 2
    assert "RUN_DIR: expected the folder of a finished run, got none" in error_line()
    assert main([*darknet[:4], "images"]) == 2
    assert "--names: expected a file" in error_line()
    assert main([*darknet, "images"]) == 2
    assert "IMAGES: expected one path with --darknet" in error_line()


def test_an_imported_network_is_a_run_s_detector(darknet):
    model = weights.load_darknet("a.cfg", "a.weights")
    settings = {"classes": ["lamp", "shade"], "image_size": [16, 16], "cfg": CFG}
    Path("run").mkdir()
    path = Path("run/model.safetensors")
    weights.save_model(path, model, kind="darknet", settings=settings)
    assert main(["predict", "run", "images", "--no-draw"]) == 0
    assert results()[0]["category_name"] == "lamp"
