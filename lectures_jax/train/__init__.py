"""Training: a learner, the only loop around it, what it leaves on disk, and evaluation."""

from lectures_jax.train.adversarial import Player, adversarial
from lectures_jax.train.descent import descent, make_step
from lectures_jax.train.diagnosis import NonFiniteError
from lectures_jax.train.evaluation import evaluate, predict
from lectures_jax.train.fit import fit, fit_adversarial
from lectures_jax.train.learner import (
    Learner,
    average,
    compile_step,
    split_key,
    update,
)
from lectures_jax.train.mesh import make_mesh, use_mesh
from lectures_jax.train.run import run
from lectures_jax.train.state import TrainState, assemble, buffers_of, init, rebuild
from lectures_jax.train.stopping import Stopped

__all__ = [
    "Learner",
    "NonFiniteError",
    "Player",
    "Stopped",
    "TrainState",
    "adversarial",
    "assemble",
    "average",
    "buffers_of",
    "compile_step",
    "descent",
    "evaluate",
    "fit",
    "fit_adversarial",
    "init",
    "make_mesh",
    "make_step",
    "predict",
    "rebuild",
    "run",
    "split_key",
    "update",
    "use_mesh",
]
