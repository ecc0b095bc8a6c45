import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lectures_jax import optim

PARAMS = {"stages": [{"kernel": jnp.ones(2)}, {"kernel": jnp.ones(2)}], "head": jnp.ones(3)}


def choose(path: str) -> str:
    if path.startswith("stages/0"):
        return "frozen"
    return "slow" if path == "stages/1/kernel" else "fast"


def test_each_part_moves_at_its_own_rate():
    transforms = {
        "frozen": optax.set_to_zero(),
        "slow": optim.gradient_descent(0.1),
        "fast": optim.gradient_descent(1.0),
    }
    optimizer = optim.by_path(choose, transforms)
    grads = {
        "stages": [{"kernel": jnp.full(2, 2.0)}, {"kernel": jnp.full(2, 2.0)}],
        "head": jnp.full(3, 2.0),
    }
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(updates["stages"][0]["kernel"], 0)
    np.testing.assert_allclose(updates["stages"][1]["kernel"], -0.2, rtol=1e-6)
    np.testing.assert_allclose(updates["head"], -2, rtol=1e-6)


def test_a_name_without_an_optimizer_is_refused():
    optimizer = optim.by_path(choose, {"frozen": optax.set_to_zero()})
    with pytest.raises(ValueError, match="choose must return one of \\['frozen'\\], got 'fast'"):
        optimizer.init({"head": jnp.ones(3)})
