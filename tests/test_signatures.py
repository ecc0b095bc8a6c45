"""Public functions look alike: key, arrays, then hyperparameters by keyword; and a docstring."""

import importlib
import inspect
import re
from pathlib import Path

import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float

import lectures_jax
from lectures_jax.typing import Key

LAYERS = ["ops", "losses", "metrics", "optim", "objectives", "input_optimization", "data", "train"]
LAYERS += ["report", "weights"]
FOLDER = Path(lectures_jax.__file__).parent / "recipes"
ARRAY_FIRST = ("ops", "losses", "metrics")
ZERO = jnp.zeros(())
# Plain geometry, nobody's result.
WITHOUT_SOURCE = {
    *("box_area", "clip_boxes", "iou", "pairwise_iou"),
    *("cxcywh_to_xyxy", "xyxy_to_cxcywh", "xywh_to_xyxy", "xyxy_to_xywh"),
}


def functions(layer):
    module = importlib.import_module(f"lectures_jax.{layer}")
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value) and not inspect.isclass(value):
            yield pytest.param(layer, inspect.unwrap(value), id=f"{layer}.{name}")


def recipe_functions():
    """Public functions of recipes, which are called through their file: `vae.train`."""
    for file in sorted(FOLDER.glob("[!_]*.py")):
        module = importlib.import_module(f"lectures_jax.recipes.{file.stem}")
        for name, value in vars(module).items():
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            if own and not name.startswith("_"):
                yield pytest.param("recipes", value, id=f"recipes.{file.stem}.{name}")


PUBLIC = [case for layer in LAYERS for case in functions(layer)]
RECIPES = list(recipe_functions())


@pytest.mark.parametrize(("layer", "function"), PUBLIC)
def test_a_key_comes_first(layer, function):
    if layer == "objectives":
        return  # (model, batch, key) is the type of an objective
    names = list(inspect.signature(function).parameters)
    assert "key" not in names[1:]
    assert not {"rng", "seed_key", "prng"} & set(names)


@pytest.mark.parametrize(("layer", "function"), [c for c in PUBLIC if c.values[0] in ARRAY_FIRST])
def test_hyperparameters_are_by_keyword_and_only_arrays_are_not(layer, function):
    kinds = inspect.Parameter
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not kinds.KEYWORD_ONLY:
            required = parameter.default is kinds.empty or parameter.default is None
            assert required, f"{parameter.name} has a default"
            scalar = parameter.annotation in (int, float, bool, str)
            assert not scalar, f"{parameter.name} is a hyperparameter: keyword-only"
    hints = [p.annotation for p in inspect.signature(function).parameters.values()]
    assert kinds.empty not in hints, "every parameter is annotated"


@pytest.mark.parametrize(("layer", "function"), PUBLIC + RECIPES)
def test_a_docstring_says_what_comes_back_and_explains_each_argument(layer, function):
    text = inspect.getdoc(function)
    assert text, "no docstring"
    first = text.splitlines()[0]
    assert first.endswith((".", "?")), f"the first line is a sentence, got {first!r}"
    parameters = inspect.signature(function).parameters
    if parameters:
        assert "Args:" in text, "no Args"
    section = text.split("Args:", 1)[-1]
    missing = [name for name in parameters if not re.search(rf"\b{re.escape(name)}\b", section)]
    assert not missing, f"Args do not explain {missing}"
    says = "Returns:" in text or re.match(r"\w+s\b", first)
    assert says, "neither its first line nor Returns says what comes back"


@pytest.mark.parametrize(("layer", "function"), [c for c in PUBLIC if c.values[0] in ARRAY_FIRST])
def test_ops_losses_and_metrics_name_their_source(layer, function):
    if function.__name__ in WITHOUT_SOURCE:
        return
    text = inspect.getdoc(function) or ""
    assert "Source:" in text, "no Source"
    assert re.search(r"\d{4}|COCO|Darknet|torch", text.split("Source:")[1]), "no author and year"


def test_the_layers_have_public_functions():
    assert {case.values[0] for case in PUBLIC} == set(LAYERS)
    assert RECIPES


@pytest.mark.parametrize("kind", ["vae", "gan", "flow", "diffusion"])
def test_a_generative_recipe_has_what_experiments_and_the_command_line_call(kind):
    module = importlib.import_module(f"lectures_jax.recipes.{kind}")
    assert list(inspect.signature(module.with_defaults).parameters) == ["settings", "kind"]
    assert list(inspect.signature(module.train).parameters)[:3] == ["settings", "splits", "out"]
    parameters = list(inspect.signature(module.sample).parameters)
    assert parameters == ["model", "settings", "key", "count"]


def key_last(x: Float[Array, " n"], key: Key) -> Float[Array, " n"]:
    """Returns x."""
    return x


def scale_by_position(x: Float[Array, " n"], scale: float) -> Float[Array, " n"]:
    """Returns x.

    Args:
        x: input.
    """
    return x


def default_by_position(x: Float[Array, " n"], offset: Float[Array, ""] = ZERO):
    """Offset values

    Args:
        x: input.
        offset: added.

    Source:
        an old book.
    """
    return x + offset


@pytest.mark.parametrize(
    ("test", "function", "message"),
    [
        (test_a_key_comes_first, key_last, "key"),
        (
            test_hyperparameters_are_by_keyword_and_only_arrays_are_not,
            scale_by_position,
            "scale is a hyperparameter",
        ),
        (
            test_hyperparameters_are_by_keyword_and_only_arrays_are_not,
            default_by_position,
            "offset has a default",
        ),
        (test_a_docstring_says_what_comes_back_and_explains_each_argument, key_last, "no Args"),
        (
            test_a_docstring_says_what_comes_back_and_explains_each_argument,
            scale_by_position,
            "do not explain",
        ),
        (
            test_a_docstring_says_what_comes_back_and_explains_each_argument,
            default_by_position,
            "is a sentence",
        ),
        (test_ops_losses_and_metrics_name_their_source, key_last, "no Source"),
        (test_ops_losses_and_metrics_name_their_source, default_by_position, "no author and year"),
    ],
)
def test_a_fault_is_noticed(test, function, message):
    with pytest.raises(AssertionError, match=message):
        test("ops", function)
