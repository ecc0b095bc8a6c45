"""What the experiments of the first two chapters state, on sizes that a moment is enough for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.mlp import Mlp
from tests.test_experiments import ROOT, load


def experiment(name: str):
    """The file of an experiment as a module, loaded once."""
    return load(ROOT / "experiments" / f"{name}.py")


@pytest.fixture(scope="module")
def perceptron():
    return experiment("ch1_expressivity/perceptron")


@pytest.fixture(scope="module")
def approximation():
    return experiment("ch1_expressivity/universal_approximation")


@pytest.fixture(scope="module")
def depth_width():
    return experiment("ch1_expressivity/depth_width")


@pytest.fixture(scope="module")
def backprop():
    return experiment("ch2_training/backprop")


def test_circuits_of_nand_compute_xor_and_add(perceptron):
    a, b, carry = np.indices((2, 2, 2)).reshape(3, -1).astype(np.float32)
    np.testing.assert_array_equal(perceptron.xor(a, b), a != b)
    digit, carry_out = perceptron.full_adder(a, b, carry)
    np.testing.assert_array_equal(2 * carry_out + digit, a + b + carry)
    assert perceptron.adder_errors(3) == 0


def test_a_wrong_gate_is_counted_by_the_adder_s_errors(perceptron, monkeypatch):
    monkeypatch.setattr(perceptron, "nand", lambda a, b: jnp.maximum(1 - a, 1 - b) * a)
    perceptron.add.clear_cache()
    assert perceptron.adder_errors(2) > 0
    perceptron.add.clear_cache()


def test_exactly_xor_and_its_complement_have_no_separator(perceptron):
    corners = perceptron.CORNERS
    without = {
        truth
        for truth in np.ndindex(2, 2, 2, 2)
        if perceptron.separator(corners, np.array(truth)) is None
    }
    assert without == {(0, 1, 1, 0), (1, 0, 0, 1)}
    weights = perceptron.separator(corners, np.array([0, 0, 0, 1]))
    values = np.column_stack([corners, np.ones(4)]) @ weights
    assert np.all(values * [-1, -1, -1, 1] >= 1 - 1e-9)


def test_a_constructed_network_is_as_near_as_a_step_function_of_its_cells(approximation):
    """Half of the function's change within one cell: 1/n, with the steepest derivative."""
    points = jnp.linspace(0, 1, 4001)
    exact = approximation.target(points)
    steepest = float(jnp.max(jnp.abs(jnp.diff(exact)))) * 4000
    errors = []
    for width in (32, 128):
        error = float(jnp.max(jnp.abs(approximation.built(width)(points) - exact)))
        # At an edge the sigmoid is half way between two values, each half a cell's change away.
        assert error <= 0.5 * steepest / (width + 1) * 1.05
        errors.append(error)
    rate = np.log(errors[1] / errors[0]) / np.log(4)
    assert -1.15 < rate < -0.85


def test_a_constructed_network_goes_through_the_middle_of_each_cell(approximation):
    middles = (jnp.arange(33) + 0.5) / 33
    np.testing.assert_allclose(
        approximation.built(32)(middles), approximation.target(middles), atol=2e-4
    )


def test_training_comes_nearer_than_the_start(approximation):
    points = jnp.linspace(0, 1, 257)
    errors = []
    for steps in (1, 300):
        config = approximation.Config(steps=steps)
        run = jax.jit(partial(approximation.trained, width=16, config=config, points=points))
        errors.append(jnp.max(jnp.abs(run(jax.random.key(0)) - approximation.target(points))))
    assert errors[1] < 0.5 * errors[0]


def triangle(x: np.ndarray, teeth: int) -> np.ndarray:
    """So many teeth on [0, 1], from the distance to the nearest even number."""
    return np.abs((2 * teeth * x + 1) % 2 - 1)


def test_each_layer_doubles_the_teeth(depth_width):
    x = np.linspace(0, 1, 257)
    for layers in range(1, 7):
        values = np.asarray(depth_width.sawtooth(jnp.asarray(x), layers))
        np.testing.assert_allclose(values, triangle(x, 2 ** (layers - 1)), atol=1e-6)
        assert depth_width.pieces(values) == 2**layers


def test_pieces_by_hand(depth_width):
    assert depth_width.pieces(np.array([0.0, 1, 2, 3])) == 1
    assert depth_width.pieces(np.array([0.0, 1, 2, 1, 0, 0])) == 3


def test_a_shallow_network_has_a_region_more_than_kinks_and_never_more_than_units(depth_width):
    model = Mlp((1, 2, 1), rngs=nnx.Rngs(0))
    model.layers[0].kernel = nnx.Param(jnp.ones((1, 2)))
    model.layers[0].bias = nnx.Param(jnp.array([-0.26, -0.74]))
    assert depth_width.regions(model) == 3
    for seed in range(3):
        shallow = depth_width.initial(jax.random.key(seed), 3, "shallow", 0.0)
        assert 1 < depth_width.regions(shallow) <= shallow.layers[0].kernel.shape[1] + 1


def test_deep_and_shallow_have_about_as_many_parameters(depth_width):
    near = "deep, start near the solution"
    pair = [depth_width.initial(jax.random.key(0), 4, start, 0.0) for start in ("shallow", near)]
    shallow, deep = (sum(x.size for x in jax.tree.leaves(nnx.state(model))) for model in pair)
    assert deep - 3 < shallow <= deep


def test_a_network_of_one_piece_has_one_region(depth_width):
    model = Mlp((1, 4, 1), rngs=nnx.Rngs(0))
    model.layers[0].bias = nnx.Param(jnp.full(4, 9.0))
    assert depth_width.regions(model) == 1


def test_a_linear_network_s_error_falls_by_the_factor_of_its_weights(backprop):
    """Orthogonal weights times 1/2 halve the error at every layer, exactly."""
    norms = 0.5 ** np.arange(6)[::-1]
    measured, predicted = backprop.rates(norms, np.full(6, 0.5))
    assert measured == pytest.approx(np.log10(0.5))
    assert predicted == pytest.approx(np.log10(0.5))


def test_errors_vanish_at_the_predicted_rates_and_he_s_weights_keep_them(backprop):
    config = backprop.Config(depth=12, width=64, examples=32, networks=1)
    keys = jax.random.split(jax.random.key(0), config.networks)
    decays = {
        name: backprop.decay(keys, backprop.KINDS[name], config)
        for name in ("sigmoid, Glorot", "ReLU, Glorot", "ReLU, He")
    }
    for decay in decays.values():
        assert decay.measured == pytest.approx(decay.predicted, abs=0.04)
    # The derivative of a sigmoid is at most a quarter, half of the rectifiers have none.
    assert decays["sigmoid, Glorot"].measured < np.log10(0.25) + 0.02
    assert decays["ReLU, Glorot"].measured == pytest.approx(np.log10(0.5) / 2, abs=0.04)
    assert abs(decays["ReLU, He"].measured) < 0.04


def test_backpropagation_by_hand_is_that_of_jax(backprop):
    config = backprop.Config(depth=2)
    assert backprop.agreement("float64", config) < 1e-12
