"""`python -m lectures_jax` is `ljx`."""

import sys

from lectures_jax.cli import main

sys.exit(main())
