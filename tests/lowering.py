"""Whether a training's step can be lowered for accelerators, without owning one."""

import jax

from lectures_jax.train.session import Session


def lower_for_accelerators(session: Session, batch: dict) -> None:
    """Lowers the compiled step for CUDA and TPU; raises where it holds what is for a CPU alone.

    Its trace is the one that has been made already.
    """
    arguments = session.state, session.failed_batch, batch, session.fixed
    shapes = jax.tree.map(jax.typeof, arguments)
    specs = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type), shapes
    )
    session._compiled.trace(*specs).lower(lowering_platforms=("cuda", "tpu"))
