"""Writes selective_search.npz: OpenCV's label maps, color spaces and boxes of selective search.

    python tests/golden/make_selective_search.py selective_search_dog.npz

with opencv-contrib-python-headless 4.14. A photograph of scikit-learn's is stored whole; of the one
in the named file, whose boxes are there, only the label maps. OpenCV takes images for BGR.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_sample_image

SEGMENTATION = cv2.ximgproc.segmentation
SCALES = {"single": [200], "fast": [150, 300, 450]}
SIGMA, MIN_SIZE = 0.8, 100


def spaces(bgr: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "hsv": cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV),
        "lab": cv2.cvtColor(bgr, cv2.COLOR_BGR2Lab),
        "gray": cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY),
    }


def label_maps(bgr: np.ndarray, name: str) -> dict[str, np.ndarray]:
    maps = {}
    for mode, scales in SCALES.items():
        for space in ("hsv",) if mode == "single" else ("hsv", "lab"):
            for scale in scales:
                graph = SEGMENTATION.createGraphSegmentation(SIGMA, scale, MIN_SIZE)
                labels = graph.processImage(spaces(bgr)[space])
                maps[f"{name}/{mode}/{space}/{scale}"] = labels.astype(np.uint8)
                assert labels.max() < 256
    return maps


def boxes(bgr: np.ndarray, mode: str) -> np.ndarray:
    search = SEGMENTATION.createSelectiveSearchSegmentation()
    search.setBaseImage(bgr)
    {
        "single": search.switchToSingleStrategy,
        "fast": search.switchToSelectiveSearchFast,
        "quality": search.switchToSelectiveSearchQuality,
    }[mode]()
    return np.unique(search.process(), axis=0)


def main() -> None:
    china = cv2.resize(load_sample_image("china.jpg"), (150, 100), interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(china[..., ::-1])
    arrays = {"china/rgb": china} | label_maps(bgr, "china")
    arrays |= {f"china/{name}": image for name, image in spaces(bgr).items()}
    arrays |= {f"china/{mode}": boxes(bgr, mode).astype(np.uint8) for mode in SCALES}
    dog = np.load(sys.argv[1])["img_200"]
    arrays |= label_maps(dog, "dog")
    np.savez_compressed(Path(__file__).with_name("selective_search.npz"), **arrays)


if __name__ == "__main__":
    main()
