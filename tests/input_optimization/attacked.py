"""Networks and independent attacks in NumPy, with gradients written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

CLASSES = 5


def linear(weights, x):
    return x.reshape(len(x), -1) @ weights


def tanh_network(params, x):
    hidden = jnp.tanh(x.reshape(len(x), -1) @ params["first"])
    return hidden @ params["second"]


def make_linear(seed=0, *, inputs=12, dtype=np.float32):
    weights = np.random.default_rng(seed).normal(size=(inputs, CLASSES))
    return Partial(linear, jnp.asarray(weights, dtype))


def make_network(seed=0, *, inputs=12, dtype=np.float32):
    rng = np.random.default_rng(seed)
    params = {
        "first": rng.normal(size=(inputs, 16)) / inputs**0.5,
        "second": rng.normal(size=(16, CLASSES)),
    }
    return Partial(tanh_network, jax.tree.map(lambda p: jnp.asarray(p, dtype), params))


def make_inputs(seed=0, *, count=8, shape=(12,), dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(count, *shape)).astype(dtype)


def answers(logits_fn, x):
    return np.asarray(logits_fn(jnp.asarray(x))).argmax(axis=1).astype(np.int32)


def hand_logits(params, x):
    return np.tanh(x @ params["first"]) @ params["second"]


def hand_gradient(params, x, labels):
    """Of the cross-entropy of a network of one hidden layer: back through softmax and tanh."""
    hidden = np.tanh(x @ params["first"])
    logits = hidden @ params["second"]
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    delta = share / share.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]
    return ((delta @ params["second"].T) * (1 - hidden**2)) @ params["first"].T


def hand_margin(logits, labels, targeted):
    own = logits[np.arange(len(labels)), labels]
    rest = np.where(np.eye(logits.shape[1], dtype=bool)[labels], -np.inf, logits).max(axis=1)
    return rest - own if targeted else own - rest


def hand_pgd(params, x, labels, *, epsilon, step_size, steps, norm, targeted):
    """Projected gradient descent from x as one writes it on paper, for one example at a time."""
    best, lowest = x.copy(), np.full(len(x), np.inf)
    for i in range(len(x)):
        at, label = x[i].copy(), labels[i : i + 1]
        for number in range(steps + 1):
            margin = hand_margin(hand_logits(params, at[None]), label, targeted)[0]
            if margin < lowest[i]:
                lowest[i], best[i] = margin, at
            if number == steps:
                break
            gradient = hand_gradient(params, at[None], label)[0] * (-1 if targeted else 1)
            if norm == "linf":
                delta = at + step_size * np.sign(gradient) - x[i]
                delta = np.clip(delta, -epsilon, epsilon)
            else:
                delta = at + step_size * gradient / np.linalg.norm(gradient) - x[i]
                delta = delta * min(1, epsilon / np.linalg.norm(delta))
            at = np.clip(x[i] + delta, 0, 1)
    return best


def sizes(x, center, norm):
    delta = np.asarray(x, np.float64) - np.asarray(center, np.float64)
    delta = delta.reshape(len(delta), -1)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    return np.linalg.norm(delta, ord=order, axis=1)
