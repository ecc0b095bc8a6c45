"""Small changes fool a classifier, and training on them helps. CPU, 5 min; robust accuracy 0.76.

Two plain networks and an adversarially trained one classify digits; the test images are attacked.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx

from lectures_jax import (
    data,
    input_optimization,
    objectives,
    optim,
    report,
    runtime,
    train,
    weights,
)
from lectures_jax.models.cnn import Cnn
from lectures_jax.recipes.classifier import accuracy, probabilities
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.train.history import Row
from lectures_jax.typing import Batch

TINY = {
    **{"steps": 2, "channels": 2, "batch_size": 4, "images": 6, "attack_steps": 2},
    **{"queries": 4, "nearest_steps": 2},
}
EXPECTED = {"plain_accuracy": (0.97, None), "robust_gain": (0.3, None)}
NEAREST = 100  # images whose nearest wrong neighbor is looked for
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # of epsilon, along the curve


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    epsilon: float = 0.1
    """largest change of a pixel, which is in [0, 1]"""
    channels: int = 16
    """of the first convolution; the second has twice, the third four times as many"""
    steps: int = 600
    """training steps of each network"""
    batch_size: int = 64
    """images per step"""
    learning_rate: float = 6e-3
    """highest of Adam's one-cycle schedule"""
    defence_steps: int = 7
    """of the attack inside of each step of the adversarial training"""
    images: int | None = None
    """test images that are attacked; None: all"""
    attack_steps: int = 100
    """of gradient attacks within a budget"""
    nearest_steps: int = 100
    """of the search for the nearest image, for each of its weights"""
    queries: int = 1000
    """of the Square attack for each image, at most"""
    seed: int = 0
    """of networks, order and attacks"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains the networks, attacks them, and writes the report."""
    splits = data.read_classified("digits")
    test = {name: values[: config.images] for name, values in splits.test.items()}
    plain, _ = train_network(config, splits, objectives.classification, out / "plain")
    other, _ = train_network(config, splits, objectives.classification, out / "other", shift=1)
    defended, history = train_network(config, splits, defence(config), out)
    networks = {"plain": plain, "plain, other seed": other, "adversarially trained": defended}
    robust = {name: measure(config, networks[name], test) for name in networks if "," not in name}
    curve = {name: by_epsilon(config, networks[name], test) for name in robust}
    crossed = transfers(config, networks, test)
    numbers = scores(robust, crossed)
    (figures := out / "figures").mkdir(exist_ok=True)
    sections = [
        curves_of(config, curve, robust, figures / "accuracy.svg"),
        images_of(config, networks, test, robust),
        transfer_table(config, crossed),
        nearest(config, networks, test),
        report.training(
            history, figures, losses=[["loss"], ["accuracy"]], scores=[["test_accuracy"]]
        ),
        report.configuration(asdict(config)),
    ]
    report.page(
        out / "report.html",
        title="Adversarial attacks on digits",
        summary=f"No pixel changes by more than {config.epsilon:g} of the range from black to "
        f"white, and each of {len(test['labels'])} test images meets every attack.",
        numbers={
            "accuracy, plain": numbers["plain_accuracy"],
            "under attack, plain": numbers["plain_robust"],
            "accuracy, adversarially trained": numbers["clean_accuracy"],
            "under attack, adversarially trained": numbers["robust_accuracy"],
        },
        sections=sections,
        footer=runtime.environment(),
    )
    return numbers


def scores(
    robust: dict[str, input_optimization.Robustness], crossed: dict[str, dict[str, float]]
) -> dict[str, float]:
    """The numbers of the run."""
    plain, defended = robust["plain"], robust["adversarially trained"]
    return {
        "plain_accuracy": plain.clean_accuracy,
        "plain_robust": plain.accuracy,
        "robust_accuracy": defended.accuracy,
        "clean_accuracy": defended.clean_accuracy,
        "robust_gain": defended.accuracy - plain.accuracy,
        "transferred": crossed["plain"]["plain, other seed"],
    }


def defence(config: Config) -> Callable:
    """The objective of adversarial training, with steps that reach across the ball."""
    attack = partial(
        input_optimization.pgd,
        epsilon=config.epsilon,
        step_size=2.5 * config.epsilon / config.defence_steps,
        steps=config.defence_steps,
    )
    return partial(objectives.adversarial_training, attack=attack)


def train_network(
    config: Config, splits: data.Splits, objective: Callable, out: Path, *, shift: int = 0
) -> tuple[Cnn, list[Row]]:
    """A network of three convolutions, also in `model.safetensors`, and its training's rows."""
    seed, width = config.seed + shift, config.channels
    height, columns, inputs = splits.train["image"].shape[1:]
    architecture = {
        "network": "cnn",
        "classes": list(splits.classes),
        "image_size": [height, columns],
        "inputs": inputs,
        "channels": [[width], [2 * width], [4 * width]],
    }
    rate = optax.cosine_onecycle_schedule(config.steps, config.learning_rate)
    model, history = train.fit(
        jax.random.key(seed),
        weights.build_model("classifier", architecture, rngs=nnx.Rngs(seed)),
        objective,
        optim.adamw_on_kernels(rate, weight_decay=0.02),
        data.batches(splits.train, batch_size=config.batch_size, seed=seed),
        steps=config.steps,
        out=out,
        ema_decay=0.99,
        augment=partial(data.augment_classification, kind="shift"),
        evaluate=lambda model: {"test_accuracy": accuracy(model, splits.test)},
        evaluate_every=max(config.steps // 4, 1),
    )
    weights.save_model(out / "model.safetensors", model, kind="classifier", settings=architecture)
    return model, history


def measure(config: Config, model: Cnn, test: Batch) -> input_optimization.Robustness:
    """Accuracy under the whole ensemble."""
    return input_optimization.robust_accuracy(
        jax.random.key(config.seed),
        model,
        test["image"],
        test["labels"],
        epsilon=config.epsilon,
        steps=config.attack_steps,
        queries=config.queries,
    )


def pgd(config: Config, model: Cnn, test: Batch, epsilon: float) -> np.ndarray:
    """The test images after an attack with a tenth of the ensemble's work."""
    steps = min(config.attack_steps, 40)
    given = (jax.random.key(config.seed), model, test["image"], test["labels"])
    size = 2.5 * epsilon / steps
    return np.asarray(input_optimization.pgd(*given, epsilon=epsilon, step_size=size, steps=steps))


def by_epsilon(config: Config, model: Cnn, test: Batch) -> dict[str, list[float]]:
    """Accuracy by attack, for each budget of the curve, and under noise of the same size."""
    x, labels = test["image"], test["labels"]
    noise = np.random.default_rng(config.seed).choice([-1.0, 1.0], x.shape)
    values: dict[str, list[float]] = {"random signs": [], "FGSM": [], "PGD": []}
    for epsilon in (config.epsilon * share for share in SHARES):
        noisy = np.clip(x + epsilon * noise, 0, 1).astype(np.float32)
        one = np.asarray(input_optimization.fgsm(model, x, labels, epsilon=epsilon))
        several = pgd(config, model, test, epsilon)
        for name, images in zip(values, (noisy, one, several), strict=True):
            values[name].append(accuracy(model, {"image": images, "labels": labels}))
    return values


def transfers(config: Config, networks: dict[str, Cnn], test: Batch) -> dict[str, dict[str, float]]:
    """Accuracy of each network on images that were made to fool each other one."""
    table = {}
    for source, model in networks.items():
        images = pgd(config, model, test, config.epsilon)
        examples = {"image": images, "labels": test["labels"]}
        table[source] = {name: accuracy(target, examples) for name, target in networks.items()}
    return table


def curves_of(
    config: Config,
    curve: dict[str, dict[str, list[float]]],
    robust: dict[str, input_optimization.Robustness],
    path: Path,
) -> Section:
    """Accuracy over epsilon, and what each attack of the ensemble leaves."""
    budgets = [config.epsilon * share for share in SHARES]
    lines = {"random signs": ":", "FGSM": "--", "PGD": "-"}
    with plot(path, height=3.4) as (ax,):
        for number, (network, values) in enumerate(curve.items()):
            for attack, accuracies in values.items():
                label, style = f"{network}: {attack}", lines[attack]
                ax.plot(budgets, accuracies, color=color(number), linestyle=style, label=label)
            ensemble = robust[network].accuracy
            ax.plot(config.epsilon, ensemble, "o", color=color(number), markersize=4)
        ax.set(xlabel="largest change of a pixel", ylabel="accuracy", ylim=(-0.02, 1.02))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    first = next(iter(robust.values()))
    rows = [("none", *(r.clean_accuracy for r in robust.values()))]
    rows += [(name, *(r.remaining[name] for r in robust.values())) for name in first.remaining]
    return Section(
        "Accuracy under attack",
        f"Each attack is on what those before it have left, at {config.epsilon:g}. Noise of the "
        "same size does little: it is the direction that fools.",
        figures=[Figure(path, "Accuracy over the budget; the dots are the whole ensemble.")],
        table=Table(("attack", *robust), rows),
    )


def images_of(
    config: Config,
    networks: dict[str, Cnn],
    test: Batch,
    robust: dict[str, input_optimization.Robustness],
) -> Section:
    """Images, what was added, and what the network then takes them for."""
    figures = []
    for name, result in robust.items():
        right = probabilities(networks[name], test["image"]).argmax(axis=1) == test["labels"]
        rows = np.flatnonzero(right & ~result.robust)[:10]
        if not len(rows):
            continue
        x, adversarial = test["image"][rows], result.inputs[rows]
        change = 0.5 + (adversarial - x) / (2 * config.epsilon)
        answers = probabilities(networks[name], adversarial).argmax(axis=1)
        sheet = report.sheet(np.concatenate([x, change, adversarial]), columns=len(rows))
        caption = f"Network: {name}. Digits, changes (gray is none) and sums, which are taken for "
        figures.append(Figure(sheet, caption + ", ".join(map(str, answers)) + "."))
    text = (
        "The plain network's changes look like noise. Those that fool the other one are coarser: "
        "they fill gaps and thin strokes."
    )
    return Section("Images that fool", text, figures=figures)


def transfer_table(config: Config, crossed: dict[str, dict[str, float]]) -> Section:
    """Accuracy by the network that was attacked and the one that answers."""
    rows = [(source, *targets.values()) for source, targets in crossed.items()]
    text = f"Accuracy on PGD's images at {config.epsilon:g}: some of what fools one fools another."
    return Section("Transfer", text, table=Table(("made for", *crossed), rows))


def nearest(config: Config, networks: dict[str, Cnn], test: Batch) -> Section:
    """How far the nearest wrong images are, by the two attacks that look for them."""
    rows, test = [], {name: values[:NEAREST] for name, values in test.items()}
    for name, model in networks.items():
        given = (model, test["image"], test["labels"])
        results = (
            input_optimization.deepfool(*given),
            input_optimization.carlini_wagner(*given, steps=config.nearest_steps),
        )
        rows.append((name, *(median_distance(x, test, model) for x in results)))
    text = (
        f"Median length of the smallest change of {len(test['labels'])} images that is known to "
        "fool each network. Images that are wrong as they are count as 0, and those that stay "
        "right as 8, the length of the change from black to white."
    )
    return Section(
        "Nearest wrong images", text, table=Table(("network", "DeepFool", "Carlini-Wagner"), rows)
    )


def median_distance(x: jax.Array, test: Batch, model: Cnn) -> float:
    """The median over the images; one that does not fool the network is at the other end."""
    images = np.asarray(x)
    change = (images - test["image"]).reshape(len(images), -1)
    wrong = probabilities(model, images).argmax(axis=1) != test["labels"]
    return float(np.median(np.where(wrong, np.linalg.norm(change, axis=1), 8.0)))
