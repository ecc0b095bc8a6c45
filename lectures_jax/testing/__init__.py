"""How pure array functions are tested, this library's and yours: a contract, inputs, and laws.

    from lectures_jax.testing import check_op
    check_op(my_op, (x, kernel), edges=[(zeros, kernel)])

`lectures_jax.testing.strategies` draws inputs by hypothesis, `lectures_jax.testing.properties`
runs a law under chex's variants. These two need the extra "test", the contract needs neither.
"""

from lectures_jax.testing._compiling import count_traces
from lectures_jax.testing.contract import check_op

__all__ = ["check_op", "count_traces"]
