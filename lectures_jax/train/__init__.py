"""Training: one pure step, the loop around it, what it leaves on disk, and evaluation."""

from lectures_jax.train.adversarial import Player, fit_adversarial, make_adversarial_step
from lectures_jax.train.diagnosis import NonFiniteError
from lectures_jax.train.evaluation import evaluate, predict
from lectures_jax.train.loop import Stopped, fit
from lectures_jax.train.state import TrainState, init, rebuild
from lectures_jax.train.step import make_step

__all__ = [
    "NonFiniteError",
    "Player",
    "Stopped",
    "TrainState",
    "evaluate",
    "fit",
    "fit_adversarial",
    "init",
    "make_adversarial_step",
    "make_step",
    "predict",
    "rebuild",
]
