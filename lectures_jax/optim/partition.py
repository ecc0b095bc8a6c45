"""One optimizer for each part of a network: freezing and fine-tuning."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax


def by_path(
    choose: Callable[[str], str], transforms: Mapping[str, optax.GradientTransformation]
) -> optax.GradientTransformation:
    """Returns a transformation that updates each parameter by the one chosen for its path.

    For a frozen part it is `optax.set_to_zero()`. Freeze its batch normalization too, which
    otherwise goes on averaging: `model.stem = nnx.view(model.stem, use_running_average=True)`.

    Args:
        choose: function from a parameter's path, such as `"stages/0/1/conv/kernel"`, to a name in
            `transforms`.
        transforms: transformations by name.

    Raises:
        ValueError: when `choose` returns a name that is not in `transforms`.

    Source:
        Yosinski et al. (2014), sec. 2; other rates for other layers: Howard & Ruder (2018),
        sec. 3.2.
    """

    def name(path: tuple, _: Any) -> str:
        chosen = choose(jax.tree_util.keystr(path, simple=True, separator="/"))
        if chosen not in transforms:
            raise ValueError(f"choose must return one of {sorted(transforms)}, got {chosen!r}.")
        return chosen

    return optax.partition(
        {**transforms}, lambda params: jax.tree_util.tree_map_with_path(name, params)
    )
