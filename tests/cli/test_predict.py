import json
import os
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lectures_jax import weights
from lectures_jax.cli import main

Detections = namedtuple("Detections", "boxes scores labels valid")


class Detector:
    """Finds one box, whatever it is shown."""

    def predict(self, images, *, score_threshold, iou_threshold, class_agnostic):
        assert images.shape == (1, 64, 64, 3)
        assert (score_threshold, class_agnostic) == (0.25, True)
        boxes = np.array([[[8, 24, 40, 80], [0, 0, 9, 9]]], np.float32)
        scores, labels = np.array([[0.875, 0]], np.float32), np.array([[1, -1]], np.int32)
        return Detections(boxes, scores, labels, np.array([[True, False]]))


@pytest.fixture
def detector(monkeypatch):
    """A run's folder whose detector is known, and a folder with an image."""
    monkeypatch.setattr(weights, "load_yolo", lambda path: (Detector(), ("cat", "dog"), (64, 64)))
    Path("run").mkdir()
    Path("run/model.safetensors").touch()
    Path("images").mkdir()
    # Twice as wide as high: on the canvas of 64 it is 64×32, 16 below the top.
    Image.new("RGB", (128, 64), "gray").save("images/12.png")


def test_predictions_are_in_pixels_of_the_picture_and_in_coco_format(detector, capsys):
    assert main(["predict", "run", "images/12.png", "--score", "0.25"]) == 0
    assert json.loads(Path("run/predictions/predictions.json").read_text()) == [
        {
            "image_id": 12,
            "file_name": "12.png",
            "category_id": 1,
            "category_name": "dog",
            "bbox": [16.0, 16.0, 64.0, 48.0],  # top: (24 - 16)·2; the bottom, 128, is cut at 64
            "score": 0.875,
        }
    ]
    assert "12.png: 1 dog" in capsys.readouterr().out
    drawn = Image.open("run/predictions/12.png")
    assert drawn.size == (384, 192)
    assert drawn.getpixel((3 * 16, 3 * 40)) != (128, 128, 128)


def test_an_unreadable_picture_is_told_and_the_others_are_done(detector, error_line):
    Path("images/broken.jpg").write_bytes(b"no image")
    Path("images/notes.txt").touch()
    argv = ["predict", "run", "images", "--out", "found", "--score", "0.25"]
    assert main(argv) == 2
    assert "images/broken.jpg" in error_line()
    assert sorted(os.listdir("found")) == ["12.png", "predictions.json"]


def test_pictures_are_never_overwritten(detector, error_line):
    assert main(["predict", "run", "images", "--out", "images", "--score", "0.25"]) == 2
    assert "another folder" in error_line()
