"""The options of the cost benchmark."""

from __future__ import annotations

import argparse

from benchmarks.common.options import positive
from benchmarks.cost.jobs import MODEL_LAYERS, SMALL_MODEL

BATCH, LARGE_BATCH = 8, 32
"""Images at once, and where memory is measured."""
BATCHES = {"vit_b_16": 2}
"""Smaller batches for models that take much longer than the others."""
GROWING_BATCH = 4
"""Images at once where the growth of the cost is measured."""
SMALL_SIZE, SMALL_ROUNDS = 160, 51
"""Image size and rounds of the single image through a small model."""
PROCESSES = 5
"""Processes for each figure of memory, because one process varies by a third."""

UNPUBLISHED = ("models", "size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODEL_LAYERS,
        default=list(MODEL_LAYERS),
        metavar="NAME",
        help=f"models to measure, of {', '.join(MODEL_LAYERS)} (default all)",
    )
    parser.add_argument(
        "--rounds", type=positive, default=3, metavar="N", help="rounds in which methods take turns (default 3)"
    )
    parser.add_argument(
        "--size", type=positive, default=224, metavar="N", help="width and height of the images (default 224)"
    )
    parser.add_argument("--quick", action="store_true", help=f"{SMALL_MODEL} alone, in about a minute")
