"""`ljx predict`: what a trained model makes of images, or the images that it makes."""

import argparse
from pathlib import Path
from typing import Any


def predict(
    run_dir: Path,
    images: Path | None,
    *,
    exported: bool = False,
    out: Path | None = None,
    count: int = 100,
    seed: int = 0,
    recursive: bool = False,
    draw: bool = True,
    **options: Any,
) -> int:
    """Uses the model of a finished run by its kind.

    Args:
        run_dir: folder of the run, with `model.safetensors`; or of an artifact.
        images: an image, or a folder of them, for a detector, a classifier, a stylizer or a
            segmenter; for a detector also a video; None for a generative model.
        exported: whether the folder is that of an artifact, as `ljx export` writes it.
        out: folder for what is written; None: `predictions` in this folder.
        count: samples of a generative model.
        seed: of the samples.
        recursive: whether images in subfolders are used, too.
        draw: whether a detector's boxes, or a segmenter's masks, are drawn.
        options: of a detector, see `predict.detector.Options`.

    Returns:
        The exit code: 0, or 2 if an image could not be read; the others are done all the same.

    Raises:
        ValueError: if there is no saved model, it is of a kind that has no prediction, or `images`
            is missing or not what the kind needs.
    """
    file = run_dir / "model.safetensors"
    if not (exported or file.is_file()):
        raise ValueError(f"RUN_DIR: expected a finished run's model.safetensors, got {run_dir}.")
    from lectures_jax import weights
    from lectures_jax.cli.predict.use import SAMPLERS, of_artifact, of_model

    if exported:
        use = of_artifact(weights.load_artifact(run_dir))
    else:
        use = of_model(weights.load_model(file))
    out = results_folder(out or run_dir / "predictions")
    if use.kind in SAMPLERS:
        if images is not None:
            raise ValueError(f"IMAGES: expected none for a {use.kind}, got {images}.")
        from lectures_jax.cli.predict.generative import draw_samples

        return draw_samples(use, out, count=count, seed=seed)
    if use.kind in ("detector", "darknet"):
        from lectures_jax.cli.predict.detector import Options, detect

        used = Options(draw=draw, recursive=recursive, **options)
        return detect(use.answer, images, out, used)
    from lectures_jax.cli.predict.images import list_images

    inputs = list_images(images, out, kind=use.kind, recursive=recursive)
    if use.kind == "segmenter":
        from lectures_jax.cli.predict.segmenter import segment

        return segment(use, inputs, out, draw=draw)
    if use.kind == "stylizer":
        from lectures_jax.cli.predict.stylizer import repaint

        return repaint(use, inputs, out)
    from lectures_jax.cli.predict.classifier import classify

    return classify(use, inputs, out)


def predict_darknet(
    cfg: Path,
    numbers: Path,
    images: Path | None,
    *,
    names: Path | None,
    out: Path | None = None,
    letterbox: bool = False,
    **options: Any,
) -> int:
    """Uses a network of Darknet's two files as Darknet does: its resizing, its suppression.

    Args:
        cfg: the configuration.
        numbers: the weights.
        images: an image, a folder of them, or a video.
        names: file of the classes' names, one per line, in the order of the labels.
        out: folder for what is written; None: `predictions` here.
        letterbox: whether images keep their aspect, as in the original Darknet; by default they are
            stretched to the network's size, as in AlexeyAB's fork, unless the configuration says
            otherwise.
        options: see `predict.detector.Options`; by default of suppression, each class by itself.

    Returns:
        The exit code: 0, or 2 if an image or a frame could not be read.

    Raises:
        ValueError: if a file is not as it should be, or there are other than as many names as
            classes.
    """
    if names is None:
        raise ValueError("--names: expected a file with the names of the classes, got none.")
    from lectures_jax import weights
    from lectures_jax.cli.predict.detector import Options, detect
    from lectures_jax.data.files import class_names, lines_of
    from lectures_jax.weights.darknet_image import darknet_letterbox, darknet_stretch

    classes, config = class_names(lines_of(names), names), weights.read_darknet_config(cfg)
    if not config.heads:
        raise ValueError(f"{cfg}: expected a detector, with [yolo] or [region], got none.")
    if config.channels != 3:
        raise ValueError(f"{cfg}: channels: expected 3 for RGB images, got {config.channels}.")
    count = max(head.classes for head in config.heads.values())
    if len(classes) != count:
        expected = f"{count} names, one for each class of {cfg}"
        raise ValueError(f"{names}: expected {expected}, got {len(classes)}.")
    out = results_folder(out or Path("predictions"))
    model = weights.load_darknet(cfg, numbers, fold=True)
    fit = darknet_letterbox if letterbox or config.letterbox else darknet_stretch
    detector = weights.Detector(model, classes, (config.height, config.width), fit)
    used = {"suppression": "darknet", "class_agnostic": False} | options
    return detect(detector, images, out, Options(**used))


def results_folder(out: Path) -> Path:
    """The folder for results, which may not exist yet; refuses a file."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: expected a folder, got the file {out}.")
    return out


def predict_by(arguments: argparse.Namespace) -> int:
    """Predicts as the command line says.

    Args:
        arguments: of `predict.arguments.add_predict`.

    Returns:
        The exit code.

    Raises:
        ValueError: as `predict` and `predict_darknet`, and if a path is missing or one too many.
    """
    options = {
        "out": arguments.out,
        "score": arguments.score,
        "iou": arguments.iou,
        "annotations": arguments.annotations,
        "draw": not arguments.no_draw,
        "batch_size": arguments.batch_size,
        "max_outputs": arguments.max_boxes,
        "recursive": arguments.recursive,
    }
    for name in ("suppression", "class_agnostic"):  # whose defaults are those of the network
        if (value := getattr(arguments, name)) is not None:
            options[name] = value
    if arguments.darknet is not None and arguments.artifact is not None:
        raise ValueError("--artifact: expected no --darknet beside it, got both.")
    if arguments.darknet is not None:
        if arguments.images is not None:
            raise ValueError(f"IMAGES: expected one path with --darknet, got {arguments.images}.")
        cfg, numbers = arguments.darknet
        images, names, letterbox = arguments.run_dir, arguments.names, arguments.letterbox
        return predict_darknet(cfg, numbers, images, names=names, letterbox=letterbox, **options)
    run_dir, images = arguments.run_dir, arguments.images
    if arguments.artifact is not None:
        if images is not None:
            raise ValueError(f"IMAGES: expected one path with --artifact, got {images}.")
        run_dir, images = arguments.artifact, run_dir
    if run_dir is None:
        raise ValueError("RUN_DIR: expected the folder of a finished run, got none.")
    return predict(
        run_dir,
        images,
        exported=arguments.artifact is not None,
        count=arguments.count,
        seed=arguments.seed,
        **options,
    )
