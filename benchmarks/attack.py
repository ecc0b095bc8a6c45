"""PGD with 40 steps on 250 images against foolbox, torchattacks and ART, in one process.

A plain CNN of 28×28 gray images with the same random parameters everywhere, ε = 0.1, steps of
0.005, from the images themselves, in one batch. Foolbox runs on our own network in JAX and on
PyTorch's; the others run on PyTorch's. Ours also keeps the best of all steps.

    python -m benchmarks.attack [--repeats 5]

Beside what `make bench` installs it needs `pip install foolbox==3.3.4` and, since they ask for
older libraries, `pip install --no-deps torchattacks adversarial-robustness-toolbox`.
"""

# pyright: reportMissingImports=false
# The peers are installed by hand.

import argparse

import foolbox
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torchattacks
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from flax import nnx
from torch import nn

from benchmarks.common import compare, save
from lectures_jax import input_optimization, losses
from lectures_jax.models.cnn import Cnn

IMAGES, STEPS, EPSILON, STEP, CLASSES = 250, 40, 0.1, 0.005, 10
CHANNELS = ((32,), (64, 64), (128, 128))


def torch_network(model):
    """The same network in PyTorch, with the same parameters."""
    layers, width = [], 1
    for number, stage in enumerate(model.stages):
        layers += [nn.MaxPool2d(2)] if number else []
        for ours, channels in zip(stage, CHANNELS[number], strict=True):
            conv, norm = nn.Conv2d(width, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
            kernel = np.transpose(np.asarray(ours.conv.kernel[...]), (3, 2, 0, 1)).copy()
            conv.weight.data = torch.from_numpy(kernel)
            norm.eps = ours.norm.epsilon
            layers += [conv, norm, nn.ReLU()]
            width = channels
    last = nn.Linear(width, CLASSES)
    last.weight.data = torch.from_numpy(np.asarray(model.classify.kernel[...]).T.copy())
    last.bias.data = torch.from_numpy(np.asarray(model.classify.bias[...]).copy())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval()


def attacks(model, network, x, labels):
    """Thunks that return the attacked images, [n, h, w, c], by library."""
    images = torch.from_numpy(np.transpose(x, (0, 3, 1, 2)).copy())
    targets = torch.from_numpy(labels.astype(np.int64))
    options = {"steps": STEPS, "abs_stepsize": STEP, "random_start": False}
    key, jit = jax.random.key(0), jax.jit(model)
    in_jax = foolbox.JAXModel(jit, bounds=(0, 1))
    in_torch = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfProjectedGradientDescentAttack(**options)
    alone = torchattacks.PGD(network, eps=EPSILON, alpha=STEP, steps=STEPS, random_start=False)
    estimator = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), x.shape[1:], CLASSES, clip_values=(0, 1), device_type="cpu"
    )
    art = ProjectedGradientDescent(
        estimator,
        eps=EPSILON,
        eps_step=STEP,
        max_iter=STEPS,
        batch_size=IMAGES,
        verbose=False,
    )
    x_jax, y_jax = jnp.asarray(x), jnp.asarray(labels)
    budget = {"epsilon": EPSILON, "step_size": STEP, "steps": STEPS, "random_start": False}

    def last(images):
        return np.transpose(images.detach().numpy(), (0, 2, 3, 1))

    return {
        "lectures_jax": lambda: input_optimization.pgd(key, model, x_jax, y_jax, **budget),
        "foolbox, JAX": lambda: attack.run(in_jax, x_jax, y_jax, epsilon=EPSILON),
        "foolbox, torch": lambda: last(attack.run(in_torch, images, targets, epsilon=EPSILON)),
        "torchattacks": lambda: last(alone(images, targets)),
        "ART": lambda: np.transpose(
            art.generate(images.numpy(), np.eye(CLASSES, dtype=np.float32)[labels]), (0, 2, 3, 1)
        ),
    }


def check(model, functions, x, labels):
    """Refuses to measure attacks that do not raise the loss alike, or leave the ball."""
    raised = {}
    for name, function in functions.items():
        images = jnp.asarray(np.asarray(function()))
        if float(jnp.max(jnp.abs(images - x))) > EPSILON * (1 + 1e-5):
            raise AssertionError(f"{name} leaves the ball.")
        raised[name] = float(jnp.mean(losses.cross_entropy(model(images), jnp.asarray(labels))))
    np.testing.assert_allclose(list(raised.values()), raised["lectures_jax"], rtol=0.01)


def measure(*, repeats: int) -> dict:
    """Returns the row."""
    model = Cnn(CLASSES, channels=CHANNELS, inputs=1, rngs=nnx.Rngs(0))
    model = nnx.view(model, use_running_average=True)
    x = np.random.default_rng(0).random((IMAGES, 28, 28, 1), dtype=np.float32)
    network = torch_network(model)
    logits = network(torch.from_numpy(np.transpose(x, (0, 3, 1, 2)).copy())).detach().numpy()
    np.testing.assert_allclose(model(jnp.asarray(x)), logits, atol=1e-4)
    labels = logits.argmax(axis=1).astype(np.int32)
    functions = attacks(model, network, x, labels)
    check(model, functions, x, labels)
    times = compare(functions, repeats=repeats)
    fastest = min(value for name, value in times.seconds.items() if name != "lectures_jax")
    row = {"case": f"PGD-{STEPS}, {IMAGES} images", **times.seconds}
    return row | {"ratio": times.seconds["lectures_jax"] / fastest, **times.conditions()}


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description="PGD in five libraries.")
    parser.add_argument("--repeats", type=int, default=5)
    row = measure(repeats=parser.parse_args().repeats)
    for name, value in row.items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    print(save("attack", [row]))


if __name__ == "__main__":
    main()
