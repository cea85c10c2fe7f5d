"""Command-line options that several benchmarks share, and errors that are shown in one line.

Nothing here takes time to import, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from benchmarks.common.names import LITE0, MOBILENET

MODELS = Path("captum-diffcam-results/models")
"""The default folder of trained and manipulated models, below the current directory."""
DATA = ("cutouts", "backgrounds", "fashion")
"""The options of :func:`add_attack_arguments` that change the data of a run."""


class UsageError(Exception):
    """The command cannot be carried out. The message is one line that says what to do."""


class SkippedError(Exception):
    """One of many inputs cannot be used; the others can."""


class Parser(argparse.ArgumentParser):
    """A parser that raises a UsageError for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise UsageError(message)


def warn(line: str) -> None:
    """Print a warning that leaves a progress bar intact."""
    from tqdm import tqdm

    tqdm.write(f"warning: {line}", file=sys.stderr)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of all benchmarks."""
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps ...")
    # One thread by default: numbers then depend neither on the number of cores nor on other programs.
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of PyTorch (default 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers (default 0)")


def add_resume_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of benchmarks that can be interrupted, see :mod:`benchmarks.common.pieces`."""
    unfinished = parser.add_mutually_exclusive_group()
    unfinished.add_argument("--resume", action="store_true", help="continue an interrupted run")
    unfinished.add_argument("--overwrite", action="store_true", help="discard an interrupted run and start anew")


def add_model_arguments(parser: argparse.ArgumentParser, default: str | None, purpose: str) -> None:
    """Add the options that choose a model. Without a default they replace the benchmark's own models."""
    parser.add_argument(
        "--model",
        default=default,
        metavar="NAME",
        help=f"{purpose}: {LITE0}, a classifier of torchvision, or timm/NAME"
        + (f" (default {default})" if default else ""),
    )
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="weights of --model: DEFAULT or another name of torchvision's weights, which are downloaded; "
        f"or a state-dict file (default: the packaged weights of {LITE0} and, if installed, {MOBILENET}; "
        "random weights for others)",
    )
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="layer of --model, named as in model.named_modules(), or NAME:input for the input of a module (default: "
        "the last layer with spatial positions)",
    )


def add_cutout_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of benchmarks that compose scenes, see :mod:`benchmarks.common.cutouts`."""
    parser.add_argument("--cutouts", type=Path, metavar="DIR", help="PNGs of cut-out objects (default: Debian's)")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="background pictures (default: Debian's)")


def add_attack_arguments(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Add the options of benchmarks that manipulate models of their own, see :mod:`benchmarks.common.clean_models`."""
    parser.add_argument(
        "--seeds", type=positive, default=seeds, metavar="N", help=f"models of each kind (default {seeds})"
    )
    parser.add_argument("--quick", action="store_true", help="few models, images and steps, to see that it works")
    parser.add_argument(
        "--minutes", type=positive, metavar="N", help="start nothing new after this time; the report names what is left"
    )
    add_resume_arguments(parser)
    add_cutout_arguments(parser)
    parser.add_argument("--fashion", type=Path, metavar="DIR", help="the files of Fashion-MNIST (default: Debian's)")


def check_own_model_options(model: str | None, **options: object) -> None:
    """Raise a UsageError if options of ``--model`` are given without it."""
    if model is None and any(options.values()):
        names = ", ".join(f"--{name}" for name in options)
        raise UsageError(f"{names} need --model NAME, which is missing")


def positive(text: str) -> int:
    """Return an integer of at least 1, for options that count."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)
