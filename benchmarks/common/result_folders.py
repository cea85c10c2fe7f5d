"""Where results go: to a folder where the user stands, and to the published records only when they are complete."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.common.options import UsageError

PUBLISHED = Path(__file__).resolve().parents[1] / "results"
"""What the documentation shows, a folder for each benchmark."""
HERE = Path("captum-diffcam-results")
"""Under the directory that the user stands in."""
_FLAGS, _WITH_VALUE = ("--publish", "--resume"), ("--output", "--models")


def add_output_arguments(parser: argparse.ArgumentParser, benchmark: str) -> None:
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE / benchmark,
        metavar="DIR",
        help=f"where results go (default ./{(HERE / benchmark).as_posix()})",
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help=f"when it is complete, copy the results to benchmarks/results/{benchmark}, which the documentation shows",
    )
    parser.set_defaults(quick=False)


def settle_output(args: argparse.Namespace, own: Sequence[str] = ()) -> None:
    """Make the output folder. To name the published records is to publish.

    Args:
        args: the options.
        own: those of them that make it another run than the one that the documentation shows.

    Raises:
        UsageError: a run would be published that is not complete, or the folder cannot be made, or is in the midst of
            the published records.
    """
    folder = args.output.resolve()
    if folder == PUBLISHED / args.benchmark:
        args.output, args.publish = HERE / args.benchmark, True
    elif folder.is_relative_to(PUBLISHED):
        raise UsageError(f"--output: got {str(args.output)!r} among the published records; --publish writes there")
    if args.publish and (less := [*["quick"] * args.quick, *own]):
        raise UsageError(
            f"--publish: only a complete run is published; this one has {', '.join(f'--{name}' for name in less)}"
        )
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output: cannot make the folder {str(args.output)!r}: {error.strerror}") from error


def refuse_to_publish(args: argparse.Namespace, missing: Sequence[str]) -> None:
    """Before hours of work: raise a UsageError where what is missing would keep a run from being published."""
    if args.publish and missing:
        raise UsageError(
            f"--publish: only a complete run is published; what these need is not installed: {'; '.join(missing)}"
        )


def without_output(argv: Sequence[str]) -> list[str]:
    """The options that numbers depend on: where results and models go, and in how many goes, is nobody's business."""
    return [
        word
        for before, word in zip(["", *argv], argv, strict=False)
        if before not in _WITH_VALUE and word.partition("=")[0] not in (*_FLAGS, *_WITH_VALUE)
    ]


def publish(args: argparse.Namespace, files: Iterable[str]) -> Path:
    """Copy the files of a complete run to the published records. Returns their folder."""
    folder = PUBLISHED / str(args.benchmark)
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        shutil.copyfile(args.output / name, folder / name)
    return folder
