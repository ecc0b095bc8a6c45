"""Training: one pure step, the loop around it, what it leaves on disk, and evaluation."""

from lectures_jax.train.adversarial import Player, fit_adversarial, make_adversarial_step
from lectures_jax.train.cpu import keep_memory, threaded_convolutions
from lectures_jax.train.diagnosis import NonFiniteError
from lectures_jax.train.environment import environment
from lectures_jax.train.evaluation import evaluate, predict
from lectures_jax.train.loop import fit
from lectures_jax.train.signals import Stopped
from lectures_jax.train.state import TrainState, init, rebuild
from lectures_jax.train.step import make_step

__all__ = [
    "NonFiniteError",
    "Player",
    "Stopped",
    "TrainState",
    "environment",
    "evaluate",
    "fit",
    "fit_adversarial",
    "init",
    "keep_memory",
    "make_adversarial_step",
    "make_step",
    "predict",
    "rebuild",
    "threaded_convolutions",
]
