"""Where results go: to a folder below the current directory, and to the published records if they are complete."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.common.options import UsageError

PUBLISHED = Path(__file__).resolve().parents[1] / "results"
"""The records that the documentation shows, a folder for each benchmark."""
HERE = Path("captum-diffcam-results")
"""The default folder, below the current directory."""
_FLAGS, _WITH_VALUE = ("--publish", "--resume", "--overwrite"), ("--output", "--models")


def add_output_arguments(parser: argparse.ArgumentParser, benchmark: str) -> None:
    """Add the options for where results go."""
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE / benchmark,
        metavar="DIR",
        help=f"where results go (default {(HERE / benchmark).as_posix()})",
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help=f"copy the results of a complete run to benchmarks/results/{benchmark}, which the documentation shows",
    )
    parser.set_defaults(quick=False)


def settle_output(args: argparse.Namespace, own: Sequence[str] = ()) -> None:
    """Make the output folder. ``--output`` with the folder of the published record means ``--publish``.

    Args:
        args: the options.
        own: the options that were given and make the run differ from the published one.

    Raises:
        UsageError: an incomplete run would be published, or the folder cannot be made or is a published one.
    """
    folder = args.output.resolve()
    if folder == PUBLISHED / args.benchmark:
        args.output, args.publish = HERE / args.benchmark, True
    elif folder.is_relative_to(PUBLISHED):
        raise UsageError(f"--output must not be among the published records, got {str(args.output)!r}; use --publish")
    if args.publish and (differing := [*["quick"] * args.quick, *own]):
        raise UsageError(f"--publish needs a complete run without {', '.join(f'--{name}' for name in differing)}")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--output must be a folder that can be made, got {str(args.output)!r}: {error.strerror}"
        ) from error


def refuse_to_publish(args: argparse.Namespace, missing: Sequence[str]) -> None:
    """Raise a UsageError before hours of work if missing data would keep the run from being published."""
    if args.publish and missing:
        raise UsageError(f"--publish needs a complete run; the data of these are not installed: {'; '.join(missing)}")


def without_output(argv: Sequence[str]) -> list[str]:
    """Return the options that results depend on: all but where they go, and whether the run was interrupted."""
    return [
        word
        for before, word in zip(["", *argv], argv, strict=False)
        if before not in _WITH_VALUE and word.partition("=")[0] not in (*_FLAGS, *_WITH_VALUE)
    ]


def publish(args: argparse.Namespace, files: Iterable[str]) -> Path:
    """Copy the files of a complete run to the published records, and return their folder."""
    folder = PUBLISHED / str(args.benchmark)
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        shutil.copyfile(args.output / name, folder / name)
    return folder
