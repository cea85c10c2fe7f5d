"""The options of the faithfulness benchmark."""

from __future__ import annotations

import argparse

from benchmarks.common.options import add_cutout_arguments, add_model_arguments, add_resume_arguments, positive

UNPUBLISHED = ("model", "weights", "layer", "data", "images", "cutouts", "backgrounds")
COMPARISON = "comparison"
GRIDPG, CLASSES, PARAMETERS, NATS, REMOVAL = STUDIES = ("gridpg", "classes", "parameters", "nats", "removal")
"""Each study has a record of its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="small classifiers and few images, in three minutes")
    parser.add_argument(
        "--studies",
        nargs="+",
        choices=(COMPARISON, *STUDIES),
        metavar="NAME",
        help=f"{COMPARISON} (A rather than B, faithfulness, agreement) or tests of the field: {', '.join(STUDIES)} "
        f"(default all; with --model, --weights, --layer or --data: {COMPARISON} only)",
    )
    add_resume_arguments(parser)
    add_cutout_arguments(parser)
    add_model_arguments(parser, None, "study this model alone, instead of the benchmark's own")
    parser.add_argument("--data", metavar="DIR", help="your images, a folder for each class (default: photographs)")
    parser.add_argument("--images", type=positive, metavar="N", help="use at most N images of --data, evenly spaced")
