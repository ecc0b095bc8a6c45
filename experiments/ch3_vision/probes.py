"""The first convolutions serve other tasks, the last their own. CPU, 2 min; gaps -0.01 and 0.09.

One network is trained to tell textures of photographs, one of the same shape to tell digits. On the
mean of each of their maps a linear classifier, the probe, is fitted to either task. The gaps are by
how much it is better on the task's own network than on the other's, at the first and at the last
map: means over both tasks. `--squeezenet FILE` probes SqueezeNet 1.1, which knows neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lectures_jax import data, objectives, optim, report, runtime, train, weights
from lectures_jax.models.cnn import Cnn
from lectures_jax.models.squeezenet import SqueezeNet
from lectures_jax.nn.preprocessing import IMAGENET
from lectures_jax.recipes.classifier import accuracy
from lectures_jax.recipes.feature_network import textures
from lectures_jax.recipes.generator import Kind
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch

EXPECTED = {"first_gap": (None, 0.06), "last_gap": (0.06, None), "first_gain": (0, None)}
TINY = {"patches": 8, "images": 64, "channels": (2, 3), "steps": 1, "seeds": 1}
SIDE, LARGE = 24, 96  # rows and columns of the images, for our networks and for SqueezeNet
PENALTIES = np.logspace(-2, 4, 7)  # of the probe, of which the training images choose one
OTHER_MAPS = ("conv", "norm", "expand", "scores", "pool")  # what is before ReLU, or pooled


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images of the second task: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    squeezenet: Path | None = None
    """safetensors file of torchvision's SqueezeNet 1.1, which is then probed too"""
    patches: int = 300
    """of each photograph to train on, and a fourth as many to test on"""
    images: int = 3000
    """of the second task to train on, and a fourth as many to test on, at most"""
    channels: tuple[int, ...] = (16, 32, 64, 64)
    """of the convolutions; the map is halved between two of them"""
    steps: int = 500
    """of each training"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters, order and augmentation"""


Tasks = dict[str, data.Splits]
"""Gray images to train on and to test with, for networks and probes alike."""

Accuracies = dict[str, dict[str, np.ndarray]]
"""Test accuracy of probes [seed, map], by the task and by what the network was trained on."""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains on both tasks, probes all maps for both, and writes the report."""
    file, tasks = config.squeezenet, read(config)
    pretrained = weights.load_pretrained("squeezenet1_1", path=file) if file else None
    seeds = range(config.seed, config.seed + config.seeds)
    networks = {
        name: [train_network(config, task, seed, out / name / str(seed)) for seed in seeds]
        for name, task in tasks.items()
    }
    untrained = [normalized_network(config, tasks, seed) for seed in seeds]
    accuracies = probe_all({**networks, "nothing": untrained}, tasks)
    numbers = {**differences(accuracies, 0, "first"), **differences(accuracies, -1, "last")}
    for name, models in networks.items():
        own = [accuracy(model, tasks[name].test) for model in models]
        numbers[f"{name}_accuracy"] = float(np.mean(own))
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    names = list(maps_of(networks["textures"][0], jnp.zeros((1, SIDE, SIDE, 1))))
    sections = [own_section(config, accuracies, names, figures / "depth.svg")]
    if pretrained:
        path = figures / "squeezenet.svg"
        section, of_squeezenet = squeezenet_section(config, pretrained, tasks, path)
        sections.append(section)
        numbers |= of_squeezenet
    write_report(config, out, tasks, sections, numbers)
    return numbers


def read(config: Config) -> Tasks:
    """Which photograph a patch is from, and which digit (or another class) an image shows."""
    name = config.root.resolve().stem if config.root else "digits"
    patches, second = textures(count=config.patches), data.read_classified(config.data, config.root)
    n = config.images
    return {
        "textures": patches._replace(train=gray(patches.train), test=gray(patches.test)),
        name: second._replace(train=gray(second.train, n), test=gray(second.test, n // 4)),
    }


def gray(examples: Batch, count: int | None = None, *, side: int = SIDE) -> Batch:
    """The first images of a set, gray, in [0, 1], and of one size."""
    images = jnp.mean(jnp.asarray(examples["image"][:count]), axis=-1, keepdims=True)
    images = jax.image.resize(images, (len(images), side, side, 1), "cubic")
    return {"image": np.asarray(jnp.clip(images, 0, 1)), "labels": examples["labels"][:count]}


def network(config: Config, task: data.Splits, seed: int) -> Cnn:
    """A network before any training."""
    channels = [[n] for n in config.channels]
    return Cnn(len(task.classes), channels=channels, inputs=1, rngs=nnx.Rngs(seed))


def normalized_network(config: Config, tasks: Tasks, seed: int) -> Cnn:
    """A network whose batch normalization alone has seen images; without, it is a worse rival."""
    model = network(config, tasks["textures"], seed)
    images = np.concatenate([task.train["image"] for task in tasks.values()])
    rng = np.random.default_rng(seed)
    for _ in range(100):  # calls in training, each of which moves the averages by a tenth
        model(jnp.asarray(rng.choice(images, 64)))
    return model


def train_network(config: Config, task: data.Splits, seed: int, out: Path) -> Cnn:
    """A network that was trained on one task."""
    rate = optax.cosine_onecycle_schedule(config.steps, 4e-3)
    model, _ = train.fit(
        jax.random.key(seed),
        network(config, task, seed),
        objectives.classification,
        optim.adamw_on_kernels(rate, weight_decay=0.02),
        data.batches(task.train, batch_size=32, seed=seed),
        steps=config.steps,
        out=out,
        ema_decay=0.99,
        augment=partial(data.augment_classification, kind="shift"),
        log_every=config.steps,
    )
    return model


def maps_of(model: Any, images: jax.Array) -> dict[str, jax.Array]:
    """The maps after each ReLU, the first of the network first."""
    maps = model.features(images).items()
    return {name: values for name, values in maps if not name.startswith(OTHER_MAPS)}


def map_means(model: Any, images: jax.Array) -> list[jax.Array]:
    """The mean of each channel of each map: a list, since JAX sorts dictionaries by name."""
    images = jnp.broadcast_to(images, (*images.shape[:3], model.inputs))
    return [jnp.mean(values, axis=(1, 2)) for values in maps_of(model, images).values()]


def probe_all(networks: Mapping[str, Sequence[Any]], tasks: Tasks) -> Accuracies:
    """The accuracy of a probe on each map of each network, for each task."""

    def probe(model: Any, task: data.Splits) -> list[float]:
        fitted, measured = (
            train.predict(model, examples["image"], function=map_means, batch_size=250)
            for examples in (task.train, task.test)
        )
        labels = (task.train["labels"], task.test["labels"])
        return [linear_probe(*x, *labels) for x in zip(fitted, measured, strict=True)]

    return {
        name: {k: np.array([probe(m, task) for m in models]) for k, models in networks.items()}
        for name, task in tasks.items()
    }


def linear_probe(
    features: np.ndarray, test_features: np.ndarray, labels: np.ndarray, test_labels: np.ndarray
) -> float:
    """The test accuracy of ridge regression from features, each of variance 1, to the classes.

    The penalty is the one with the least leave-one-out error on the training features. Source:
    Alain & Bengio (2017), sec. 3; the error in closed form: Golub, Heath & Wahba (1979).
    """
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
    classifier.fit(features.astype(np.float64), labels)
    return float(classifier.score(test_features.astype(np.float64), test_labels))


def differences(accuracies: Accuracies, layer: int, name: str) -> dict[str, float]:
    """At one map: the own network's lead over the other's, and the other's over no training."""
    own, other = [], []
    for task, by_network in accuracies.items():
        means = {kind: values[:, layer].mean() for kind, values in by_network.items()}
        for kind in accuracies:
            (own if kind == task else other).append(means[kind] - means["nothing"])
    gap = float(np.mean(own) - np.mean(other))
    return {f"{name}_gap": gap, f"{name}_gain": float(np.mean(other))}


def squeezenet_section(
    config: Config, trained: SqueezeNet, tasks: Tasks, path: Path
) -> tuple[Section, dict[str, float]]:
    """SqueezeNet 1.1 as it was trained on ImageNet, against three without any training."""
    seeds = range(config.seed, config.seed + config.seeds)
    untrained = [SqueezeNet(1000, normalize=IMAGENET, rngs=nnx.Rngs(seed)) for seed in seeds]
    large = {
        name: task._replace(train=gray(task.train, side=LARGE), test=gray(task.test, side=LARGE))
        for name, task in tasks.items()
    }
    accuracies = probe_all({"ImageNet": [trained], "nothing": untrained}, large)
    names = list(maps_of(trained, jnp.zeros((1, LARGE, LARGE, 3))))
    numbers, best = {}, []
    for task, by_network in accuracies.items():
        values = by_network["ImageNet"][0]
        best.append(f"{names[values.argmax()]} for {task}")
        for name, layer in {"first": 0, "highest": values.argmax(), "last": -1}.items():
            numbers[f"squeezenet_{task}_{name}"] = float(values[layer])
    section = depth_section(
        "SqueezeNet",
        "SqueezeNet 1.1 was trained on the photographs of ImageNet and knows neither task. Images "
        f"of {SIDE}×{SIDE} pixels were enlarged to {LARGE}×{LARGE}. The highest accuracy is at "
        f"{' and '.join(best)}. Deviations are those of {config.seeds} untrained networks.",
        accuracies,
        names,
        path,
    )
    return section, numbers


def own_section(config: Config, accuracies: Accuracies, names: list[str], path: Path) -> Section:
    """Accuracy over depth for own, other and no training, and what the seeds allow to say of it."""
    remarks = [
        f"Mean and standard deviation over {config.seeds} seeds. 'Trained on nothing' is the "
        "network with its first kernels, whose batch normalization has seen images of both tasks."
    ]
    for (task, by_network), other in zip(accuracies.items(), reversed(accuracies), strict=True):
        for layer, which in ((0, "first"), (-1, "last")):
            scores = {f"trained on {k}": values[:, layer] for k, values in by_network.items()}
            sentence = report.best_by_seeds(scores, than=f"trained on {other}")
            remarks.append(f"For {task} at the {which} map: {sentence}")
    return depth_section("Accuracy by depth", "\n\n".join(remarks), accuracies, names, path)


def depth_section(
    title: str, text: str, accuracies: Accuracies, names: list[str], path: Path
) -> Section:
    """A panel for each task with a line for each network, and the same in numbers."""
    positions, rows = np.arange(len(names)), []
    with plot(path, rows=len(accuracies), height=0.8 + 1.9 * len(accuracies)) as axes:
        for ax, (task, by_network) in zip(axes, accuracies.items(), strict=True):
            for number, (kind, values) in enumerate(by_network.items()):
                deviation = values.std(axis=0, ddof=min(1, len(values) - 1))
                shade = color(9 if kind == "nothing" else number)
                style = {"color": shade, "marker": "o", "markersize": 3, "capsize": 2}
                style |= {"label": kind, "ls": ":" if kind == "nothing" else "-"}
                ax.errorbar(positions, values.mean(axis=0), deviation, **style)
                spread = (report.mean_and_deviation(v, digits=3) for v in values.T)
                rows.append((task, kind, *spread))
            ax.set(ylabel=f"accuracy, {task}")
        legend = {"title": "trained on", "alignment": "left", "ncols": 3}
        axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), **legend)
        axes[-1].set_xticks(positions, names)
    figure = Figure(path, "Test accuracy of a linear probe on the mean of each map.")
    return Section(title, text, [figure], Table(("task of the probe", "trained on", *names), rows))


def write_report(
    config: Config, out: Path, tasks: Tasks, sections: list[Section], numbers: dict[str, float]
) -> None:
    """Writes `report.html`."""
    images = []
    for name, task in tasks.items():
        _, rows = np.unique(task.test["labels"], return_index=True)  # one of each class
        shown = report.sheet(task.test["image"][rows[:10]], columns=10, width=48)
        images.append(Figure(shown, f"{name}: {', '.join(task.classes[:10])}."))
    report.page(
        out / "report.html",
        title="What features serve which task",
        summary="The accuracy of a linear classifier is higher on the maps of its own task's "
        f"network than on those of another task's by {numbers['first_gap']:.3f} at the first "
        f"convolution, and by {numbers['last_gap']:.3f} at the last.",
        numbers={
            "gap to the own network, first map": numbers["first_gap"],
            "gap to the own network, last map": numbers["last_gap"],
            "gain on no training, first map": numbers["first_gain"],
        },
        sections=[
            *sections,
            Section("Images", "Test images, one of each class.", figures=images),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
