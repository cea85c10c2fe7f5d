"""The options of the benchmark of calibrated maps."""

from __future__ import annotations

import argparse

from benchmarks.common.options import add_attack_arguments, positive

UNPUBLISHED = ("images", "seeds", "minutes", "cutouts", "backgrounds", "fashion")
CHOICES, PREDICTION, ATTACKED, TESTS = STUDIES = ("choices", "prediction", "attacked", "tests")
"""Each study has a record of its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--studies", nargs="+", choices=STUDIES, metavar="NAME", help=f"{', '.join(STUDIES)} (default all)"
    )
    parser.add_argument("--images", type=positive, default=16, metavar="N", help="images of each kind (default 16)")
    add_attack_arguments(parser, seeds=2)
