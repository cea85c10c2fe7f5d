"""What can be asked: how many models, or the user's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common.names import LITE0
from benchmarks.common.options import positive

UNPUBLISHED = ("model", "weights", "layer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="models of each kind (default 3)")
    parser.add_argument("--workers", type=positive, default=2, metavar="N", help="processes at a time (default 2)")
    parser.add_argument("--quick", action="store_true", help="few images and steps: does it run, not what comes out")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="Fashion-MNIST in torchvision's format, in place of the glyphs of 10 classes; with --model a folder with "
        "a folder of images for each class",
    )
    parser.add_argument("--model", metavar="NAME", help=f"attack {LITE0} or any classifier of torchvision instead")
    parser.add_argument("--weights", metavar="NAME|FILE", help="weights of --model, as for the main job")
    parser.add_argument("--layer", metavar="NAME", help="layer of --model, as for the main job")
