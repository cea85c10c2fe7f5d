"""What can be asked: how many models, or an audit of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common.options import add_resume_argument, positive

UNPUBLISHED = ("model", "weights", "layer", "images", "cutouts", "backgrounds", "fashion")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seeds",
        type=positive,
        default=1,
        metavar="N",
        help="models of each kind; less is done of further ones (default 1)",
    )
    parser.add_argument("--quick", action="store_true", help="few models and steps: does it run, not what comes out")
    parser.add_argument(
        "--minutes", type=positive, metavar="N", help="begin no audit after so long; what is left out is reported"
    )
    add_resume_argument(parser)
    parser.add_argument("--cutouts", type=Path, metavar="DIR", help="PNGs of cut-out objects (default: Debian's)")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="pictures to lay them on (default: Debian's)")
    parser.add_argument("--fashion", type=Path, metavar="DIR", help="the files of Fashion-MNIST (default: Debian's)")
    parser.add_argument(
        "--models",
        type=Path,
        default=Path("captum-diffcam-results/models"),
        metavar="DIR",
        help="where trained models and forgeries are kept (default captum-diffcam-results/models)",
    )
    parser.add_argument("--model", metavar="NAME", help="audit this model instead: any that the main job takes")
    parser.add_argument("--weights", metavar="NAME|FILE", help="weights of --model, as for the main job")
    parser.add_argument("--layer", metavar="NAME", help="layer of --model, as for the main job")
    parser.add_argument("--images", nargs="+", metavar="PATH", help="photographs for --model, or folders of them")
