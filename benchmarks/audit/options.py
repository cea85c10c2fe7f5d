"""What can be asked: how many models, or an audit of one's own."""

from __future__ import annotations

import argparse

from benchmarks.common.options import DATA, add_victim_arguments, positive

UNPUBLISHED = ("seeds", "model", "weights", "layer", "images", *DATA)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seeds",
        type=positive,
        default=5,
        metavar="N",
        help="models of each kind; less is done of further ones (default 5)",
    )
    parser.add_argument("--quick", action="store_true", help="few models and steps: does it run, not what comes out")
    add_victim_arguments(parser)
    parser.add_argument("--model", metavar="NAME", help="audit this model instead: any that the main job takes")
    parser.add_argument("--weights", metavar="NAME|FILE", help="weights of --model, as for the main job")
    parser.add_argument("--layer", metavar="NAME", help="layer of --model, as for the main job")
    parser.add_argument("--images", nargs="+", metavar="PATH", help="photographs for --model, or folders of them")
