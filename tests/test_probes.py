"""Probes of maps: by hand, blind to the test labels, in the order of the network."""

import importlib.util
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import data, train, weights
from lectures_jax.models.squeezenet import SqueezeNet, SqueezeNetSize

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def probes(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch3_vision" / "probes.py"
    spec = importlib.util.spec_from_file_location("experiment_probes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_a_probe_by_hand(probes):  # classes left and right of 0, whatever the unit and the offset
    first, noise = np.linspace(-1, 1, 40), RNG.normal(size=40)
    test = np.array([-0.5, -0.3, 0.4, 0.2])
    for scale, offset in ((1, 0), (1e-4, 0), (100, 7)):
        x, y = (
            np.stack([scale * values + offset, others], axis=1).astype(np.float32)
            for values, others in ((first, noise), (test, 0 * test))
        )
        labels = (first > 0).astype(np.int32)
        assert probes.linear_probe(x, y, labels, np.array([0, 0, 1, 0])) == 0.75


def test_a_probe_sees_no_class_in_noise_and_survives_dead_channels(probes):
    features, test = RNG.normal(size=(2, 500, 20)).astype(np.float32)
    features[:, 0] = test[:, 0] = 0
    labels, test_labels = RNG.integers(0, 2, (2, 500))
    assert abs(probes.linear_probe(features, test, labels, test_labels) - 0.5) < 0.1


def test_what_a_probe_answers_does_not_depend_on_the_test_labels(probes):
    features, test = RNG.normal(size=(2, 60, 8)).astype(np.float32)
    labels = RNG.integers(0, 3, 60)
    shares = [probes.linear_probe(features, test, labels, np.full(60, k)) for k in range(3)]
    assert sum(shares) == pytest.approx(1)  # each image has one answer, the same in all three


class Doubling(nnx.Module):
    """Its second map is twice its first, and comes first by name."""

    inputs = 2

    def features(self, images):
        return {"stage2": images, "stage10": 2 * images, "pooled": images.mean((1, 2))}


def test_means_of_maps_by_hand_in_the_order_of_the_network(probes):
    images = RNG.random((3, 6, 5, 2)).astype(np.float32)
    first, second = train.predict(Doubling(), images, function=probes.map_means)
    np.testing.assert_allclose(first, images.mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(second, 2 * images.mean((1, 2)), rtol=1e-6)


def test_the_maps_of_squeezenet_are_those_after_relu(probes):
    size = SqueezeNetSize(stem=2, fires=(1, 1, 2), squeeze=1, expand=1)
    model = SqueezeNet(3, size=size, rngs=nnx.Rngs(0))
    maps = probes.maps_of(model, jnp.zeros((1, 32, 32, 3)))
    assert list(maps) == ["relu1", *(f"fire{n}" for n in range(2, 6))]


def test_a_network_without_training_has_normalized_maps(probes):
    tasks = probes.read(probes.Config(patches=4, images=40))
    config = probes.Config(channels=(8, 8))
    model = probes.normalized_network(config, tasks, 0)
    first = probes.network(config, tasks["textures"], 0)
    images = np.concatenate([task.train["image"] for task in tasks.values()])
    for trained, raw in zip(model.stages, first.stages, strict=True):
        np.testing.assert_array_equal(trained[0].conv.kernel[...], raw[0].conv.kernel[...])
    model.eval()
    y = model.stages[0][0].norm(model.stages[0][0].conv(jnp.asarray(images)))
    np.testing.assert_allclose(jnp.mean(y, axis=(0, 1, 2)), 0, atol=0.1)
    np.testing.assert_allclose(jnp.std(y, axis=(0, 1, 2)), 1, atol=0.1)


def test_gaps_and_gains_by_hand(probes):
    a, b, nothing = (np.array([[x, y], [x, y]]) for x, y in ((0.8, 0.9), (0.7, 0.5), (0.6, 0.4)))
    accuracies = {
        "A": {"A": a, "B": b, "nothing": nothing},
        "B": {"A": b + 0.1, "B": a + 0.1, "nothing": nothing},
    }
    first, last = (probes.differences(accuracies, n, "at") for n in (0, -1))
    assert first == pytest.approx({"at_gap": 0.1, "at_gain": 0.15})
    assert last == pytest.approx({"at_gap": 0.4, "at_gain": 0.15})


def test_both_tasks_have_gray_images_of_one_size(probes):
    tasks = probes.read(probes.Config(patches=4, images=40))
    assert list(tasks) == ["textures", "digits"]
    for task, train_count, test_count in zip(tasks.values(), (40, 40), (10, 10), strict=True):
        for examples, count in ((task.train, train_count), (task.test, test_count)):
            images = examples["image"]
            assert images.shape == (count, 24, 24, 1)
            assert 0 <= images.min() < 0.1
            assert 0.9 < images.max() <= 1
            assert len(examples["labels"]) == count
    first = data.digits(split="train")["image"][0, ..., 0]
    enlarged = tasks["digits"].train["image"][0, ..., 0]
    assert (
        np.corrcoef(enlarged.reshape(8, 3, 8, 3).mean((1, 3)).ravel(), first.ravel())[0, 1] > 0.95
    )


def test_squeezenet_is_probed_where_its_file_is_given(probes, shared_data, tmp_path):
    path = shared_data / "pretrained" / "squeezenet1_1.safetensors"
    config = probes.Config(patches=8, images=80, seeds=1)
    model = weights.load_pretrained("squeezenet1_1", path=path)
    tasks = {"digits": probes.read(config)["digits"]}
    section, numbers = probes.squeezenet_section(config, model, tasks, tmp_path / "depth.svg")
    assert [row[:2] for row in section.table.rows] == [
        ("digits", "ImageNet"),
        ("digits", "nothing"),
    ]
    assert numbers["squeezenet_digits_highest"] > 0.6  # of ten classes, from 80 examples
    assert (tmp_path / "depth.svg").stat().st_size > 5000
