"""Flax blocks smaller than a network; import them from their files.

`nn.residual` is imported when it is used, and `dir(nn)` lists the files.
"""

from lectures_jax import _lazy_files

__getattr__, __dir__ = _lazy_files(__name__)
