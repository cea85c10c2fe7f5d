"""The command line of all benchmarks: ``python -m benchmarks [NAME] [options]``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from benchmarks import compare, cost, faithfulness, sham, zoo
from benchmarks.common.options import Parser, UsageError, add_common_arguments

BENCHMARKS: dict[str, ModuleType] = {
    "compare": compare,
    "cost": cost,
    "faithfulness": faithfulness,
    "sham": sham,
    "zoo": zoo,
}
"""Packages whose docstring is their help, with ``options.add_arguments`` and ``run.run``."""
DEFAULT = "compare"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the benchmark that ``argv`` names, or of the default one where it begins with an option."""
    parser = Parser(
        prog="python -m benchmarks",
        description=f"Without a NAME: {DEFAULT}. Options of a benchmark: python -m benchmarks NAME --help",
    )
    names = parser.add_subparsers(metavar="NAME", dest="benchmark", required=True, title="benchmarks")
    for name, package in BENCHMARKS.items():
        summary, _, details = (package.__doc__ or "").partition("\n")
        benchmark = names.add_parser(
            name,
            help=summary,
            description=f"{summary}\n{details}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        import_module(f"benchmarks.{name}.options").add_arguments(benchmark)
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
        _run(parse(sys.argv[1:] if argv is None else argv))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _run(args: argparse.Namespace) -> None:
    # Imported only now: PyTorch takes seconds, for which help and a misspelt option need not wait.
    import torch

    from benchmarks.common.device import available_device

    run = import_module(f"benchmarks.{args.benchmark}.run").run
    args.device = available_device(args.device)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    run(args)


if __name__ == "__main__":
    sys.exit(main())
