"""One family of models each, trained the usual way: settings and data in, a trained model out."""

from lectures_jax import _lazy_files

__getattr__, __dir__ = _lazy_files(__name__)
