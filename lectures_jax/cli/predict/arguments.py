"""The arguments of `ljx predict`."""

import argparse
from pathlib import Path
from typing import Any


def add_predict(commands: Any) -> None:
    """Adds the command to the parser of `ljx`.

    Args:
        commands: what `add_subparsers` returned.
    """
    predict = commands.add_parser(
        "predict",
        help="use a trained model",
        description="A detector's boxes, a classifier's five best classes and a segmenter's masks "
        "of images; a generative model's samples, those of a VAE from its prior N(0, I).",
    )
    predict.add_argument(
        "run_dir", metavar="RUN_DIR", type=Path, nargs="?", help="folder of a finished run"
    )
    predict.add_argument(
        "images",
        metavar="IMAGES",
        type=Path,
        nargs="?",
        help="an image, a folder of images, or for a detector a video; none for a generative model",
    )
    predict.add_argument(
        "--artifact", metavar="DIR", type=Path, help="written by ljx export; in place of RUN_DIR"
    )
    predict.add_argument("--out", metavar="DIR", type=Path, help="default: RUN_DIR/predictions")
    predict.add_argument(
        "--count", metavar="N", type=positive, default=100, help="samples (default: 100)"
    )
    predict.add_argument("--seed", metavar="N", type=int, default=0, help="of the samples")
    predict.add_argument("--recursive", action="store_true", help="also images in subfolders")
    predict.add_argument("--no-draw", action="store_true", help="no drawings of boxes or masks")
    detectors = predict.add_argument_group("detectors")
    _add_suppression(detectors)
    _add_amounts(detectors)
    _add_darknet(predict.add_argument_group("networks in Darknet's files"))


def _add_suppression(group: Any) -> None:
    group.add_argument(
        "--score", metavar="P", type=_share, default=0.3, help="least score of a box (default: 0.3)"
    )
    group.add_argument(
        "--iou",
        metavar="P",
        type=_share,
        default=0.45,
        help="overlap above which the box of lower score is left out (default: 0.45)",
    )
    group.add_argument(
        "--suppression",
        choices=("hard", "soft", "diou"),
        help="how boxes that overlap are left out (default: hard; with --darknet as the cfg says)",
    )
    group.add_argument(
        "--class-agnostic",
        action="store_true",
        default=None,
        help="a box has one class and suppresses those of any (default, but with --darknet)",
    )
    group.add_argument(
        "--per-class",
        dest="class_agnostic",
        action="store_false",
        help="a box may have several classes, and suppresses those of its own",
    )


def _add_amounts(group: Any) -> None:
    group.add_argument(
        "--batch-size",
        metavar="N",
        type=positive,
        default=8,
        help="images that the network sees at once (default: 8)",
    )
    group.add_argument(
        "--max-boxes",
        metavar="N",
        type=positive,
        default=100,
        help="most boxes of an image; a line says where there are so many (default: 100)",
    )
    group.add_argument(
        "--annotations",
        metavar="FILE",
        type=Path,
        help="COCO's file of the true objects: its ids of images and categories are used",
    )


def _add_darknet(group: Any) -> None:
    group.add_argument(
        "--darknet",
        metavar=("CFG", "WEIGHTS"),
        type=Path,
        nargs=2,
        help="used in place of RUN_DIR",
    )
    group.add_argument(
        "--names", metavar="FILE", type=Path, help="names of the classes, one per line"
    )
    group.add_argument(
        "--letterbox",
        action="store_true",
        help="images keep their aspect, as in the original Darknet (default: stretched, as in "
        "AlexeyAB's fork)",
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number in [0, 1], got {text!r}")
    return value


def positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value
