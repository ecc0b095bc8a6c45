"""Networks of others: torchvision's names, maps and logits; both directions; what is refused."""

import dataclasses
import hashlib
import json
import sys
import types
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from lectures_jax import objectives, optim, train, weights
from lectures_jax.models.resnet import CIFAR20_PADDED, ResNet, ResNetSize
from lectures_jax.models.squeezenet import SQUEEZENET1_0, SqueezeNet, SqueezeNetSize
from lectures_jax.models.vgg import Vgg, VggSize
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.preprocessing import IMAGENET, Normalize
from lectures_jax.weights import torchvision
from lectures_jax.weights.pretrained import NETWORKS
from lectures_jax.weights.schema import check_settings
from tests.golden.drawn import drawn, images

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "torchvision.npz")
NAMES = json.loads(str(GOLDEN["names"]))
SMALL = {
    "basic": (ResNet, ResNetSize((1, 1, 1, 1)), (48, 41)),
    "bottleneck": (ResNet, ResNetSize((1, 1, 1, 1), bottleneck=True), (48, 41)),
    "squeezenet1_0": (SqueezeNet, SQUEEZENET1_0, (64, 57)),
    "vgg": (Vgg, VggSize((1, 2, 1, 1), (4, 6, 8, 8), hidden=12), (48, 41)),
    "vgg_bn": (Vgg, VggSize((1, 2, 1, 1), (4, 6, 8, 8), True, 12), (48, 112)),
}
TINY = ResNetSize((1, 1), (4, 8), large=False, padded=True)


def abstract(network, size, classes=5, normalize=IMAGENET):
    return nnx.eval_shape(
        lambda: network(classes, size=size, normalize=normalize, rngs=nnx.Rngs(0))
    )


def shapes_of(case):
    return {name: tuple(shape) for name, shape in json.loads(str(GOLDEN[f"{case}/names"])).items()}


def as_torchvision(model):
    """The arrays of a network under torchvision's names: names and shapes."""
    return {tensor.name: tensor.shape for tensor in torchvision._tensors(model).values()}


def evaluated(model, x):
    structure, state = nnx.split(model)

    def call(state):
        model = nnx.merge(structure, state)
        return model(x), model.features(x)

    return jax.jit(call)(state)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_torchvision_s(name):
    network, size = NETWORKS[name]
    expected = {array: tuple(shape) for array, shape in NAMES[name].items()}
    assert as_torchvision(abstract(network, size, 1000)) == expected


def test_every_network_but_those_of_cifar_is_one_of_torchvision():
    assert {name for name in NETWORKS if not name.startswith("cifar10")} == set(NAMES)


@pytest.mark.parametrize("case", SMALL)
def test_logits_and_maps_are_torchvision_s_and_the_arrays_go_back_bit_for_bit(tmp_path, case):
    network, size, image_size = SMALL[case]
    arrays = drawn(shapes_of(case))
    save_file(arrays, tmp_path / "a.safetensors")
    model = weights.load_torchvision(tmp_path / "a.safetensors", abstract(network, size))
    logits, maps = evaluated(model, jnp.asarray(images(*image_size)))
    expected = GOLDEN[f"{case}/logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    for number, name in enumerate(getattr(size, "layers", ())):
        means = GOLDEN[f"{case}/features.{number}"]
        limit = 1e-5 * np.abs(means).max()
        np.testing.assert_allclose(maps[name].mean((1, 2)), means, rtol=1e-4, atol=limit)
    weights.save_torchvision(tmp_path / "b.safetensors", model)
    same_arrays(load_file(tmp_path / "b.safetensors"), arrays)


# pytorch_resnet_cifar10 and He et al., table 6, round to 0.46, 0.66, 0.85 and 1.7 million.
@pytest.mark.parametrize(
    ("depth", "expected"), [(20, 269_722), (32, 464_154), (44, 658_586), (110, 1_727_962)]
)
def test_networks_of_cifar_have_the_published_parameters(depth, expected):
    model = abstract(*NETWORKS[f"cifar10_resnet{depth}"], 10)
    assert sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param))) == expected


def of_any_size(network, counts, flags, kernel):
    """A small abstract network; the type checks of its size draw numbers, which no strategy may."""
    channels = (4, 6, 8)[: len(counts)]
    if network is SqueezeNet:
        return abstract(network, SqueezeNetSize(3, kernel, counts, 2, 3))
    if network is Vgg:
        return abstract(network, VggSize(counts, channels, flags[0], 5))
    bottleneck, large, padded = flags
    size = ResNetSize(counts, channels, bottleneck=bottleneck, large=large, padded=padded)
    return abstract(network, size)


@given(
    network=st.sampled_from([ResNet, SqueezeNet, Vgg]),
    counts=st.lists(st.integers(1, 2), min_size=1, max_size=3).map(tuple),
    flags=st.tuples(*[st.booleans()] * 3),
    kernel=st.integers(1, 7),
)
def test_networks_of_any_size_go_back_and_forth_bit_for_bit(
    tmp_path_factory, network, counts, flags, kernel
):
    folder = tmp_path_factory.mktemp("both")
    model = of_any_size(network, counts, flags, kernel)
    arrays = drawn(as_torchvision(model))
    save_file(arrays, folder / "a.safetensors")
    loaded = weights.load_torchvision(folder / "a.safetensors", model)
    weights.save_torchvision(folder / "b.safetensors", loaded)
    same_arrays(load_file(folder / "b.safetensors"), arrays)


def same_arrays(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def reference(shared_data, name):
    path = shared_data / "pretrained" / name
    if not path.exists():
        pytest.skip(f"no file {path}")
    return path


def test_squeezenet_equals_its_reference(shared_data):
    path = reference(shared_data, "squeezenet1_1.safetensors")
    expected = np.load(reference(shared_data, "squeezenet1_1_reference.npz"))
    model = weights.load_pretrained("squeezenet1_1", path=path)
    logits, maps = evaluated(model, jnp.asarray(expected["images"], jnp.float32) / 255)
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)
    # The maps reach 695 and 532.
    for name, own in (("fire4", maps["fire3"][:, ::4, ::4]), ("fire12", maps["fire9"])):
        np.testing.assert_allclose(own, expected[name], atol=1e-5 * expected[name].max())


def test_the_published_resnet_20_equals_torch(tmp_path, shared_data):
    path = reference(shared_data, "cifar10_resnet20.safetensors")
    model = weights.load_pretrained("cifar10_resnet20", path=path)
    logits, _ = evaluated(model, jnp.asarray(images(32, 32)))
    np.testing.assert_allclose(logits, GOLDEN["cifar10/logits"], rtol=1e-5, atol=1e-5)
    weights.save_torchvision(tmp_path / "b.safetensors", model)
    same_arrays(load_file(tmp_path / "b.safetensors"), load_file(path))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A file of pytorch_resnet_cifar10 with numbers drawn here, and its arrays."""
    path = tmp_path_factory.mktemp("cifar") / "a.safetensors"
    arrays = drawn(as_torchvision(abstract(ResNet, CIFAR20_PADDED, 10)))
    counts = {"bn1.num_batches_tracked": np.array(7)}
    save_file(arrays | counts, path)
    return path, arrays


def test_the_last_layer_says_how_many_classes_there_are(tmp_path, cifar):
    _, arrays = cifar
    head = {"linear.weight": np.ones((3, 64), np.float32), "linear.bias": np.zeros(3, np.float32)}
    save_file(arrays | head, tmp_path / "a.safetensors")
    model = weights.load_pretrained("cifar10_resnet20", path=tmp_path / "a.safetensors")
    assert model.classify.kernel.shape == (64, 3)
    assert model.normalize == IMAGENET


def test_a_loaded_network_evaluates_and_can_be_trained_further(cifar):
    model = weights.load_pretrained("cifar10_resnet20", path=cifar[0])
    assert model.stem.norm.use_running_average
    training = nnx.view(
        model, deterministic=False, use_running_average=False, raise_if_not_found=False
    )
    assert not training.stem.norm.use_running_average


@pytest.mark.parametrize("normalize", [None, Normalize((0.5,), (0.25,))])
def test_a_network_of_ours_comes_back_with_what_it_does_to_images(tmp_path, normalize, monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", (lambda *a, **k: ResNet(*a, inputs=1, **k), TINY))
    model = ResNet(3, size=TINY, inputs=1, normalize=normalize, rngs=nnx.Rngs(1))
    weights.save_torchvision(tmp_path / "a.safetensors", model)
    loaded = weights.load_pretrained("tiny", path=tmp_path / "a.safetensors")
    assert loaded.normalize == normalize
    before, after = (nnx.to_pure_dict(nnx.state(m)) for m in (model, loaded))
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", pytest.param("[" * 10**5, id="deep"), '{"mean": [1]}', '{"mean": "a", "std": [1]}'],
)
def test_a_normalization_that_is_none_is_refused(tmp_path, cifar, text):
    save_file(cifar[1], tmp_path / "a.safetensors", metadata={"normalize": text})
    with pytest.raises(ValueError, match=r"a\.safetensors: expected mean and std as normalize"):
        weights.load_pretrained("cifar10_resnet20", path=tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_settings_of_a_saved_model_have_room_for_each_network(name):
    network, size = NETWORKS[name]
    settings = {"network": network.__name__.lower(), "size": dataclasses.asdict(size)}
    settings |= {"classes": ["a"] * 1000, "image_size": [224, 224], "inputs": 3}
    check_settings("classifier", settings | {"normalize": dataclasses.asdict(IMAGENET)})


def test_a_small_network_goes_through_both_formats(tmp_path):
    size = SqueezeNetSize(4, 3, (1,), 2, 2)
    settings = {
        **{"network": "squeezenet", "classes": ["cat", "dog"], "image_size": [32, 32]},
        **{"inputs": 3, "size": dataclasses.asdict(size)},
        "normalize": dataclasses.asdict(IMAGENET),
    }
    model = weights.build_model("classifier", settings, rngs=nnx.Rngs(0))
    weights.save_torchvision(tmp_path / "a.safetensors", model)
    model = weights.load_torchvision(tmp_path / "a.safetensors", abstract(SqueezeNet, size, 2))
    weights.save_model(tmp_path / "b.safetensors", model, kind="classifier", settings=settings)
    loaded = weights.load_model(tmp_path / "b.safetensors").model
    x = jnp.asarray(images(16, 16))
    jax.tree.map(np.testing.assert_array_equal, evaluated(model, x), evaluated(loaded, x))


def test_dense_layers_of_vgg_in_timm_s_form_are_the_same(tmp_path):
    network, size, _ = SMALL["vgg_bn"]
    arrays = drawn(shapes_of("vgg_bn"))
    save_file(arrays, tmp_path / "a.safetensors")
    timm = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2"}
    timm["classifier.6"] = "head.fc"
    forms = {"classifier.0.weight": (12, 8, 7, 7), "classifier.3.weight": (12, 12, 1, 1)}
    others = {}
    for name, array in arrays.items():
        module, _, leaf = name.rpartition(".")
        other = f"{timm.get(module, module)}.{leaf}"
        others[other] = array.reshape(forms.get(name, array.shape))
    save_file(others, tmp_path / "b.safetensors")
    states = [
        nnx.to_pure_dict(nnx.state(weights.load_torchvision(file, abstract(network, size))))
        for file in (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    ]
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_floats_become_float32(tmp_path, cifar, dtype):
    save_file({n: x.astype(dtype) for n, x in cifar[1].items()}, tmp_path / "a.safetensors")
    model = weights.load_pretrained("cifar10_resnet20", path=tmp_path / "a.safetensors")
    bias = model.classify.bias[...]
    assert bias.dtype == jnp.float32
    expected = cifar[1]["linear.bias"].astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(bias, expected)


MISSING = r"1 missing \(bn1.bias\)\."
CHANGES = {
    "one missing": (lambda a: a.pop("bn1.bias"), MISSING),
    "one more": (lambda a: a.update({"fc.bias": a["bn1.bias"]}), r"1 unexpected \(fc.bias\)\."),
    "a shape": (
        lambda a: a.update({"conv1.weight": np.zeros((16, 1, 3, 3), np.float32)}),
        r"1 of another shape or dtype \(conv1.weight \[16, 1, 3, 3\] and not \[16, 3, 3, 3\]\)\.",
    ),
    "a bias of other classes": (
        lambda a: a.update({"linear.bias": np.zeros(9, np.float32)}),
        r"1 of another shape or dtype \(linear.bias \[9\] and not \[10\]\)\.",
    ),
    "an integer": (
        lambda a: a.update({"bn1.bias": np.zeros(16, np.int32)}),
        r"1 of another shape or dtype \(bn1.bias I32 \[16\] and not \[16\]\)\.",
    ),
    "all renamed": (
        lambda a: [a.update({f"module.{n}": a.pop(n)}) for n in list(a)],
        r"97 missing \(bn1.bias, bn1.running_mean, bn1.running_var, …\), 97 unexpected "
        r"\(module.bn1.bias, .*, …\)\.",
    ),
    "no last layer": (
        lambda a: [a.pop(n) for n in ("linear.bias", "linear.weight")],
        r"2 missing \(linear.bias, linear.weight\)\.",
    ),
    "a scalar last layer": (
        lambda a: a.update({"linear.weight": np.zeros((), np.float32)}),
        r"linear.weight \[\] and not \[1, 64\]",
    ),
    "NaN": (
        lambda a: a.update({"bn1.bias": np.full(16, np.nan, np.float32)}),
        "expected finite numbers, got others in bn1.bias",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_does_not_fit_is_refused_with_what_differs(tmp_path, cifar, change):
    function, message = CHANGES[change]
    arrays = dict(cifar[1])
    function(arrays)
    save_file(arrays, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=message) as error:
        weights.load_pretrained("cifar10_resnet20", path=tmp_path / "a.safetensors")
    line = str(error.value)
    assert line.startswith(f"{tmp_path / 'a.safetensors'}: expected ")
    assert "\n" not in line
    assert len(line) < 500


def test_the_file_of_another_network_is_refused(cifar):
    message = r"arrays of this SqueezeNet, got 52 missing \(classifier.1.bias, .* 97 unexpected"
    with pytest.raises(ValueError, match=message):
        weights.load_pretrained("squeezenet1_1", path=cifar[0])


def test_the_same_array_under_two_names_is_one_too_many(tmp_path):
    network, size, _ = SMALL["vgg"]
    arrays = drawn(shapes_of("vgg"))
    save_file(arrays | {"head.fc.bias": np.zeros(5, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"got 1 unexpected \(head.fc.bias\)"):
        weights.load_torchvision(tmp_path / "a.safetensors", abstract(network, size))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".bin"])
def test_a_pickle_is_refused_and_how_to_convert_it_is_there(tmp_path, suffix):
    with pytest.raises(ValueError, match=r"got a pickle, .*weights_only=True.* converts it"):
        weights.load_pretrained("vgg16", path=tmp_path / f"a{suffix}")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the hub's library, with a folder for each repository."""
    asked = []

    def hf_hub_download(repository, file):
        asked.append((repository, file))
        return str(tmp_path / repository / file)

    library = types.ModuleType("huggingface_hub")
    vars(library)["hf_hub_download"] = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    return tmp_path, asked


def test_a_network_of_the_hub_is_loaded_if_its_hash_is_the_one_that_was_given(hub):
    folder, asked = hub
    file = folder / "someone" / "tiny" / "model.safetensors"
    file.parent.mkdir(parents=True)
    first = abstract(ResNet, CIFAR20_PADDED)
    save_file(
        {name: np.ones(shape, np.float32) for name, shape in as_torchvision(first).items()}, file
    )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    load = partial(weights.load_pretrained, "cifar10_resnet20", repository="someone/tiny")
    model = load(sha256=digest.upper())
    assert nnx.state(model, nnx.Param)
    assert asked == [("someone/tiny", "model.safetensors")]
    with pytest.raises(ValueError, match=f"expected sha256 {'0' * 64}, got {digest}"):
        load(sha256=64 * "0")
    with pytest.raises(ValueError, match=f"expected sha256 {'0' * 64}, got {digest}"):
        weights.load_pretrained("cifar10_resnet20", path=file, sha256=64 * "0")
    for wrong in (None, "abc"):
        with pytest.raises(ValueError, match="sha256 must be the 64 hexadecimal digits"):
            load(sha256=wrong)
    assert len(asked) == 2  # without a hash nothing is downloaded
    with pytest.raises(ValueError, match=r"path must be .* or repository one of the hub"):
        load(sha256=digest, path=file)


def test_a_name_or_path_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"name must be one of squeezenet1_0, .* got 'alexnet'"):
        weights.load_pretrained("alexnet", path=tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"path must be a safetensors file of vgg19 .* path=None"):
        weights.load_pretrained("vgg19")
    with pytest.raises(FileNotFoundError):
        weights.load_pretrained("vgg19", path=tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"\x80\x02" * 50)
    with pytest.raises(ValueError, match="expected a sound safetensors file, got"):
        weights.load_pretrained("vgg19", path=tmp_path / "a.safetensors")


def test_a_model_without_such_names_is_refused(tmp_path):
    message = "model must be a ResNet, SqueezeNet or Vgg, got Linear"
    with pytest.raises(ValueError, match=message):
        weights.save_torchvision(tmp_path / "a.safetensors", Linear(2, 2, rngs=nnx.Rngs(0)))


def test_transfer_learning_leaves_frozen_batch_norm_bit_identical(tmp_path):
    arrays = drawn(as_torchvision(abstract(ResNet, TINY)))
    save_file(arrays, tmp_path / "a.safetensors")
    model = weights.load_torchvision(tmp_path / "a.safetensors", abstract(ResNet, TINY))
    model.classify = Linear(8, 2, rngs=nnx.Rngs(1))
    model.stages[1] = nnx.view(model.stages[1], use_running_average=False)
    optimizer = optim.by_path(
        lambda path: "trained" if path.startswith(("classify", "stages/1")) else "frozen",
        {"trained": optax.sgd(0.1), "frozen": optax.set_to_zero()},
    )
    batch = {"image": images(8, 8), "labels": np.array([0, 1], np.int32)}
    trained, _ = train.fit(
        jax.random.key(0), model, objectives.classification, optimizer, [batch] * 3, steps=3
    )
    weights.save_torchvision(tmp_path / "b.safetensors", trained)
    after = load_file(tmp_path / "b.safetensors")
    changed = {name for name in arrays if not np.array_equal(after[name], arrays[name])}
    assert changed == {n for n in arrays if n.startswith(("layer2", "linear"))}
