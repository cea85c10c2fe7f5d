"""The options of the benchmark of the audit."""

from __future__ import annotations

import argparse

from benchmarks.common.options import DATA, add_attack_arguments, add_model_arguments

UNPUBLISHED = ("seeds", "model", "weights", "layer", "images", *DATA)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_attack_arguments(parser, seeds=5)
    add_model_arguments(parser, None, "audit this model instead of the benchmark's own")
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="images for --model, or folders of them (default: eight photographs)",
    )
