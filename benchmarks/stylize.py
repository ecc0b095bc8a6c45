"""A photograph of 720×720 pixels repainted by a `TransformNet`, against onnxruntime.

The graph for onnxruntime is written by hand, with the same parameters; both results must agree.

python -m benchmarks.stylize
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import os

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from flax import nnx
from onnx import TensorProto, checker, helper, numpy_helper

from benchmarks.common import compare, save
from lectures_jax.models.transform_net import PUBLISHED, SMALL, TransformNet

SIDE, TOLERANCE = 720, 1e-3
OPSET, IR_VERSION = 17, 8


class Graph:
    """The network as a graph of ONNX, one node after the other; images are [1, 3, h, w]."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, array):
        self.constants.append(
            numpy_helper.from_array(np.ascontiguousarray(array), f"c{len(self.constants)}")
        )
        return self.constants[-1].name

    def add(self, kind, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def conv(self, x, layer, *, stride=1):
        """A convolution of the map continued by its reflection."""
        kernel = np.asarray(layer.kernel[...]).transpose(3, 2, 0, 1)
        edges = kernel.shape[2] // 2 * np.array([0, 0, 1, 1, 0, 0, 1, 1])
        x = self.add("Pad", x, self.constant(edges), mode="reflect")
        arrays = [kernel] if layer.bias is None else [kernel, np.asarray(layer.bias[...])]
        return self.add("Conv", x, *map(self.constant, arrays), strides=[stride, stride])

    def conv_norm(self, x, layer, *, stride=1):
        """`ConvInstanceNorm`."""
        arrays = (self.constant(np.asarray(a[...])) for a in (layer.norm.scale, layer.norm.bias))
        x = self.conv(x, layer.conv, stride=stride)
        return self.add("InstanceNormalization", x, *arrays, epsilon=1e-5)

    def relu(self, x):
        return self.add("Relu", x)

    def enlarged(self, x):
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        return self.add("Resize", x, "", scales, nearest_mode="floor", **options)


def session(model, side):
    """The network in onnxruntime, for images whose sides are multiples of four."""
    graph = Graph()
    x = "image"
    for layer, stride in zip(model.down, (1, 2, 2), strict=True):
        x = graph.relu(graph.conv_norm(x, layer, stride=stride))
    for block in model.blocks:
        y = graph.relu(graph.conv_norm(x, block.first))
        x = graph.add("Add", x, graph.conv_norm(y, block.second))
    for layer in model.up:
        x = graph.relu(graph.conv_norm(graph.enlarged(x), layer))
    graph.add("Sigmoid", graph.conv(x, model.paint))
    image, painted = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side, side])
        for name in ("image", graph.nodes[-1].name)
    )
    whole = helper.make_graph(graph.nodes, "stylizer", [image], [painted], graph.constants)
    file = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)])
    file.ir_version = IR_VERSION
    checker.check_model(file, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    return onnxruntime.InferenceSession(
        file.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@jax.jit
def paint(model, images):
    """The repainted images, as one program."""
    return model(images)


def measured(name, size, repeats) -> dict:
    """A row of the table: one size of the network."""
    model = TransformNet(size=size, rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    network, feed = session(model, SIDE), {"image": images.transpose(0, 3, 1, 2).copy()}
    images = jnp.asarray(images)
    functions = {
        "lectures_jax": lambda: paint(model, images),
        "onnxruntime": lambda: network.run(None, feed)[0],
    }
    ours, theirs = (np.asarray(run()) for run in functions.values())
    np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), atol=TOLERANCE)
    times = compare(functions, repeats=repeats)
    ratio = times.seconds["lectures_jax"] / times.seconds["onnxruntime"]
    case = f"{name}, {SIDE}×{SIDE}"
    return {"case": case, **times.seconds, "ratio": ratio, **times.conditions()}


def main(repeats: int = 15) -> None:
    """Measures, prints and saves."""
    sizes = {"as published": PUBLISHED, "small": SMALL}
    rows = [measured(name, size, repeats) for name, size in sizes.items()]
    for row in rows:
        print(*(f"{k} {v:.4f}" if isinstance(v, float) else v for k, v in row.items()), sep="  ")
    print(save("stylize", rows))


if __name__ == "__main__":
    main()
