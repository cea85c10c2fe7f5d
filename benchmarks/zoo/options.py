"""What can be asked: which models, and which of the parts."""

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
        choices=("choosing", "maps", "completeness"),
        help="choosing: is the layer found that the table by hand expects? maps: are the maps right? completeness: do "
        "the maps of HiResCAM sum to the score? (default all)",
    )
    add_resume_arguments(parser)
