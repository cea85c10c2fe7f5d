"""What can be asked: which models, and which of the two parts."""

from __future__ import annotations

import argparse

from benchmarks.common.options import add_resume_arguments

UNPUBLISHED = ("models",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this question."""
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="classifiers of torchvision, timm/NAME and hf/NAME where those packages are installed (default all)",
    )
    parser.add_argument(
        "--part",
        choices=("choosing", "maps"),
        help="choosing: is the layer found that the table by hand expects? maps: are the maps right? (default both)",
    )
    add_resume_arguments(parser)
