"""The search of suppression: every plan keeps the same boxes, and other measures fit in."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops import _greedy

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "nms.npz")


@pytest.mark.parametrize("by_class_limit", [0, 1024], ids=["class after class", "by score"])
@pytest.mark.parametrize("plan", [_greedy.ON_CPU, _greedy.ELSEWHERE], ids=["cpu", "elsewhere"])
@pytest.mark.parametrize(("block", "tile"), [(32, 32), (512, 64)])
def test_every_plan_keeps_the_same(monkeypatch, plan, block, tile, by_class_limit):
    monkeypatch.setattr(_greedy, "BY_CLASS_LIMIT", by_class_limit)
    boxes, scores, labels, expected = (
        jnp.asarray(GOLDEN[f"ties-300-0.1-{part}"])
        for part in ("boxes", "scores", "labels", "kept_by_class")
    )
    plan = plan._replace(block=block, tile=tile)
    search = jax.jit(partial(_greedy.search, plan=plan, considered=300, max_outputs=60))
    valid = 290  # the ten lowest scores are dropped, none of which would be among the first 60
    indices, count = search(
        boxes, scores, labels, jnp.int32(valid), jnp.nextafter(jnp.float32(0.1), jnp.float32(0))
    )
    assert indices[:count].tolist() == expected[:60].tolist()


@pytest.mark.parametrize("plan", [_greedy.ON_CPU, _greedy.ELSEWHERE], ids=["cpu", "elsewhere"])
def test_the_search_takes_another_measure_of_overlap(plan):
    """Suppression by DIoU, against a loop over pairs."""

    def diou(a, b):
        return ops.diou(a.corners.T[:, None], b.corners.T[None])

    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (200, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (200, 2))], axis=1).astype(np.float32)
    order = rng.permutation(200)
    scores = np.empty(200, np.float32)
    scores[order] = np.linspace(1, 0, 200)
    search = partial(_greedy.search, plan=plan, considered=200, max_outputs=200, measure=diou)
    indices, count = jax.jit(search)(
        jnp.asarray(boxes), jnp.asarray(scores), None, jnp.int32(200), jnp.float32(0.3)
    )
    overlap = np.asarray(ops.diou(jnp.asarray(boxes)[:, None], jnp.asarray(boxes)[None]))
    expected = []
    for i in order:
        if all(overlap[j, i] <= 0.3 for j in expected):
            expected.append(int(i))
    assert indices[:count].tolist() == expected
    by_iou = ops.nms(jnp.asarray(boxes), jnp.asarray(scores), max_outputs=200, iou_threshold=0.3)
    assert expected != by_iou.indices[by_iou.valid].tolist()
