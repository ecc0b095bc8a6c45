"""`ljx predict`: what a trained model makes of images, or the images that it makes."""

from pathlib import Path

GENERATIVE = ("vae", "gan", "flow", "diffusion")


def predict(
    run_dir: Path,
    images: Path | None,
    *,
    out: Path | None = None,
    score: float = 0.3,
    count: int = 100,
    seed: int = 0,
    annotations: Path | None = None,
    recursive: bool = False,
    draw: bool = True,
) -> int:
    """Uses the model of a finished run by its kind.

    Args:
        run_dir: folder of the run, with `model.safetensors`.
        images: an image, or a folder of them, for a detector, a classifier, a stylizer or a
            segmenter; None for a generative model.
        out: folder for what is written; None: `predictions` in the run's folder.
        score: least score of a detector's box.
        count: samples of a generative model.
        seed: of the samples.
        annotations: COCO's file of the true objects, whose ids a detector's results get.
        recursive: whether images in subfolders are used, too.
        draw: whether a detector's boxes, or a segmenter's masks, are drawn.

    Returns:
        The exit code: 0, or 2 if an image could not be read; the others are done all the same.

    Raises:
        ValueError: if there is no saved model, it is of a kind that has no prediction, or `images`
            is missing or not what the kind needs.
    """
    file = run_dir / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"RUN_DIR: expected a finished run's model.safetensors, got {run_dir}.")
    from lectures_jax import weights

    saved = weights.load_model(file)
    out = out or run_dir / "predictions"
    if saved.kind in GENERATIVE:
        if images is not None:
            raise ValueError(f"IMAGES: expected none for a {saved.kind}, got {images}.")
        from lectures_jax.cli.predict.generative import draw_samples

        return draw_samples(saved, out, count=count, seed=seed)
    if saved.kind not in ("detector", "classifier", "stylizer", "segmenter"):
        raise ValueError(
            "RUN_DIR: expected a detector, classifier, stylizer, segmenter or generative model "
            f"({', '.join(GENERATIVE)}), got one of kind {saved.kind!r}."
        )
    from lectures_jax.cli.predict.images import list_images

    inputs = list_images(images, out, kind=saved.kind, recursive=recursive)
    if saved.kind == "detector":
        from lectures_jax.cli.predict.detector import detect

        return detect(saved, inputs, out, score=score, annotations=annotations, draw=draw)
    if saved.kind == "segmenter":
        from lectures_jax.cli.predict.segmenter import segment

        return segment(saved, inputs, out, draw=draw)
    if saved.kind == "stylizer":
        from lectures_jax.cli.predict.stylizer import repaint

        return repaint(saved, inputs, out)
    from lectures_jax.cli.predict.classifier import classify

    return classify(saved, inputs, out)
