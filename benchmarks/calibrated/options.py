"""The options of the benchmark of calibrated maps."""

from __future__ import annotations

import argparse

from benchmarks.common.options import add_cutout_arguments, add_resume_arguments, positive

UNPUBLISHED = ("images", "cutouts", "backgrounds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="one classifier and two images, to see that it works")
    parser.add_argument("--images", type=positive, default=16, metavar="N", help="images of each kind (default 16)")
    add_resume_arguments(parser)
    add_cutout_arguments(parser)
