"""Laws of dense layers and of backpropagation."""

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import losses, ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, gradient, law

X, KERNEL, BIAS = strategies.reals((5, 3)), strategies.reals((3, 4)), strategies.reals((4,))
SMALL = {"rtol": 1e-4, "atol": 1e-3}
SMALL_WEIGHTS = strategies.reals((3,), low=-0.1, high=0.1)
NAMES = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "softplus", "gelu")


def network(k1, b1, k2, b2, x):
    return ops.linear(jnp.tanh(ops.linear(x, k1, b1)), k2, b2)


def mean_squared_error(k1, b1, k2, b2, x, y):
    return jnp.mean(losses.squared_error(network(k1, b1, k2, b2, x), y))


def mean_cross_entropy(k1, b1, k2, b2, x, y):
    return jnp.mean(losses.cross_entropy(network(k1, b1, k2, b2, x), y))


def mean_binary_cross_entropy(k1, b1, k2, b2, x, y):
    return jnp.mean(jnp.sum(losses.binary_cross_entropy(network(k1, b1, k2, b2, x), y), axis=1))


def layers(k1, b1, k2, b2):
    return [{"kernel": k1, "bias": b1}, {"kernel": k2, "bias": b2}]


def pulled_linear(x, kernel, bias, delta):
    return jax.vjp(ops.linear, x, kernel, bias)[1](delta)


def convolve(x, kernel, bias):
    return ops.conv2d(x, kernel, bias, stride=2, padding=1)


def pulled_convolution(x, kernel, bias, delta):
    return jax.vjp(convolve, x, kernel, bias)[1](delta)


class DenseTest(LawTest):
    @law(x=X, y=X, kernel=KERNEL)
    def test_it_is_linear_in_the_inputs(self, x, y, kernel):
        dense = lambda inputs: self.apply(ops.linear, inputs, kernel)
        close(dense(2 * x + y), 2 * dense(x) + dense(y), **SMALL)

    @law(x=X, kernel=KERNEL, bias=BIAS)
    def test_it_is_the_weighted_sum_of_each_example(self, x, kernel, bias):
        expected = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64) + np.asarray(bias)
        close(self.apply(ops.linear, x, kernel, bias), expected.astype(np.float32), **SMALL)

    @law(x=X, weights=SMALL_WEIGHTS, bias=strategies.reals((), low=-1, high=1))
    def test_a_perceptron_answers_0_or_1_whatever_the_unit_of_its_weights(self, x, weights, bias):
        y = self.apply(ops.perceptron, x, weights, bias)
        assert jnp.all((y == 0) | (y == 1))
        equal(self.apply(ops.perceptron, x, 4 * weights, 4 * bias), y)
        sums = np.asarray(x, np.float64) @ np.asarray(weights, np.float64) + np.asarray(bias)
        clear = np.abs(sums) > 1e-3
        equal(np.where(clear, y, 0), np.where(clear, sums > 0, 0).astype(np.float32))

    @law(eager=False, x=strategies.reals((6, 3)), weights=strategies.reals((3,)))
    def test_a_perceptron_that_separates_makes_no_mistake(self, x, weights):
        answers = (x @ weights >= 0).astype(jnp.float32)
        fit = self.apply(ops.train_perceptron, x, answers, max_passes=200)
        if fit.separated:
            equal(ops.perceptron(x, fit.weights, fit.bias), answers)
        assert fit.separated | (fit.updates > 0)


class BackpropTest(LawTest):
    def compare(self, loss, reference, params, x, y):
        got = self.apply(ops.backprop, layers(*params), x, y, loss=loss)
        expected = self.apply(gradient(reference, (0, 1, 2, 3)), *params, x, y)
        close(got, layers(*expected), **SMALL)

    @law(x=X, k1=KERNEL, b1=BIAS, k2=strategies.reals((4, 2)), y=strategies.reals((5, 2)))
    def test_the_recursion_is_the_gradient_of_the_squared_error(self, x, k1, b1, k2, y):
        params = (k1 / 10, b1 / 10, k2 / 10, jnp.ones(2))
        self.compare("squared_error", mean_squared_error, params, x, y)

    @law(x=X, k1=KERNEL, b1=BIAS, k2=strategies.reals((4, 2)), y=strategies.labels(5, classes=2))
    def test_the_recursion_is_the_gradient_of_the_cross_entropy(self, x, k1, b1, k2, y):
        params = (k1 / 10, b1 / 10, k2 / 10, jnp.ones(2))
        self.compare("cross_entropy", mean_cross_entropy, params, x, y)

    @law(x=X, k1=KERNEL, b1=BIAS, k2=strategies.reals((4, 2)), y=strategies.probabilities((5, 2)))
    def test_the_recursion_is_the_gradient_of_the_binary_cross_entropy(self, x, k1, b1, k2, y):
        params = (k1 / 10, b1 / 10, k2 / 10, jnp.ones(2))
        self.compare("binary_cross_entropy", mean_binary_cross_entropy, params, x, y)

    @law(x=X, kernel=KERNEL, delta=strategies.reals((5, 4)))
    def test_a_dense_layer_passes_back_its_transpose(self, x, kernel, delta):
        back = self.apply(ops.linear_backward, x, kernel, delta)
        close(tuple(back), self.apply(pulled_linear, x, kernel, jnp.zeros(4), delta), **SMALL)

    @law(
        x=strategies.reals((2, 5, 7, 2)),
        kernel=strategies.reals((3, 3, 2, 3)),
        delta=strategies.reals((2, 3, 4, 3)),
    )
    def test_a_convolution_passes_back_its_transpose(self, x, kernel, delta):
        back = self.apply(ops.conv2d_backward, x, kernel, delta, stride=2, padding=1)
        expected = self.apply(pulled_convolution, x, kernel, jnp.zeros(3), delta)
        close(tuple(back), expected, rtol=1e-4, atol=1e-2)


def activate(name):
    return {"identity": lambda z: z, "leaky_relu": jax.nn.leaky_relu, "relu": jax.nn.relu}.get(
        name, getattr(jax.nn, name, None)
    )


def exact_gelu(z):
    return jax.nn.gelu(z, approximate=False)


FUNCTIONS = {name: activate(name) for name in NAMES} | {"gelu": exact_gelu}


class ActivationTest(LawTest):
    @law(z=strategies.reals((12,)))
    def test_each_derivative_is_that_of_its_activation(self, z):
        z = jnp.where(z == 0, 1.0, z)  # where a derivative jumps
        for name in NAMES:
            expected = self.apply(gradient(FUNCTIONS[name]), z)
            close(self.apply(ops.activation_derivative, z, activation=name), expected)

    @law(z=strategies.logits((12,)))
    def test_derivatives_are_bounded(self, z):
        for name, low, high in (("sigmoid", 0, 0.25), ("tanh", 0, 1), ("gelu", -0.13, 1.13)):
            between(self.apply(ops.activation_derivative, z, activation=name), low, high)
