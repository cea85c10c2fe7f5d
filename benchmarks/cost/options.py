"""What can be asked: which models, how often, how large."""

from __future__ import annotations

import argparse

from benchmarks.common.options import positive
from benchmarks.cost.layers import LAYERS

BATCH, LARGE_BATCH = 8, 32
"""Of all, and where memory is to show."""
BATCHES = {"vit_b_16": 2}
"""Of a model that takes as long with fewer as others with all."""
GROWING_BATCH = 4
"""Where it is the ratios that are asked for, of ever more."""
QUICK_MODEL = "mobilenet_v3_small"

UNPUBLISHED = ("models", "size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        nargs="+",
        choices=LAYERS,
        default=list(LAYERS),
        help="models of torchvision, and EfficientNet-Lite0",
    )
    parser.add_argument("--rounds", type=positive, default=3, help="turns (default 3)")
    parser.add_argument("--size", type=positive, default=224, help="width and height of the images (default 224)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MODEL} alone with 3 rounds, under a minute")
