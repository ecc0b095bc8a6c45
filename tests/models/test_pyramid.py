"""A detector's four forms of a feature pyramid: their maps, their anchors, their cost."""

import inspect
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from lectures_jax.models.pyramid import SIZES, Pyramid, PyramidSize
from lectures_jax.nn.capture import capture_calls
from lectures_jax.nn.detection import detect
from lectures_jax.nn.parameters import count_parameters

ANCHORS = [[(40, 60), (50, 50), (60, 40)], [(20, 30), (25, 25), (30, 20)], [(5, 8), (7, 7), (9, 6)]]
NARROW = PyramidSize(4, (4, 4, 4, 6), (0, 0, 0, 0), 4)
IMAGES = jax.random.uniform(jax.random.key(1), (2, 64, 96, 3))


def narrow(form: str) -> Pyramid:
    """A small network, as it predicts."""
    size = PyramidSize(4, (4, 4, 4), (0, 0, 0), 4) if form == "image pyramid" else NARROW
    model = Pyramid(form, 2, anchors=ANCHORS, size=size, rngs=nnx.Rngs(0))
    return nnx.view(model, use_running_average=True)


@pytest.fixture(scope="module")
def models() -> dict[str, Pyramid]:
    return {form: narrow(form) for form in SIZES}


def test_every_form_but_the_single_map_has_three_grids(models):
    for form, model in models.items():
        grids = [head.shape for head in jax.eval_shape(lambda x, m=model: m(x), IMAGES)]
        if form == "single map":
            assert grids == [(2, 2, 3, 9 * 7)]
            assert model.anchors == (tuple(shape for head in ANCHORS for shape in head),)
        else:
            assert grids == [(2, 2 * n, 3 * n, 3 * 7) for n in (1, 2, 4)]
            assert model.anchors == tuple(map(tuple, ANCHORS))
        assert [2 * 32 // rows for _, rows, *_ in grids] == list(model.strides)


def test_fpn_is_the_hierarchy_and_the_coarser_maps_added(models):
    nnx.update(models["hierarchy"], nnx.state(models["FPN"]))
    plain, added = (models[form].features(IMAGES) for form in ("hierarchy", "FPN"))
    np.testing.assert_array_equal(added["stride32"], plain["stride32"])
    for coarse, fine in (("stride32", "stride16"), ("stride16", "stride8")):
        expected = plain[fine] + ops.upsample_nearest(added[coarse])
        np.testing.assert_allclose(added[fine], expected, rtol=1e-6, atol=1e-6)
    single = models["single map"]
    nnx.update(single.backbone, nnx.state(models["FPN"].backbone))
    nnx.update(single.laterals[0], nnx.state(models["FPN"].laterals[0]))
    np.testing.assert_array_equal(single.features(IMAGES)["stride32"], plain["stride32"])


def test_an_image_pyramid_is_one_network_on_three_images(models):
    model = models["image pyramid"]
    half = IMAGES.reshape(2, 32, 2, 48, 2, 3).mean(axis=(2, 4))
    maps = model.features(IMAGES)
    for image, stride in ((half, "stride32"), (IMAGES, "stride16")):
        expected = model.laterals[0](model.backbone(image))
        np.testing.assert_allclose(maps[stride], expected, rtol=1e-5, atol=1e-6)
    flat = model.features(jnp.full_like(IMAGES, 0.4))  # which is the same in every size
    np.testing.assert_allclose(flat["stride8"][:, 2:4, 2:4], flat["stride16"][:, 1:3, 1:3], 1e-4)


def test_what_it_predicts_is_decoded_from_its_heads(models):
    for model in (models["FPN"], models["single map"]):
        expected = detect(model(IMAGES), model.anchors, model.strides, image_size=(64, 96))
        predicted = model.predict(IMAGES, max_outputs=100)
        np.testing.assert_array_equal(predicted.labels, expected.labels)
        np.testing.assert_allclose(predicted.boxes, expected.boxes, rtol=1e-4, atol=1e-3)


def test_the_forms_cost_the_same():
    flops, parameters = {}, {}

    def forward(images, form):
        def report(call):
            kernel = getattr(call.module, "kernel", None)
            if kernel is not None:
                flops[form] += kernel.size * math.prod(call.output.shape[1:3])

        model = Pyramid(form, 10, anchors=ANCHORS, rngs=nnx.Rngs(0))
        flops[form], parameters[form] = 0, count_parameters(model)
        return capture_calls(model, report)(images)

    for form in SIZES:
        jax.eval_shape(partial(forward, form=form), jnp.zeros((1, 96, 96, 3)))
    assert max(flops.values()) < 1.011 * min(flops.values())
    assert parameters["hierarchy"] == parameters["FPN"]
    assert parameters["single map"] == pytest.approx(parameters["FPN"], rel=0.01)
    assert parameters["image pyramid"] < parameters["FPN"] / 3


def test_a_size_has_the_stages_of_its_form():
    with pytest.raises(ValueError, match="size must have 3 stages for 'image pyramid'"):
        Pyramid("image pyramid", 2, anchors=ANCHORS, size=NARROW, rngs=nnx.Rngs(0))
    init = inspect.unwrap(Pyramid.__init__)
    with pytest.raises(ValueError, match=r"form must be one of image pyramid, .*, got 'other'"):
        init(object.__new__(Pyramid), "other", 2, anchors=ANCHORS, rngs=nnx.Rngs(0))


def test_images_are_multiples_of_the_coarsest_stride(models):
    with pytest.raises(ValueError, match="images must be multiples of 32 pixels"):
        models["FPN"](IMAGES[:, :40])
