"""What every benchmark asks of the command line, and how it says what it cannot do.

Nothing that the command line needs to be understood takes time to import.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


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


def positive(text: str) -> int:
    """The type of an option that counts."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed is an integer of at least 1")
    return int(text)
