"""`ljx`: run an experiment, list the course's, use a trained model, count a network's costs.

Importing this module starts no device: each command imports what it needs.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lectures_jax import __version__
from lectures_jax.cli.failure import tell
from lectures_jax.cli.predict.arguments import add_predict, positive
from lectures_jax.recipes.cache import cache_folder

EPILOG = """\
exit codes: 0 done; 1 the run failed; 2 bad arguments or input; 75 stopped by a signal (Ctrl-C,
SIGHUP, SIGTERM) after a checkpoint, run again to resume; 130 interrupted.
LJX_TRACEBACK=1 shows a failure's traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; by default those of the process.

    Returns:
        The exit code.
    """
    try:
        arguments = _parser().parse_args(argv)
        _use_compilation_cache()
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads the output, such as `head`, has what it wants
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:  # of the parsers, which have printed why, or of an experiment
        if isinstance(stop.code, str):
            print(f"ljx: {stop.code}", file=sys.stderr)
            return 1
        return stop.code or 0
    except KeyboardInterrupt:
        print("ljx: interrupted.", file=sys.stderr)
        return 130
    except Exception as error:
        return tell(error)


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "run":
            from lectures_jax.cli.run import run

            return run(arguments.experiment, arguments.options)
        case "list":
            from lectures_jax.cli.listing import list_experiments

            return list_experiments()
        case "course":
            from lectures_jax.cli.course import course

            return course(
                quick=arguments.quick,
                out=arguments.out,
                workers=arguments.workers,
                fresh=arguments.fresh,
            )
        case "count":
            from lectures_jax.cli.count import count

            return count(arguments.model, arguments.input)
        case "compare":
            from lectures_jax.cli.compare import compare

            return compare(arguments.run_dirs, arguments.out)
        case "check":
            from lectures_jax.cli.check import check

            splits = arguments.splits and (arguments.splits[0], arguments.splits[1])
            options = {name: getattr(arguments, name) for name in ("classes", "masks", "out")}
            return check(arguments.data, arguments.root, splits=splits, **options)
        case "export":
            from lectures_jax.cli.export import export

            return export(arguments)
        case "predict":
            from lectures_jax.cli.predict import predict_by

            return predict_by(arguments)
        case _:
            from lectures_jax.cli.doctor import doctor

            return doctor()


class _Parser(argparse.ArgumentParser):
    """Prints one line that states what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help).\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("ljx", description="A deep-learning course in JAX.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"lectures_jax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run an experiment, or resume it",
        description="Runs an experiment; the same command again resumes it. "
        "`ljx run EXPERIMENT --help` shows the fields that it has.",
        usage="ljx run EXPERIMENT [--field value ...] [--out DIR] [--fresh] [--quick] "
        "[--mesh.data N] [--mesh.fsdp N]",
    )
    run.add_argument(
        "experiment",
        metavar="EXPERIMENT",
        help="one of `ljx list`, such as yolo; or a file that defines `Config` and `run`",
    )
    run.add_argument("options", metavar="[--field value ...]", nargs=argparse.REMAINDER)

    commands.add_parser("list", help="the course's experiments with section, time and score")
    _add_course(commands)
    commands.add_parser("doctor", help="devices, versions, settings, and what is wrong with them")

    count = commands.add_parser("count", help="what each layer of a network costs, and sees")
    count.add_argument("model", metavar="MODEL", help="such as 'Mlp((784, 256, 10))'")
    count.add_argument(
        "--input", metavar="N", type=int, nargs="+", required=True, help="shape of one input"
    )

    _add_compare(commands)
    _add_check(commands)
    add_predict(commands)
    _add_export(commands)
    return parser


def _add_course(commands: Any) -> None:
    course = commands.add_parser(
        "course",
        help="run every experiment, and write one page with what each measured",
        description="Runs every experiment by default, several side by side, and writes index.html "
        "with each row of the course's table, its number and its figure. The same command again "
        "goes on where it stopped.",
    )
    course.add_argument(
        "--quick",
        action="store_true",
        help="those that take longer than 20 s at the smallest sizes: do they run?",
    )
    course.add_argument(
        "--out", metavar="DIR", type=Path, help="folder of all runs (default: runs/course)"
    )
    course.add_argument(
        "--workers", metavar="N", type=positive, help="how many at a time (default: 2)"
    )
    course.add_argument("--fresh", action="store_true", help="run everything anew")


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a trained model as a program that needs no code of its network",
        description="Writes StableHLO for any number of images, the parameters, and a manifest of "
        "what goes in and comes out; `ljx predict --artifact DIR` uses them.",
    )
    export.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="folder of a finished run")
    export.add_argument("--out", metavar="DIR", type=Path, help="default: RUN_DIR/artifact")
    export.add_argument(
        "--platforms",
        metavar="LIST",
        default="cpu,cuda,tpu",
        help="that can run it, separated by commas (default: cpu,cuda,tpu)",
    )
    export.add_argument(
        "--max-boxes",
        metavar="N",
        type=positive,
        default=100,
        help="most boxes that a detector gives for an image (default: 100)",
    )


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser("compare", help="curves and results of several runs on one page")
    compare.add_argument(
        "run_dirs", metavar="RUN_DIR", type=Path, nargs="+", help="folder of a run"
    )
    compare.add_argument(
        "--out", metavar="FILE", type=Path, default=Path("compare.html"), help="the page to write"
    )


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="what a data set holds, and what is wrong with it",
        description="Reads a data set and prints images, sizes, classes, boxes and what is wrong; "
        "exit 1 if a training with it would be in vain.",
    )
    check.add_argument(
        "--data",
        metavar="KIND",
        required=True,
        choices=("voc", "coco", "yolo", "idx", "images", "masks"),
        help="voc, coco, yolo, idx, images (a folder per class), or masks (images and PNG masks)",
    )
    check.add_argument(
        "--root", metavar="PATH", type=Path, required=True, help="its folder, or a zip of images"
    )
    check.add_argument(
        "--splits",
        metavar="NAME",
        nargs=2,
        help="the two to train and to measure on (default: the usual ones)",
    )
    check.add_argument(
        "--classes",
        metavar="FILE",
        type=Path,
        help="class names, one per line: their order, and all there are (voc, coco, idx, masks)",
    )
    check.add_argument(
        "--masks",
        choices=("classes", "instances"),
        help="what the numbers in the masks are (default: what they look like)",
    )
    check.add_argument("--out", metavar="FILE", type=Path, help="an HTML page of the same")


def _use_compilation_cache() -> None:
    """Keeps compiled programs between processes, which starts a known run in seconds.

    Through the environment, so that JAX need not be imported here and the user's own settings win.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder("xla")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    # A failure's exit code depends on where it was raised, which filtering would hide.
    os.environ.setdefault("JAX_TRACEBACK_FILTERING", "off")
