"""The options of the benchmark of attacks."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common.options import DATA, MODELS, add_attack_arguments, add_model_arguments

FRONTIER, OWNER, SCRATCH = STUDIES = ("frontier", "owner", "scratch")
"""Each study has a record of its own."""
UNPUBLISHED = ("seeds", "model", "weights", "layer", *DATA)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_attack_arguments(parser, seeds=3)
    parser.add_argument(
        "--models",
        type=Path,
        default=MODELS,
        metavar="DIR",
        help=f"where trained and manipulated models are kept (default {MODELS.as_posix()})",
    )
    add_model_arguments(parser, None, "attack this model instead of the benchmark's own")
    parser.add_argument(
        "--studies",
        nargs="+",
        choices=STUDIES,
        metavar="NAME",
        help=f"{FRONTIER} (a hoax map on every image, within an accuracy budget), {OWNER} (attacks that a model's "
        f"owner has a motive for) or {SCRATCH} (training with a hoax from the first step; best on a GPU) (default all; "
        f"with --model: {FRONTIER} only)",
    )
    parser.add_argument(
        "--measured",
        type=Path,
        metavar="FILE",
        help=f"for --studies {OWNER} or {SCRATCH} alone: a record of this study that an earlier run or another machine "
        "wrote; only what it lacks is measured",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="for --model: a folder of images for each class")
