"""A university deep-learning course in JAX.

Call functions through their layer (`from lectures_jax import ops, losses, metrics, train`) and
import classes from their file (`from lectures_jax.models.yolo import Yolo`). This module imports
nothing, so that importing it starts no device.
"""

__version__ = "0.1.0"
