"""`ljx export`: a trained model as a program for other machines."""

import argparse


def export(arguments: argparse.Namespace) -> int:
    """Writes the model of a finished run as an artifact, and says what it takes and gives.

    Args:
        arguments: `run_dir`, the folder of the run, with `model.safetensors`; `out`, a folder for
            the artifact, None for `artifact` in that of the run; `platforms` that can run it, some
            of "cpu", "cuda" and "tpu", separated by commas; `max_boxes` that a detector gives.

    Returns:
        The exit code 0.

    Raises:
        ValueError: if there is no saved model, it is of a kind that has no use, or there is no such
            platform.
    """
    from lectures_jax import weights
    from lectures_jax.cli.predict import results_folder
    from lectures_jax.recipes.program import program_of

    run_dir, out, platforms = arguments.run_dir, arguments.out, arguments.platforms.split(",")
    file = run_dir / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"RUN_DIR: expected a finished run's model.safetensors, got {run_dir}.")
    out = results_folder(out or run_dir / "artifact")
    if unknown := [name for name in platforms if name not in weights.PLATFORMS]:
        known = ", ".join(weights.PLATFORMS)
        raise ValueError(f"--platforms: expected some of {known}, got {unknown[0]!r}.")
    saved = weights.load_model(file)
    program = program_of(saved, max_outputs=arguments.max_boxes)
    outputs = weights.save_artifact(
        out,
        program.function,
        saved.model,
        program.inputs,
        kind=saved.kind,
        settings=saved.settings | program.settings,
        platforms=platforms,
    )
    print(f"{saved.kind} for {', '.join(platforms)}: {out}")
    for name, wanted in program.inputs.items():
        print(f"takes {name}: {wanted}")
    for name, given in outputs.items():
        print(f"gives {name}: {given}")
    return 0
