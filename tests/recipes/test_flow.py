import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import weights
from lectures_jax.recipes import flow
from lectures_jax.train.learner import learning_rate
from tests.recipes import tiny

SETTINGS = flow.with_defaults(flow.Settings(steps=2, hidden=8), "digits")
MULTISCALE = dataclasses.replace(SETTINGS, network="multiscale")


def test_small_images_get_histograms_and_larger_ones_scales():
    small, large = (flow.with_defaults(flow.Settings(), kind) for kind in ("digits", "idx"))
    assert (small.network, small.hidden, small.batch_size) == ("histogram", 512, 64)
    assert (large.network, large.hidden, large.batch_size) == ("multiscale", 48, 32)
    chosen = flow.with_defaults(flow.Settings(network="multiscale"), "digits")
    assert (chosen.network, chosen.hidden) == ("multiscale", 48)


def test_training_without_the_defaults_is_refused():
    with pytest.raises(ValueError, match="steps must be set"):
        flow.train(flow.Settings(), tiny.splits(), None)


def test_muon_moves_convolutions_and_adam_all_else():
    params = {"convolution": jnp.ones((1, 1, 2, 3)), "dense": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    settings = dataclasses.replace(SETTINGS, steps=100, learning_rate=0.02, convolution_rate=0.3)
    optimizer = flow.optimizer(settings)
    state, small = optimizer.init(params), jax.tree.map(lambda p: 1e-3 * p, params)
    for _ in range(11):  # the warm-up ends after a tenth of the steps
        updates, state = optimizer.update(small, state, params)
    assert learning_rate(state)["learning_rate"] == pytest.approx(0.02)
    np.testing.assert_allclose(updates["bias"], -0.02, rtol=1e-3)
    decay = settings.weight_decay * 0.02
    np.testing.assert_allclose(updates["dense"], -0.02 - decay, rtol=1e-3)
    # Muon's move of a matrix of rank one: one singular value near 1, times 0.2 √3 of the rate.
    singular = np.linalg.svd(np.asarray(updates["convolution"]).reshape(2, 3))[1]
    np.testing.assert_allclose(singular, [0.3 * 0.2 * 3**0.5, 0], rtol=0.4, atol=1e-4)


def test_a_model_that_is_read_back_draws_the_same_images(monkeypatch, tmp_path):
    tiny.skip_training(monkeypatch, flow)
    splits = tiny.splits(4, levels=3)
    generator = flow.train(SETTINGS, splits, tmp_path)
    saved = weights.load_model(tmp_path / "model.safetensors")
    drawn = flow.sample(saved.model, saved.settings, jax.random.key(1), 3)
    assert saved.kind == "flow"
    assert saved.settings["classes"] == ["a", "b", "c"]
    assert drawn.dtype == np.float32
    assert drawn.shape == (3, 4, 4, 1)
    np.testing.assert_array_equal(drawn, generator.sample(jax.random.key(1), 3))
    assert set(np.unique(drawn)) <= {0, 0.5, 1}
    # Before training every level is equally likely.
    assert generator.bits_per_dim == pytest.approx(np.log2(3), abs=0.02)


def test_classes_are_left_out_where_the_flow_has_none():
    assert flow.model_settings(MULTISCALE, tiny.splits(), conditional=False)["classes"] == []
    assert flow.model_settings(MULTISCALE, tiny.splits())["dense"] == flow.DENSE


@pytest.mark.parametrize(("count", "calls"), [(3, [3]), (251, [250, 250])])
def test_no_more_images_are_drawn_than_fill_the_calls(monkeypatch, count, calls):
    sizes = []

    def draw(structure, arrays, key, labels, size, levels):
        sizes.append(size)
        return np.zeros((size, 2, 2, 1), np.float32)

    monkeypatch.setattr(flow, "_draw", draw)
    network = weights.build_model(
        "flow", flow.model_settings(SETTINGS, tiny.splits()), rngs=nnx.Rngs(0)
    )
    drawn = flow.sample(network, {"levels": 3}, jax.random.key(0), count)
    assert (len(drawn), sizes) == (count, calls)
