"""The entry point of the command line: from options to an exit code."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Any

from captum_diffcam.cli.options import PROGRAM, UsageError, parse


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments. None are those of the process.

    Returns:
        The exit code: 2 wrong use, 130 interrupted, others as ``--help`` of the command says. Those of ``explain`` are
        0 everything was explained, 1 no image could be read, 3 some files could not be read; those of ``audit`` are
        0 supported, 1 contradicted, 3 undecided, 4 mixed.
    """
    try:
        options = parse(argv)
        # Imported late, so that --help and a wrong option do not wait for it.
        for library in ("PIL", "torchvision"):
            _require(library)
        command = importlib.import_module(f"captum_diffcam.cli.{options.command}")
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            code: int = command.run(options)
        finally:
            signal.signal(signal.SIGTERM, previous)
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted.", file=sys.stderr)
        return 130
    return code


def _interrupt(*_: Any) -> None:
    """End as by Ctrl-C, which keeps what is finished: torchrun ends its processes by this signal."""
    raise KeyboardInterrupt


def _require(library: str) -> None:
    try:
        importlib.import_module(library)
    except ImportError as error:
        raise UsageError(f'The command line needs {library}: `pip install "captum-diffcam[cli]"`.') from error
