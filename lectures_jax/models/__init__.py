"""Flax networks, one file each; import them from their files.

`models.yolo` is imported when it is used, and `dir(models)` lists the files.
"""

from lectures_jax import _lazy_files

__getattr__, __dir__ = _lazy_files(__name__)
