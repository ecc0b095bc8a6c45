"""Scenes of digits for the experiments: one class or ten, in two splits."""

import jax
import numpy as np

from lectures_jax.recipes import detection_data


def test_scenes_of_one_class_differ_from_those_of_ten_in_their_labels_alone():
    key, options = jax.random.key(3), {"count": 2, "test_count": 1, "size": 64, "max_digits": 3}
    ten = detection_data.draw_scenes(key, **options)
    one = detection_data.draw_scenes(key, **options, one_class=True)
    assert one.image_size == ten.image_size == (64, 64)
    assert one.max_boxes == ten.max_boxes
    assert len(ten.train.classes) == 10
    for of_one, of_ten in zip(one[:2], ten[:2], strict=True):
        assert of_one.classes == ("digit",)
        for a, b in zip(of_one, of_ten, strict=True):
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.boxes, b.boxes)
            np.testing.assert_array_equal(a.labels, np.zeros(len(b.boxes)))
    assert any(record.labels.any() for record in ten.train)


def test_scenes_are_brought_to_the_size_that_is_asked_for():
    splits = detection_data.draw_scenes(
        jax.random.key(0), count=1, test_count=1, size=64, image_size=(32, 32), max_digits=3
    )
    assert splits.train[0].image.shape == (32, 32, 3)
    assert splits.train[0].boxes.max() <= 32
