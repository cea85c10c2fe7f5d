"""The options of the command line, and the error that a wrong one ends in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

PROGRAM = "captum-diffcam"

EXIT_CODES = """exit codes:
  0 every image was explained           1 no image could be read
  2 an option, model or file is wrong   3 done, but some files could not be read
  130 stopped by Ctrl-C: the page and the manifest hold what was finished"""

AUDIT_EXIT_CODES = """exit codes:
  0 every method's maps are supported   1 every method's maps are contradicted
  2 an option, model or file is wrong, or fewer than 16 images can be read
  3 every method is undecided           4 mixed: methods have different verdicts
  130 stopped by Ctrl-C: nothing is written"""


class UsageError(Exception):
    """What the user asked for cannot be done; the message is one sentence that says why, and what to do."""


class _Parser(argparse.ArgumentParser):
    """A parser that answers a wrong option with one sentence instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See `{self.prog} --help`.")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the options.

    Raises:
        UsageError: An option is unknown or has a wrong value.
        SystemExit: ``--help`` was printed.
    """
    layout = {"formatter_class": lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=24)}
    parser = _Parser(PROGRAM, description="Class activation maps that say why one class and not another.")
    commands = parser.add_subparsers(required=True, metavar="command", title="commands", parser_class=_Parser)
    explain = commands.add_parser(
        "explain",
        help="show why a model predicts a class, for a folder of images",
        description="Show why a classifier predicts a class in each image: writes a page, overlays and maps.\n"
        "Without options, it explains six photographs with a small ImageNet model, which can be installed with pip.",
        epilog=EXIT_CODES,
        usage=f"{PROGRAM} explain [options]",
        **layout,  # type: ignore[arg-type]
    )
    explain.set_defaults(command="explain")
    explained = explain.add_argument_group("model and images")
    _add_model_options(explained)
    _add_regions_option(explained)
    _add_question_options(explain.add_argument_group("question"))
    _add_run_options(explain.add_argument_group("run"), "report")
    audit = commands.add_parser(
        "audit",
        help="test whether the maps of a model show what its predictions depend on",
        description="Test whether the maps of a model show what its predictions depend on: a verdict about Grad-CAM\n"
        "and two contrastive maps, and a page with typical and worst images. At least 16 different images are\n"
        "needed, and 32 to 64 are usually enough.",
        epilog=AUDIT_EXIT_CODES,
        usage=f"{PROGRAM} audit [options]",
        **layout,  # type: ignore[arg-type]
    )
    audit.set_defaults(command="audit")
    _add_model_options(audit.add_argument_group("model and images"))
    _add_test_options(audit.add_argument_group("test"))
    _add_run_options(audit.add_argument_group("run"), "audit")
    return parser.parse_args(argv)


def _add_model_options(group: Any) -> None:
    group.add_argument(
        "--images", nargs="+", type=Path, metavar="PATH", help="image files, and folders that are searched for images"
    )
    group.add_argument(
        "--model",
        metavar="NAME",
        help="resnet50 (torchvision), timm/NAME, hf/FOLDER or hf/ID, or package.module:function that returns the model",
    )
    group.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="state dict, Lightning checkpoint or safetensors (default: published weights, which are downloaded)",
    )
    group.add_argument("--classes", type=Path, metavar="FILE", help="the names of the classes, one a line")
    group.add_argument(
        "--size", type=_size, metavar="N|HxW", help="resize the shorter side to N, then cut out the centre"
    )
    group.add_argument("--mean", type=_numbers, metavar="R,G,B", help="mean that is subtracted from the images")
    group.add_argument(
        "--std", type=_numbers, metavar="R,G,B", help="standard deviation that the images are divided by"
    )
    group.add_argument("--layer", metavar="NAME", help="layer to explain (default: the last one with positions)")


def _add_regions_option(group: Any) -> None:
    group.add_argument(
        "--regions",
        type=Path,
        metavar="FILE",
        help="print how much of each map lies in these regions: a CSV with the columns file,name,x0,y0,x1,y1, in "
        "pixels of the image file, or file,name,mask",
    )


def _add_question_options(group: Any) -> None:
    group.add_argument(
        "--target", metavar="CLASS", help="the class to explain, its number or name (default: what the model predicts)"
    )
    group.add_argument(
        "--contrast",
        action="append",
        metavar="CLASSES",
        help='compare with 285, "Egyptian cat", 281,285 together, top5 (rivals), all (default) or none (plain '
        "Grad-CAM); each further --contrast adds a map",
    )
    group.add_argument(
        "--reduction",
        choices=("logsumexp", "mean", "max"),
        default="logsumexp",
        help="how several rivals become one score: logsumexp (default), mean, or max (the strongest alone)",
        metavar="NAME",
    )
    group.add_argument(
        "--method",
        choices=("diffgradcam", "plusplus", "hirescam"),
        default="diffgradcam",
        help="diffgradcam (default), plusplus (as Grad-CAM++) or hirescam",
        metavar="NAME",
    )
    group.add_argument(
        "--calibrate",
        action="store_true",
        help="also show each map corrected by 9 measured occlusions (11 more forward passes for each map)",
    )


def _add_test_options(group: Any) -> None:
    group.add_argument(
        "--alpha", type=float, default=0.05, metavar="P", help="significance level of either verdict (default: 0.05)"
    )
    group.add_argument(
        "--seed",
        type=_natural,
        metavar="N",
        help="seed of order, windows and shifts (default: a random one, so that an attacker cannot know it; it is in "
        "audit.json)",
    )


def _add_run_options(group: Any, out: str) -> None:
    group.add_argument(
        "--out", type=Path, default=Path(out), metavar="FOLDER", help=f"folder to write to (default: {out})"
    )
    group.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    group.add_argument(
        "--batch-size", type=_positive, default=16, metavar="N", help="images processed at a time (default: 16)"
    )
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: a GPU if there is one)")
    group.add_argument(
        "--workers", type=_natural, metavar="N", help="processes that read images (default: 2; 0: none)", default=2
    )


def _positive(text: str) -> int:
    return _at_least(1, text)


def _natural(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
    return number


def _size(text: str) -> tuple[int, int]:
    """Return ``224`` or ``160x240`` as height and width."""
    numbers = [int(part) for part in text.lower().split("x") if part.isascii() and part.isdigit()]
    if len(numbers) != text.lower().count("x") + 1 or len(numbers) > 2 or not all(numbers):
        raise argparse.ArgumentTypeError(f"must be a number of pixels such as 224 or 160x240, got {text!r}")
    return numbers[0], numbers[-1]


def _numbers(text: str) -> tuple[float, ...]:
    """Return ``0.5`` or ``0.485,0.456,0.406`` as numbers, one for each channel."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise argparse.ArgumentTypeError(f"must be one number or three with commas between them, got {text!r}")
    return numbers * (3 // len(numbers))
