"""What can be asked: which models."""

from __future__ import annotations

import argparse

from benchmarks.common.options import add_resume_arguments

UNPUBLISHED = ("models",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="classifiers of torchvision, and timm/NAME where timm is installed (default all)",
    )
    add_resume_arguments(parser)
