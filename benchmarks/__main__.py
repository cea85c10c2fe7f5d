"""The command line of all benchmarks: ``python -m benchmarks [NAME] [options]``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Protocol

import torch

from benchmarks import compare, cost, faithfulness, sham, zoo
from benchmarks.options import Parser, UsageError, add_common_arguments


class Benchmark(Protocol):
    """What a benchmark's module offers; the first line of its docstring is its entry in the list."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the benchmark's own options."""

    def run(self, args: argparse.Namespace) -> None:
        """Measure, print and write."""


BENCHMARKS: dict[str, Benchmark] = {
    "compare": compare,
    "cost": cost,
    "faithfulness": faithfulness,
    "sham": sham,
    "zoo": zoo,
}
DEFAULT = "compare"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the benchmark that ``argv`` names, or of the default one where it begins with an option."""
    parser = Parser(
        prog="python -m benchmarks",
        description=f"Without a NAME: {DEFAULT}. Options of a benchmark: python -m benchmarks NAME --help",
    )
    names = parser.add_subparsers(metavar="NAME", dest="benchmark", required=True, title="benchmarks")
    for name, module in BENCHMARKS.items():
        summary, _, details = (module.__doc__ or "").partition("\n")
        benchmark = names.add_parser(
            name,
            help=summary,
            description=f"{summary}\n{details}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(benchmark)
        add_common_arguments(benchmark, name)
    named = bool(argv) and (not argv[0].startswith("-") or argv[0] in ("-h", "--help"))
    args = parser.parse_args([*([] if named else [DEFAULT]), *argv])
    args.command = shlex.join(["python", "-m", "benchmarks", *_without_output(argv)])
    return args


def _without_output(argv: Sequence[str]) -> list[str]:
    """The options that numbers depend on: where they go is nobody's business."""
    return [
        word
        for before, word in zip(["", *argv], argv, strict=False)
        if before != "--output" and not word.startswith("--output")
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark. Returns the exit code: 2 where it cannot be done as asked, 130 where it was interrupted."""
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        BENCHMARKS[args.benchmark].run(args)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
