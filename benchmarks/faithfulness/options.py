"""What can be asked: a short run, the rest of a stopped one, or the user's own model and images."""

from __future__ import annotations

import argparse

from benchmarks.common.names import LITE0
from benchmarks.common.options import add_cutout_arguments, add_resume_argument, positive

UNPUBLISHED = ("model", "weights", "data", "images", "cutouts", "backgrounds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="one small classifier and few images, under two minutes")
    add_resume_argument(parser)
    add_cutout_arguments(parser)
    parser.add_argument(
        "--model", metavar="NAME", help=f"{LITE0} or any classifier of torchvision, instead of all else"
    )
    parser.add_argument(
        "--weights", metavar="NAME|FILE", help="its weights: a name that torchvision gives, or a state-dict file"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="your images, a folder for each class (default: real photographs)"
    )
    parser.add_argument("--images", type=positive, metavar="N", help="at most so many of --data, evenly spaced")
