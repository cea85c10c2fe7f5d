"""The options of the benchmark on a GPU."""

from __future__ import annotations

import argparse

from benchmarks.common.options import positive

UNPUBLISHED = ("rounds",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds", type=positive, default=15, metavar="N", help="rounds in which methods take turns (default 15)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small batches and one model, to see that it works; runs on a CPU, too"
    )
