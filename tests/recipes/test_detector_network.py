"""The network that a detector's training begins with: new, trained before, or imported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import weights
from lectures_jax.data.records import Dataset, Record
from lectures_jax.models.yolo import SMALL, YoloSize
from lectures_jax.recipes import detector, detector_network
from lectures_jax.recipes.detection_data import Splits
from lectures_jax.recipes.detector_network import Network

SIZE = YoloSize(4, 4, (4, 4, 4), (1, 0, 0), (4, 4, 4), 0)
KEYS = jax.random.split(jax.random.key(0))
IMAGES = jax.random.uniform(jax.random.key(1), (1, 32, 32, 3))


def splits(*classes: str) -> Splits:
    """One image with boxes of nine shapes."""
    sides = np.arange(1, 10, dtype=np.float32)
    boxes = np.stack([0 * sides, 0 * sides, 3 * sides, 2 * sides], axis=1)
    image = np.zeros((32, 32, 3), np.uint8)
    labels = np.zeros(9, np.int32)
    record = Record("a", image, boxes=boxes, labels=labels, crowd=np.zeros(9, bool))
    dataset = Dataset((record,), classes)
    return Splits(dataset, dataset, (32, 32), 9)


def outputs(model) -> list[np.ndarray]:
    """The heads' numbers by anchor."""
    shape = (3, 5 + model.num_classes)
    heads = nnx.view(model, use_running_average=True)(IMAGES)
    return [np.asarray(raw).reshape(*raw.shape[:-1], *shape) for raw in heads]


@pytest.fixture(scope="module")
def earlier() -> Network:
    """A network that is trained, as far as one can see: no number is what it was at first."""
    network = detector_network.new_network(*KEYS, splits("cat", "dog"), SIZE)
    state = nnx.state(network.model)
    nnx.update(network.model, jax.tree.map(lambda x: 0.9 * x + 0.1, state))
    anchors = (2 * np.array(network.settings["anchors"])).tolist()
    network.model.anchors = tuple(tuple(map(tuple, head)) for head in anchors)
    return network._replace(settings=network.settings | {"anchors": anchors})


def test_of_the_same_classes_it_is_the_earlier_network(earlier):
    network = detector_network.fine_tuned_network(*KEYS, splits("cat", "dog"), earlier)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(network.model), nnx.state(earlier.model))
    assert network.settings == earlier.settings
    assert network.model.anchors == earlier.model.anchors


def test_for_other_classes_all_is_kept_but_the_heads_last_convolutions(earlier):
    network = detector_network.fine_tuned_network(*KEYS, splits("cow", "hen", "pig"), earlier)
    fresh = detector_network.new_network(*KEYS, splits("cow", "hen", "pig"), SIZE)
    assert network.settings == fresh.settings  # the anchors, too, are those of the new boxes
    state, before, new = (nnx.state(x.model) for x in (network, earlier, fresh))
    kept = 0
    for path, value in nnx.to_flat_state(state):
        last = "predict" in path
        kept += not last
        source = dict(nnx.to_flat_state(new if last else before))
        np.testing.assert_array_equal(value[...], source[path][...], err_msg=str(path))
    assert kept > 40


def test_of_the_classes_that_both_know_the_outputs_are_kept(earlier):
    network = detector_network.fine_tuned_network(*KEYS, splits("hen", "dog", "cow"), earlier)
    assert network.model.anchors == earlier.model.anchors
    fresh = detector_network.new_network(*KEYS, splits("hen", "dog", "cow"), SIZE).model
    for head, new, before in zip(
        network.model.heads, outputs(network.model), outputs(earlier.model), strict=True
    ):
        np.testing.assert_allclose(new[..., [0, 1, 2, 3, 4, 6]], before[..., [0, 1, 2, 3, 4, 6]])
        assert np.abs(new[..., 5] - before[..., 5]).max() > 1e-3
        assert head.predict.kernel.shape[-1] == 3 * 8
    kernel, first = (x.heads[0].predict.kernel[...] for x in (network.model, fresh))
    changed = jnp.any((kernel != first).reshape(-1, 3, 8), axis=(0, 1))
    assert changed.tolist() == [True] * 5 + [False, True, False]


def test_a_training_begins_with_it(earlier, monkeypatch):
    begun = []

    def train(key, model, *_, **__):
        begun.append(model)
        return detector.Trained(model, [])

    monkeypatch.setattr(detector, "train_network", train)
    detector.train(detector.Settings(), splits("dog"), earlier=earlier)
    np.testing.assert_allclose(outputs(begun[0])[0][..., 5], outputs(earlier.model)[0][..., 6])


def test_another_size_of_network_is_refused(earlier):
    same = {"earlier": earlier, "splits": splits("cat")}
    for size in (SMALL, SIZE):  # the default, or what it is
        detector_network.fine_tuned_network(*KEYS, **same, size=size)
    with pytest.raises(ValueError, match="--from: expected the earlier network's size, "):
        detector_network.fine_tuned_network(*KEYS, **same, size=YoloSize())


def test_it_is_read_from_the_run_or_the_file(earlier, tmp_path):
    file = tmp_path / "model.safetensors"
    weights.save_model(file, earlier.model, kind="detector", settings=earlier.settings)
    for path in (tmp_path, file):
        network = detector_network.read_network(path)
        assert network.settings["anchors"] == earlier.settings["anchors"]
        assert network.settings["classes"] == ["cat", "dog"]
        for new, before in zip(outputs(network.model), outputs(earlier.model), strict=True):
            np.testing.assert_array_equal(new, before)


CFG = """
[net]
height=32
width=32
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters={filters}
size=1
activation=linear
[yolo]
mask=0,1
anchors=2,2, 4,4, 9,9, 12,12
classes={classes}
num=4
[route]
layers=0
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters={filters}
size=1
activation=linear
[yolo]
mask=2,3
anchors=2,2, 4,4, 9,9, 12,12
classes={classes}
num=4
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The files of a network with two heads of two anchors, the finer one first."""
    path = tmp_path_factory.mktemp("darknet") / "net.cfg"
    text = CFG.format(filters=2 * 8, classes=3)
    settings = {"classes": ["a", "b", "c"], "image_size": [32, 32], "cfg": text}
    model = weights.build_model("darknet", settings, rngs=nnx.Rngs(3))
    weights.save_darknet(path.with_suffix(".weights"), model)
    return path, path.with_suffix(".weights")


def test_an_imported_network_learns_other_classes(imported, tmp_path):
    earlier = detector_network.read_network(*imported)
    network = detector_network.fine_tuned_network(*KEYS, splits("cow", "hen"), earlier)
    assert network.model.anchors[0] < network.model.anchors[1]  # of strides 4 and 8
    assert network.model.strides == (4, 8)
    assert [len(head) for head in network.model.anchors] == [2, 2]
    for i, (new, old) in enumerate(
        zip(network.model.convolutions, earlier.model.convolutions, strict=True)
    ):
        if i in (0, 2):
            jax.tree.map(np.testing.assert_array_equal, nnx.state(new), nnx.state(old))
    file = tmp_path / "model.safetensors"
    weights.save_model(file, network.model, kind=network.kind, settings=network.settings)
    read = detector_network.read_network(tmp_path)
    assert (read.kind, read.model.anchors) == ("darknet", network.model.anchors)
    again = detector_network.fine_tuned_network(*KEYS, splits("hen", "pig"), read)
    assert again.model.anchors == network.model.anchors
    heads = (nnx.view(x.model, use_running_average=True)(IMAGES) for x in (again, network))
    for raws in zip(*heads, strict=True):
        ours, theirs = (np.asarray(raw).reshape(-1, 2, 5 + 2) for raw in raws)
        np.testing.assert_allclose(ours[..., :6], theirs[..., [0, 1, 2, 3, 4, 6]], rtol=1e-5)


def test_an_imported_network_has_two_files_and_no_size(imported, tmp_path):
    cfg, numbers = imported
    with pytest.raises(ValueError, match=r"--from-weights: expected the .weights of .*net.cfg"):
        detector_network.read_network(cfg)
    with pytest.raises(ValueError, match=r"--from: expected the .cfg of .*net.weights, got"):
        detector_network.read_network(tmp_path, numbers)
    earlier = detector_network.read_network(cfg, numbers)
    with pytest.raises(ValueError, match="--from: expected no size, got YoloSize"):
        detector_network.fine_tuned_network(*KEYS, splits("cow"), earlier, size=SIZE)
    earlier.model.anchors = (earlier.model.anchors[0], earlier.model.anchors[1][:1])
    with pytest.raises(ValueError, match=r"heads of equally many anchors, got \[2, 1\]"):
        detector_network.fine_tuned_network(*KEYS, splits("cow"), earlier)


def test_what_is_no_detector_is_refused_in_a_line(tmp_path):
    with pytest.raises(ValueError, match=r"--from: expected the folder .* got .*nowhere\.$"):
        detector_network.read_network(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"--from: expected the folder of a finished run"):
        detector_network.read_network(tmp_path)
    settings = {"shape": [4], "latent": 2, "hidden": 3, "dense": True}
    model = weights.build_model("autoencoder", settings, rngs=nnx.Rngs(0))
    weights.save_model(tmp_path / "model.safetensors", model, kind="autoencoder", settings=settings)
    with pytest.raises(ValueError, match=r"expected a detector, got a model of kind 'autoencoder'"):
        detector_network.read_network(tmp_path)
