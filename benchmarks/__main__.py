"""The command line of all benchmarks: ``python -m benchmarks [NAME] [options]``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from benchmarks import attacks, audit, calibrated, compare, cost, faithfulness, gpu, zoo
from benchmarks.common.options import Parser, UsageError, add_common_arguments
from benchmarks.common.result_folders import add_output_arguments, settle_output, without_output

BENCHMARKS: dict[str, ModuleType] = {
    "attacks": attacks,
    "audit": audit,
    "calibrated": calibrated,
    "compare": compare,
    "cost": cost,
    "faithfulness": faithfulness,
    "gpu": gpu,
    "zoo": zoo,
}
"""Each package has ``options.add_arguments`` and ``run.run``, and its docstring is its help.

``options.UNPUBLISHED`` names the options with which a run differs from the published one.
"""
DEFAULT = "compare"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the benchmark that ``argv`` names, or of the default one if it names none."""
    parser = Parser(
        prog="python -m benchmarks",
        description=f"Without a NAME, {DEFAULT} runs. For the options of a benchmark: python -m benchmarks NAME --help",
    )
    names = parser.add_subparsers(metavar="NAME", dest="benchmark", required=True, title="benchmarks")
    for name, package in BENCHMARKS.items():
        summary, _, details = (package.__doc__ or "").partition("\n")
        benchmark = names.add_parser(
            name,
            help=summary,
            description=f"{summary}\n{details}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            # The recorded command leaves out some options by their full names.
            allow_abbrev=False,
        )
        _options(name).add_arguments(benchmark)
        add_common_arguments(benchmark)
        add_output_arguments(benchmark, name)
    named = bool(argv) and (not argv[0].startswith("-") or argv[0] in ("-h", "--help"))
    args = parser.parse_args([*([] if named else [DEFAULT]), *argv])
    args.command = shlex.join(["python", "-m", "benchmarks", *without_output(argv)])
    unpublished = getattr(_options(args.benchmark), "UNPUBLISHED", ())
    benchmark = names.choices[args.benchmark]
    settle_output(args, [name for name in unpublished if getattr(args, name) != benchmark.get_default(name)])
    return args


def _options(name: str) -> Any:
    return import_module(f"benchmarks.{name}.options")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark and return the exit code: 2 for a wrong command, 130 for an interrupted run."""
    if quiet := "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0":
        # Only the first of several processes prints. Tqdm reads this when it is imported, which happens later.
        os.environ["TQDM_DISABLE"] = "1"
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        return _exit(f"error: {error}", 2, quiet)
    try:
        _run(args)
    except UsageError as error:
        # The error may be that of a single process, so none is quiet.
        return _exit(f"error: {error}", 2)
    except KeyboardInterrupt:
        return _exit("interrupted", 130, quiet)
    return 0


def _exit(line: str, code: int, quiet: bool = False) -> int:
    if not quiet:
        print(line, file=sys.stderr)
    return code


def _run(args: argparse.Namespace) -> None:
    # Imported late, because importing PyTorch takes seconds and --help should answer at once.
    import torch

    from benchmarks.common.distributed import available_device

    run = import_module(f"benchmarks.{args.benchmark}.run").run
    args.device = available_device(args.device)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    run(args)


if __name__ == "__main__":
    sys.exit(main())
