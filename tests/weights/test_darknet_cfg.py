"""Darknet's configurations: defaults, the forms of a key, and what is refused by line."""

import pytest

from lectures_jax import weights
from lectures_jax.models.darknet_layers import Convolutional, Head, MaxPool, Reorg, Route, Shortcut
from tests.models.test_darknet_network import DETECTOR

NET = "[net]\nwidth=32\nheight=32\n"
YOLO = "[yolo]\nmask=0,1\nanchors=4,4,8,6\nnum=2\nclasses=2\n"


def parse(text):
    return weights.parse_darknet_config(NET + text, "a.cfg")


def test_missing_keys_have_darknet_s_defaults():
    config = parse("[convolutional]\nfilters=4\n[maxpool]\nstride=2\n")
    assert config.channels == 3
    assert config.layers == (Convolutional(4, activation="logistic"), MaxPool(2, 2, 1))


def test_blanks_and_comments_do_not_count():
    config = parse(" [ conv ] \n# a\n;b\n filters = 4  # c\n\n[route]\nlayers = -1, 0\n")
    assert config.layers == (Convolutional(4), Route((0, 0)))


def test_anchors_of_a_region_are_cells():
    region = "[region]\nanchors=1,2,0.5,4\nnum=2\nclasses=1\nsoftmax=1\n"
    config = parse("[convolutional]\nfilters=12\nstride=8\n" + region)
    assert config.layers[1] == Head(((8.0, 16.0), (4.0, 32.0)), 1, softmax=True)
    assert weights.parse_darknet_config(weights.darknet_config_text(config)) == config


def test_a_mask_chooses_anchors_and_suppression_its_power():
    text = YOLO.replace("0,1", "1").replace("=2\nclasses=2", "=2\nclasses=3\nnms_kind=greedynms")
    config = parse("[convolutional]\nfilters=8\n" + text)
    assert config.layers[1] == Head(((8.0, 6.0),), 3, distance_power=0.6)


def test_blocks_and_new_coordinates_are_read_and_written():
    head = YOLO + "new_coords=1\nscale_x_y=2\n"
    config = parse("[convolutional]\nfilters=14\nactivation=logistic\n" + head)
    assert config.layers[1] == Head(((4.0, 4.0), (8.0, 6.0)), 2, 2.0, new_coords=True)
    assert weights.parse_darknet_config(weights.darknet_config_text(config)) == config
    config = parse("[convolutional]\nfilters=4\n[reorg]\nstride=2\n")
    assert config.layers[1] == Reorg(2)
    assert config.shapes()[1] == (16, 16, 16)
    assert weights.parse_darknet_config(weights.darknet_config_text(config)) == config


def test_a_written_configuration_reads_the_same():
    config = weights.parse_darknet_config(DETECTOR)
    assert weights.parse_darknet_config(weights.darknet_config_text(config)) == config
    assert config.layers[3] == Shortcut((0,), "relu")


CONV = "[convolutional]\nfilters=4\n"
REFUSED = {
    "[lstm]\n": r"line 4: expected \[net\] or one of convolutional, .* got \[lstm\]",
    CONV + "sise=3\n": r"line 6: \[convolutional\] sise: expected a key .* got sise=3",
    "[convolutional]\nfilters=-3\n": r"line 5: \[convolutional\] filters: expected .* got -3",
    "[convolutional]\nfilters=1000000000\n": "expected a whole number from 1 to 65,536",
    "[convolutional]\nsize=3\n": r"line 4: \[convolutional\] filters: expected a value, got none",
    CONV + "size=0\n": "size: expected a whole number from 1 to 255, got 0",
    CONV + "stride=1.5\n": "stride: expected a whole number",
    CONV + "activation=loggy\n": "activation: expected one of linear, .* got loggy",
    "[convolutional]\nfilters=14\nactivation=linear\n"
    + YOLO
    + "new_coords=1\n": "line 7: .*yolo.*: "
    "expected a convolution of activation logistic before it, got another",
    CONV + "[reorg]\nstride=2\nreverse=1\n": "reverse: expected 0, since nothing else is",
    CONV + "[reorg]\nstride=3\n": r"line 6: \[reorg\]: expected rows and columns in multiples of 3",
    CONV + "xnor=1\n": "xnor: expected 0, since nothing else is implemented, got 1",
    CONV + "size=64\n": r"line 4: \[convolutional\]: expected a window of at most 32 cells, got 64",
    CONV + "groups=2\n": "expected groups that divide 3 channels and 4 filters, got 2",
    CONV + "filters=5\n": "line 6: expected filters once in a section, got filters=5",
    CONV + "what\n": r"line 6: expected \[section\] or key=value, got what",
    "[shortcut]\nfrom=0\n": r"line 5: \[shortcut\] from: expected layers before this one",
    CONV + "[route]\nlayers=3\n": r"layers: expected layers before this one, which is 1, got 3",
    CONV + "[route]\nlayers=-2\n": "layers: expected layers before this one",
    CONV + "[route]\n": r"line 6: \[route\] layers: expected a value, got none",
    CONV + YOLO: r"line 6: \[yolo\]: expected 14 channels before it, 2 anchors times .* got 4",
    CONV
    + "[yolo]\nanchors=1,2,3\nnum=2\n": r"anchors: expected 2 · num = 4 positive numbers, got 3",
    CONV + "[yolo]\nanchors=1,nan\n": "anchors: expected finite numbers with commas",
    CONV + "[yolo]\nanchors=1,2\nmask=1\n": "mask: expected numbers from 0 to 0",
    CONV + "[yolo]\nanchors=1,2\nclasses=0\n": "classes: expected a whole number from 1",
    CONV + "[net]\nwidth=3\n": r"line 6: expected \[net\] first, and once",
    "": r"file: expected \[net\] and 1 to 999 layers, got 1 sections",
    CONV + "[upsample]\nstride=255\n" * 3: "expected a map of at most 268,435,456 numbers",
    CONV + "[dropout]\nprobability=1\n": "probability: expected a number from 0.0 to 0.999, got 1",
    "[convolutional]\nfilters=14\n" + YOLO + CONV: "expected layers that make maps, got the head 1",
    "[convolutional]\nfilters=14\nsize=3\n"
    + YOLO: "expected a grid that divides the image, got 30",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_network_is_refused_by_its_line(text):
    with pytest.raises(ValueError, match=rf"^a.cfg: .*{REFUSED[text]}") as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_a_size_is_needed():
    with pytest.raises(ValueError, match=r"line 1: \[net\] height: expected a value, got none"):
        weights.parse_darknet_config("[net]\nwidth=3\n[maxpool]\n")
