"""The options of the comparison."""

from __future__ import annotations

import argparse

from benchmarks.common.names import LITE0, MOBILENET, REDUCTIONS
from benchmarks.common.options import add_model_arguments, add_resume_arguments

UNPUBLISHED = ("model", "weights", "classes", "layer", "images", "target", "contrast", "reduction")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(
        parser, None, f"explain this model, instead of {LITE0} and, if its weights are installed, {MOBILENET}"
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="the names of the classes, one per line in the order of the logits (default: those of the weights, or of "
        "ImageNet for 1000 classes, or numbers)",
    )
    parser.add_argument(
        "--images", nargs="+", metavar="PATH", help="image files or folders (default: eight photographs)"
    )
    parser.add_argument(
        "--target", metavar="CLASS", help="the class to explain, by number or name (default: the prediction)"
    )
    parser.add_argument(
        "--contrast",
        nargs="+",
        metavar="CLASS",
        help="the contrast set: classes by number or name, or top:K for the K strongest rivals (default: every other "
        "class with each reduction, and the top 5 rivals with logsumexp)",
    )
    parser.add_argument(
        "--reduction",
        choices=REDUCTIONS,
        help="how the logits of the contrast set become one (default: all)",
    )
    add_resume_arguments(parser)
