"""Arguments are checked against their annotations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.testing import count_traces
from lectures_jax.typing import check_count, check_positive, check_range, checked, is_typed_key


@checked
def op(
    x: Float[Array, "*b c"],
    labels: Int[Array, "*b"] | None = None,
    *,
    mask: Bool[Array, " c"] | None = None,
    scale: Float[Array, ""] | float = 1.0,
    k: int = 3,
    weights: Float[Array, " {k}"] | None = None,
) -> Float[Array, "*b"]:
    return scale * x.sum(-1)


X = jnp.ones((4, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"x": jnp.ones((4, 3), jnp.int32)},
            r"op: x must be floats of shape \(\*b, c\), got int32\[4,3\]\.",
        ),
        ({"x": jnp.ones(())}, r"x must be floats of shape \(\*b, c\), got float32\[\]"),
        ({"x": [[1.0]]}, r"x must be floats .*, got list"),
        (
            {"x": X, "labels": jnp.ones((4, 1), jnp.int32)},
            r"labels must be integers of shape \(\*b\) beside x float32\[4,3\], got int32\[4,1\]",
        ),
        ({"x": X, "labels": jnp.ones(4)}, "labels must be integers .*, got float32"),
        ({"x": X, "mask": jnp.ones(3)}, "mask must be booleans"),
        ({"x": X, "weights": jnp.ones(4)}, r"weights must be floats of shape \(3\)"),
        (
            {"x": X, "scale": jnp.ones(2)},
            r"scale must be floats of shape \(\) beside .*, got",
        ),
    ],
)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_wrong_shape_or_dtype_is_refused(arguments, message, wrap):
    if wrap is jax.jit and isinstance(arguments["x"], list):
        pytest.skip("jit itself turns a list into its entries")
    with pytest.raises(ValueError, match=message):
        wrap(op)(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": np.ones((4, 3), np.float32), "labels": np.ones(4, np.uint8)},
        {"x": X.astype(jnp.bfloat16), "labels": None, "scale": 2},
        {"x": X, "weights": jnp.ones(2), "k": 2},
        {"x": jnp.ones((0, 3)), "labels": jnp.ones(0, jnp.int32)},
    ],
)
def test_what_the_annotations_allow_passes(arguments):
    assert op(**arguments).shape == arguments["x"].shape[:-1]


def test_under_vmap_the_axes_of_one_example_count():
    labels = jnp.ones((4, 5), jnp.int32)
    assert jax.vmap(op)(jnp.ones((4, 5, 3)), labels).shape == (4, 5)
    with pytest.raises(ValueError, match="labels"):
        jax.vmap(op, in_axes=(None, 0))(jnp.ones((4, 5, 3)), labels)


def test_a_compiled_program_holds_nothing_of_the_check():
    texts = [jax.jit(fn).lower(X).as_text() for fn in (op, op.__wrapped__)]
    assert texts[0].replace("@call", "@op") == texts[1] or texts[0] == texts[1]
    compiled = jax.jit(op)
    compiled(X)
    with count_traces() as traces:
        compiled(X)
    assert not traces


def test_what_passed_once_says_nothing_of_other_shapes_values_or_names():
    labels = jnp.ones(4, jnp.int32)
    for _ in range(2):
        op(X, labels)
        op(X, weights=jnp.ones(2), k=2)
        for wrong in ({"labels": labels[:3]}, {"weights": jnp.ones(2)}, {"mask": jnp.ones(3)}):
            with pytest.raises(ValueError, match="op: "):
                op(X, **wrong)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_range(x=1.5, low=0, high=1), r"x must be in \[0, 1\], got 1\.5\."),
        (lambda: check_range(x=-1, low=0), r"x must be at least 0, got -1\."),
        (lambda: check_range(y=1, x=float("nan"), low=0), r"x must be at least 0, got nan\."),
        (lambda: check_positive(x=0.0), r"x must be positive, got 0\.0\."),
        (lambda: check_positive(x=float("nan")), r"x must be positive, got nan\."),
        (lambda: check_count(x=0), r"x must be at least 1, got 0\."),
        (lambda: check_count(x=2.0), r"x must be an integer of at least 1, got 2\.0\."),
        (lambda: check_count(x="2", low=0), r"x must be an integer of at least 0, got '2'\."),
        (
            lambda: jax.jit(lambda x: check_count(x=x, low=2))(3),
            r"x must be an integer of at least 2, got a traced value\.",
        ),
    ],
)
def test_numbers_out_of_range_are_named(check, message):
    with pytest.raises(ValueError, match=message):
        check()


def test_what_is_not_given_or_not_known_passes():
    check_range(x=None, low=0)
    check_positive(x=None, y=3)
    check_count(x=None, y=np.int64(3), low=2)
    jax.eval_shape(lambda x: check_range(x=x, low=0) or check_positive(x=x), -1.0)


def test_keys_are_typed_but_for_those_of_two_integers():
    key = jax.random.key(0)
    assert is_typed_key(key)
    assert is_typed_key(jax.random.split(key))
    assert is_typed_key(jax.eval_shape(lambda: jax.random.key(0, impl="rbg")))
    assert not is_typed_key(jax.random.PRNGKey(0))
    assert not is_typed_key(np.zeros(2))
