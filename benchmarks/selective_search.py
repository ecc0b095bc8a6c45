"""Selective search with the strategies "fast" on a photograph of 533×400, against OpenCV's.

Both go from the image to the set of boxes: the graph segmentations, which are scikit-image's and
OpenCV's, and the merging. Given OpenCV's segmentations, ours must give OpenCV's set of boxes.
OpenCV's is a part of opencv-contrib-python-headless.

python -m benchmarks.selective_search
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import compare, save
from lectures_jax import data, ops

WIDTH, HEIGHT = 533, 400
SCALES = (150, 300, 450)
WEIGHTS = (ops.SimilarityWeights(), ops.SimilarityWeights(color=0))
MOST = 704  # regions of a segmentation


def photograph() -> np.ndarray:
    """The pagoda, RGB in 8 bits."""
    image = np.rint(255 * data.photographs("pagoda")["pagoda"]).astype(np.uint8)
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def theirs(bgr: np.ndarray) -> np.ndarray:
    """OpenCV's boxes, as corner and size."""
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(bgr)
    search.switchToSelectiveSearchFast()
    return search.process()


def merged(bgr: np.ndarray) -> set[tuple[int, ...]]:
    """Our boxes for OpenCV's segmentations, as corner and size."""
    boxes = set()
    for space in (cv2.COLOR_BGR2HSV, cv2.COLOR_BGR2Lab):
        image = cv2.cvtColor(bgr, space)
        for scale in SCALES:
            graph = cv2.ximgproc.segmentation.createGraphSegmentation(0.8, scale, 100)
            labels, channels = jnp.asarray(graph.processImage(image)), jnp.asarray(image)
            regions = ops.merge_regions(
                labels, channels.astype(jnp.float32) / 255, max_regions=MOST, weights=WEIGHTS
            )
            corners = np.asarray(regions.boxes, int)[np.asarray(regions.valid)]
            corners[:, 2:] -= corners[:, :2]
            boxes |= set(map(tuple, corners.tolist()))
    return boxes


def measured(repeats: int) -> dict:
    """The row of the table."""
    rgb, key = photograph(), jax.random.key(0)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    assert merged(bgr) == set(map(tuple, theirs(bgr).tolist()))
    functions = {
        "lectures_jax": lambda: data.selective_search(key, rgb),
        "OpenCV": lambda: theirs(bgr),
    }
    times = compare(functions, repeats=repeats)
    ratio = times.seconds["lectures_jax"] / times.seconds["OpenCV"]
    return {
        "case": f"fast, {WIDTH}×{HEIGHT}",
        **times.seconds,
        "ratio": ratio,
        **times.conditions(),
    }


def main(repeats: int = 9) -> None:
    """Measures, prints and saves."""
    row = measured(repeats)
    print(*(f"{k} {v:.4f}" if isinstance(v, float) else v for k, v in row.items()), sep="  ")
    print(save("selective_search", [row]))


if __name__ == "__main__":
    main()
