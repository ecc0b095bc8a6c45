"""Laws of regions that are merged."""

import numpy as np

from lectures_jax import ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, equal, law

LABELS, IMAGE = strategies.labels((6, 7), classes=5), strategies.images((6, 7, 1))


class HierarchyTest(LawTest):
    @law(labels=LABELS, image=IMAGE, eager=False, share=0.5)
    def test_a_region_s_box_is_the_one_around_its_two_parts(self, labels, image):
        regions = self.apply(ops.merge_regions, labels, image, max_regions=5)
        boxes, level, parent, valid = (np.asarray(x[0]) for x in regions)
        count = len(np.unique(labels))
        assert count <= valid.sum() <= 2 * count - 1
        for region in np.flatnonzero(valid[5:]) + 5:
            parts = np.flatnonzero(parent == region)
            assert parts.size == 2
            low, high = boxes[parts, :2].min(axis=0), boxes[parts, 2:].max(axis=0)
            equal(boxes[region], np.concatenate([low, high]))
            equal(level[region], level[parts].max() + 1)

    @law(labels=LABELS, image=IMAGE, eager=False, share=0.5)
    def test_boxes_of_the_label_map_are_those_of_its_masks(self, labels, image):
        regions = self.apply(ops.merge_regions, labels, image, max_regions=5)
        for label in np.unique(labels):
            box = np.asarray(ops.masks_to_boxes(labels == label))
            equal(np.asarray(regions.boxes[0, label]), box + np.float32([0, 0, 1, 1]))
