"""What can be asked: which model, which photographs, which class rather than which others."""

from __future__ import annotations

import argparse

from benchmarks.common.names import LITE0, REDUCTIONS
from benchmarks.common.options import add_resume_argument

UNPUBLISHED = ("model", "weights", "classes", "layer", "images", "target", "contrast", "reduction")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default=LITE0, metavar="NAME", help=f"{LITE0} (default) or any classifier of torchvision"
    )
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="weights of the model: a name that torchvision gives, such as DEFAULT, or a state-dict file (default: the "
        f"packaged ones for {LITE0}, random ones for another)",
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="the names of the classes, one a line in the order of the logits (default: those of the weights, or of "
        "ImageNet for 1000 classes, or numbers)",
    )
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="the layer to explain, named as in model.named_modules(), or NAME:input for what goes into it (default: "
        "the last one with positions that a module which runs once puts out or else takes in)",
    )
    parser.add_argument(
        "--images", nargs="+", metavar="PATH", help="image files, folders of them (default: eight real photographs)"
    )
    parser.add_argument(
        "--target", metavar="CLASS", help="the class to explain, number or name (default: each photograph's prediction)"
    )
    parser.add_argument(
        "--contrast",
        nargs="+",
        metavar="CLASS",
        help="the rivals to explain it against, numbers or names, or top:K for the K strongest. In place of the "
        "default sets: every other class with each reduction, and the top 5 rivals with logsumexp",
    )
    parser.add_argument(
        "--reduction",
        choices=REDUCTIONS,
        help="how the logits of a contrast set become one; every set is then taken with this reduction alone",
    )
    add_resume_argument(parser)
