"""What can be asked: how many points, on which data, or the user's own model."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common.names import LITE0
from benchmarks.common.options import DATA, add_victim_arguments, positive

UNPUBLISHED = ("seeds", "model", "weights", "layer", *DATA)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="models of each kind (default 3)")
    parser.add_argument("--quick", action="store_true", help="few images and steps: does it run, not what comes out")
    add_victim_arguments(parser)
    parser.add_argument("--data", type=Path, metavar="DIR", help="with --model: a folder of images for each class")
    parser.add_argument("--model", metavar="NAME", help=f"attack {LITE0} or any classifier of torchvision instead")
    parser.add_argument("--weights", metavar="NAME|FILE", help="weights of --model, as for the main job")
    parser.add_argument("--layer", metavar="NAME", help="layer of --model, as for the main job")
