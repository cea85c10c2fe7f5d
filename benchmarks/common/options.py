"""What every benchmark asks of the command line, and how it says what it cannot do.

Nothing that the command line needs to be understood takes time to import.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

DATA = ("cutouts", "backgrounds", "fashion")
"""The options of :func:`add_victim_arguments` that say what the models are trained on."""


class UsageError(Exception):
    """What was asked cannot be done; the message is one line that tells the user what can."""


class SkippedError(Exception):
    """One of many inputs cannot be used; the rest can go on."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are usage errors like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise UsageError(message)


def warn(line: str) -> None:
    """A line for the user that leaves a progress bar intact."""
    from tqdm import tqdm

    tqdm.write(f"warning: {line}", file=sys.stderr)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps ...")
    # One by default: numbers then do not depend on how many cores there are, nor times on who else uses them.
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of PyTorch (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default 0)")


def add_resume_argument(parser: argparse.ArgumentParser) -> None:
    """Of those that work in pieces, see :mod:`benchmarks.common.pieces`."""
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")


def add_cutout_arguments(parser: argparse.ArgumentParser) -> None:
    """Of those that compose scenes, see :mod:`benchmarks.common.cutouts`."""
    parser.add_argument("--cutouts", type=Path, metavar="DIR", help="PNGs of cut-out objects (default: Debian's)")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="pictures to lay them on (default: Debian's)")


def add_victim_arguments(parser: argparse.ArgumentParser) -> None:
    """Of those that attack models of their own, in as many goes as it takes, see :mod:`benchmarks.common.victims`."""
    parser.add_argument(
        "--minutes", type=positive, metavar="N", help="begin nothing more after so long; what is left out is reported"
    )
    add_resume_argument(parser)
    add_cutout_arguments(parser)
    parser.add_argument("--fashion", type=Path, metavar="DIR", help="the files of Fashion-MNIST (default: Debian's)")
    parser.add_argument(
        "--models",
        type=Path,
        default=Path("captum-diffcam-results/models"),
        metavar="DIR",
        help="where trained models and forgeries are kept (default captum-diffcam-results/models)",
    )


def positive(text: str) -> int:
    """The type of an option that counts."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed is an integer of at least 1")
    return int(text)
