"""The sections of docs/benchmarks.md: of which results, in which columns, explained how."""

from typing import NamedTuple


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        title: its header.
        kind: how a cell is made: `text`, `time`, `number`, `rate`, `ratio` of two times,
            `quartiles of times`, `quartiles of rates`, or `others`.
        names: of the entries of a row that it is made from.
        meaning: the sentence that explains it.
    """

    title: str
    kind: str
    names: str
    meaning: str


class Table(NamedTuple):
    """A section of the page: the rows of one file of results, and what they are."""

    file: str
    title: str
    text: str
    columns: list[Column]


def conditions(name: str, what: str = "times") -> list[Column]:
    """The columns that say how far a row can be trusted; the first is of the named function."""
    meaning = f"First and third quartile of lectures_jax's own {what}."
    return [
        Column("quartiles", f"quartiles of {what}", name, meaning),
        Column("others", "others", "", "Cores that other processes kept busy during the row."),
    ]


CASE = Column("case", "text", "case", "What is computed.")
OURS = Column("lectures_jax", "time", "lectures_jax", "Median time of this library.")
OVER_PEER = Column("ratio", "number", "ratio", "Time of lectures_jax over the fastest peer's.")


def against(title: str, name: str, meaning: str) -> list[Column]:
    """The columns of a comparison with one peer."""
    peer = Column(title, "time", name, meaning)
    return [CASE, OURS, peer, OVER_PEER, *conditions("lectures_jax")]


TORCH = [
    Column("PyTorch", "time", "torch", "Median time of PyTorch in its default layout."),
    Column("channels_last", "time", "torch channels_last", "PyTorch with this memory layout."),
]
TABLES = [
    Table(
        "coco_map",
        "COCO's average precision",
        "From the arrays (lectures_jax) or the finished `COCO` objects (the peers) to the twelve "
        "numbers; every precision and recall equals pycocotools'.",
        [
            CASE,
            OURS,
            Column("pycocotools", "time", "pycocotools", "Median time of pycocotools."),
            Column("faster-coco-eval", "time", "faster-coco-eval", "Median of faster-coco-eval."),
            Column("ratio", "number", "ratio", "Time of lectures_jax over pycocotools'."),
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "nms",
        "Non-maximum suppression",
        "Suppression in one image, or in a batch by one `vmap`; the peers take one image after the "
        "other. A peer that would need more than 2 s is left out.",
        [
            Column("boxes", "text", "boxes", "`clustered` around objects, or `random` anywhere."),
            Column("number", "text", "number", "Boxes of each image."),
            Column(
                "classes", "text", "classes", "Boxes of two classes suppress none of the other."
            ),
            Column("images", "text", "images", "Images of one call."),
            Column("lectures_jax", "time", "ours", "Median time of `ops.nms`, all boxes kept."),
            Column("300 best", "time", "ours, best 300", "The same with `max_outputs=300`."),
            Column("torchvision", "time", "torchvision", "Its compiled operator."),
            Column("OpenCV", "time", "opencv", "Its compiled function."),
            Column(
                "ratio", "ratio", "ours|torchvision", "All boxes kept, over torchvision's time."
            ),
            *conditions("ours"),
        ],
    ),
    Table(
        "roi_align",
        "RoI align",
        "7×7 bins of 512 boxes of 16 to 400 pixels, maps of 256 channels of an image of 800×1088 "
        "pixels: the value and the gradient by the maps.",
        against("torchvision", "torchvision", "Its compiled operator."),
    ),
    Table(
        "selective_search",
        "Selective search",
        "From an image to the set of boxes; OpenCV is its contributed module.",
        against("OpenCV", "OpenCV", "Median time of OpenCV."),
    ),
    Table(
        "darknet",
        "A detector of Darknet's files",
        "Yolo-Fastest on images of 320×320, to its raw heads; OpenCV is its DNN module.",
        against("OpenCV", "opencv", "Median time of OpenCV."),
    ),
    Table(
        "predict",
        "`ljx predict`",
        "JPEG files of 480×360 to boxes and drawings, in batches of 8, against the network with "
        "its suppression alone on the decoded images. Both use all cores.",
        [
            CASE,
            OURS,
            Column("network", "time", "network", "Median time of the network alone."),
            Column("ratio", "number", "ratio", "The first over the second."),
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "yolo_step",
        "A training step of the small YOLOv3",
        "Forward, loss, backward and AdamW. lectures_jax also encodes the targets and averages the "
        "parameters.",
        [CASE, OURS, *TORCH, OVER_PEER, *conditions("lectures_jax")],
    ),
    Table(
        "classifier_step",
        "A training step of two classifiers",
        "Forward, cross-entropy, backward and AdamW: the plain CNN on 28×28 gray images and "
        "ResNet-18 on 32×32 color images.",
        [CASE, OURS, *TORCH, OVER_PEER, *conditions("lectures_jax")],
    ),
    Table(
        "unet_step",
        "A training step of a U-Net",
        "Forward, cross-entropy of every pixel, backward and Adam on 4 images of 256×256, half of "
        "the published channels, convolutions that keep the size. lectures_jax also counts the "
        "confusion of the pixels and the Dice loss.",
        [CASE, OURS, *TORCH, OVER_PEER, *conditions("lectures_jax")],
    ),
    Table(
        "mlp_epoch",
        "An epoch of a multilayer perceptron",
        "784-256-128-10 units, 60,000 examples, batches of 128; lectures_jax runs the epoch as one "
        "compiled `scan`, PyTorch as a loop.",
        [CASE, OURS, TORCH[0], OVER_PEER, *conditions("lectures_jax")],
    ),
    Table(
        "import_time",
        "Import",
        "A fresh process that imports one module.",
        [
            Column("lectures_jax.ops", "time", "lectures_jax.ops", "Median time of this import."),
            Column("jax", "time", "jax", "Median time of `import jax`."),
            Column("ratio", "number", "ratio", "The first over the second."),
            *conditions("lectures_jax.ops"),
        ],
    ),
    Table(
        "diffusion",
        "Diffusion",
        "Samplers of the digits' U-Net, and its training step. The Python loop calls the compiled "
        "network; diffusers' schedulers call the same network.",
        [
            CASE,
            OURS,
            Column("loop", "time", "python loop", "A Python loop, arithmetic not compiled."),
            Column("compiled", "time", "python loop, compiled steps", "The loop, all compiled."),
            Column("diffusers", "time", "diffusers", "Median time with diffusers' scheduler."),
            *TORCH,
            OVER_PEER,
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "flow",
        "Training steps of a flow on two moons",
        "Eight couplings with conditioners of 50 units, batch 256, Adam; one compiled step per "
        "call in both libraries.",
        [
            CASE,
            Column("lectures_jax", "rate", "lectures_jax", "Steps per second of this library."),
            Column(
                "FlowJAX", "rate", "flowjax", "Steps per second with Adam as its training has it."
            ),
            Column("one vector", "rate", "flowjax, one vector", "FlowJAX, Adam on one vector."),
            Column("ratio", "number", "ratio", "Rate of lectures_jax over FlowJAX's."),
            Column("to one vector", "number", "ratio, one vector", "Over FlowJAX's on one vector."),
            *conditions("lectures_jax", "rates"),
        ],
    ),
    Table(
        "attack",
        "Projected gradient descent against a network",
        "40 steps on 250 images of 28×28 against a small CNN, with the same parameters on all "
        "sides. Ours also keeps the best of all steps.",
        [
            CASE,
            OURS,
            Column("foolbox, JAX", "time", "foolbox, JAX", "foolbox on our network."),
            Column("foolbox, torch", "time", "foolbox, torch", "foolbox on PyTorch's."),
            Column("torchattacks", "time", "torchattacks", "On PyTorch's network."),
            Column("ART", "time", "ART", "Adversarial Robustness Toolbox, on PyTorch's."),
            OVER_PEER,
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "style_step",
        "A step of style transfer",
        "The pixels of an image of 256×256 by Adam, with a content loss in one layer of VGG-19 and "
        "style losses in five; random weights, the same on all sides.",
        [
            CASE,
            OURS,
            Column("in a loop", "time", "lectures_jax loop", "One of 20 steps of one program."),
            *TORCH,
            OVER_PEER,
            Column("loop / alone", "number", "loop over step", "Ours in the loop over alone."),
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "dream_step",
        "Deep dreams",
        "One of 20 steps on an image of 384×384 with SqueezeNet 1.1; and whole dreams of five "
        "octaves of 20 steps in a fresh process: imports, of PyTorch too, compilation, and writing "
        "what was compiled are counted.",
        [
            CASE,
            OURS,
            Column("cached", "time", "cached", "The same with a filled compilation cache."),
            *TORCH,
            OVER_PEER,
            *conditions("lectures_jax"),
        ],
    ),
    Table(
        "stylize",
        "An image repainted by a network",
        "The image transformation network on 720×720 pixels, with the parameters of one in both.",
        against("onnxruntime", "onnxruntime", "Median time of onnxruntime."),
    ),
    Table(
        "convolution",
        "Convolutions and pooling",
        "Times of lectures_jax over those of XLA's own operations, as JAX calls them; batch 8, for "
        "bilinear upsampling 1.",
        [
            CASE,
            Column("forward", "ratio", "ours forward|xla forward", "The value."),
            Column("dX", "ratio", "ours dX|xla dX", "The gradient by the images."),
            Column("dW", "ratio", "ours dW|xla dW", "The gradient by the kernel."),
            Column("step", "ratio", "ours step|xla step", "Value, gradients and update."),
            Column("in a loop", "ratio", "ours loop|xla loop", "A step inside of a `scan`."),
            Column("loop / alone", "ratio", "ours loop|ours step", "Ours in a `scan` over alone."),
            *conditions("ours step"),
        ],
    ),
]
