"""The ledger of a network against formulas, and the receptive field by another way."""

import jax.numpy as jnp
import pytest
from flax import nnx

from lectures_jax import ops
from lectures_jax.cli import main
from lectures_jax.cli.count import build, ledger


class Small(nnx.Module):
    """Two convolutions with a normalization and a pooling between them, then a dense layer."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.first = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.second = nnx.Conv(4, 4, (3, 3), padding="VALID", feature_group_count=4, rngs=rngs)
        self.last = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x, *, key=None):
        x = nnx.max_pool(nnx.relu(self.norm(self.first(x))), (2, 2), (2, 2))
        return self.last(jnp.mean(self.second(x), axis=(1, 2)))


def test_each_layer_by_its_formula():
    model = Small(rngs=nnx.Rngs(0))
    model.first.kernel[...] = -jnp.ones((3, 3, 2, 4))  # the rectifier hides what it depends on
    rows = ledger(model, (16, 12, 2))
    first, norm, second, last = rows
    assert [row.layer for row in rows] == ["first", "norm", "second", "last"]
    assert [row.output for row in rows] == [(16, 12, 4), (16, 12, 4), (6, 4, 4), (3,)]
    assert first[3:5] == ops.count_conv(2, 4, kernel=3, size=(16, 12))
    assert second[3:5] == ops.count_conv(4, 4, kernel=3, size=(8, 6), padding="VALID", groups=4)
    assert last[3:5] == ops.count_linear(4, 3)
    assert norm[3:5] == (8, 2 * 16 * 12 * 4)
    assert second.size == 6 * 4 * 4 * 4
    chain = [(3, 1, 1), (2, 2), (3, 1)]
    assert [row.sees for row in rows] == [3, 3, ops.receptive_field(chain).size, 16]


def test_the_command_prints_layers_and_totals(capsys):
    assert main(["count", "Mlp((12, 5, 3), dropout=0.5)", "--input", "12"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[1] == ["layers.0", "Linear", "5", "65", "125", "20"]
    assert lines[3] == ["total", "83", "158", "32"]


def test_a_constant_of_the_file_is_known_by_name():
    model = build("Mlp((3, 2), kernel_init=he_normal)")
    assert model.layers[0].kernel.shape == (3, 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Nothing(3)", "Head, Ins"),
        ("Denoiser", "DenseDecoder, Discriminator"),  # it also needs a noise level
        ("Mlp((3, 2), color=1)", "unexpected keyword argument 'color'"),
        ("Mlp(print(3))", "MODEL: expected a literal, got 'print(3)'"),
        ("Mlp((3", "MODEL: expected CLASS(arguments), got 'Mlp((3'"),
        ("Mlp((3, 2.5))", "MODEL: 'Mlp((3, 2.5))': "),
        ("Mlp((3, 0))", "sizes must be at least two positive numbers"),
    ],
)
def test_what_is_no_model_is_named_in_one_line(error_line, model, message):
    assert main(["count", model, "--input", "3"]) == 2
    assert message in error_line()


def test_a_classifier_is_known_though_it_derives_from_a_class_of_ours():
    model = build("Cnn(2, channels=((2,),))")
    rows = ledger(model, (4, 4, 3))
    assert [row.layer for row in rows] == ["stages.0.0.conv", "stages.0.0.norm", "classify"]
