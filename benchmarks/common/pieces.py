"""Run work in pieces: with one process or many, interrupted and resumed, always with the same results.

::

    with in_pieces(args) as work:
        results = work.run_pieces({"cat.png": "images/cat.png", "dog.png": "images/dog.png"}, explain_file)
        if work.reports:
            report(args, [results[key] for key in results])

Under ``torchrun --nproc-per-node K -m benchmarks NAME`` each process takes every K-th piece. The result of a piece is
written to a file at once, and reports read these files in the order of the pieces, so it does not matter which process
took a piece, or when. All processes must see the same output folder. A benchmark that works in pieces has the options
of :func:`benchmarks.common.options.add_resume_arguments`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from zlib import crc32

import torch
from tqdm import tqdm

from benchmarks.common.distributed import Ranks, ranks
from benchmarks.common.options import UsageError
from benchmarks.common.reporting import versions

T = TypeVar("T")
R = TypeVar("R")
UNFINISHED = "unfinished"
"""A folder in the output folder, which exists until everything is done."""
_OPTIONS = "options.json"
_SUFFIX, _LONGEST = ".pt", 200
_IRRELEVANT = ("output", "publish", "resume", "overwrite", "command", "minutes", "models", "studies")
"""Options that no result depends on."""


class Results(Mapping[str, R], Generic[R]):
    """The results of pieces, in their order. Each is read from its file when it is accessed, to save memory."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def __getitem__(self, key: str) -> R:
        return _read(self._files[key])  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __or__(self, other: Results[R]) -> Results[R]:
        """Return these results and others."""
        return Results({**self._files, **other._files})


@dataclass(frozen=True)
class Work:
    """A run: the folder of its pieces, and this process among all processes."""

    folder: Path
    seed: int
    processes: Ranks
    left: list[str] = field(default_factory=list)
    """Pieces for which there was no time."""

    @property
    def reports(self) -> bool:
        """Whether this process prints, draws and writes the results."""
        return self.processes.reports

    @property
    def has_results(self) -> bool:
        """Whether some pieces are finished."""
        return any(self.folder.glob(f"*{_SUFFIX}"))

    def run_pieces(
        self, pieces: Mapping[str, T], do: Callable[[T], R], unit: str = "piece", until: float = math.inf
    ) -> Results[R]:
        """Run ``do`` on every unfinished piece, each in one of the processes, and wait until all are finished.

        PyTorch is seeded before each piece, from its key. Call it again for pieces that need the results of others.

        Args:
            pieces: the pieces by keys, which are unique in a run and the same in every process.
            do: returns the result of a piece: numbers, texts, tensors, or lists and dicts of them.
            unit: the unit of the progress bar.
            until: start no piece after this time of :func:`time.monotonic`. The pieces that are left are named in
                ``left``, and the run stays unfinished.

        Returns:
            The results by key. After the last call only the reporting process may read them.

        Raises:
            TypeError: ``do`` returned something else.
            UsageError: another process has ended.
        """
        files = {key: self.folder / _name(key) for key in pieces}
        for key in tqdm(self.processes.share(list(pieces)), unit=unit, leave=False, disable=not self.reports):
            if not files[key].exists() and time.monotonic() < until:
                torch.manual_seed(crc32(f"{self.seed} {key}".encode()))
                _write(files[key], do(pieces[key]))
        self.processes.synchronize()
        done = {key: file for key, file in files.items() if file.exists()}
        self.left.extend(key for key in files if key not in done)
        return Results(done)

    def finish(self) -> None:
        """Remove the folder of pieces. :func:`in_pieces` calls it, unless there was an error."""
        if self.reports:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def in_pieces(args: argparse.Namespace, **depends_on: Any) -> Iterator[Work]:
    """Start a run, or resume an unfinished one with ``--resume``, or replace it with ``--overwrite``.

    ``args.device`` is set to the device of this process, and ``args.command`` to a command with all processes.

    Args:
        args: the options. To resume, all that results depend on must be as before, and so must package versions.
        depends_on: other values that must be as before.

    Raises:
        UsageError: there is an unfinished run without ``--resume`` or ``--overwrite``, or it had other options.
    """
    with ranks(args.device) as processes:
        args.device = processes.device
        args.command = args.command.replace("python", _launcher(processes.count), 1)
        work = Work(args.output / UNFINISHED, args.seed, processes)
        _begin(work, {**_options(args), **versions(), **depends_on}, args.resume, args.overwrite)
        try:
            yield work
        except KeyboardInterrupt:
            if work.reports and work.has_results:
                print("\nfinished work is kept: the same command with --resume continues from there", file=sys.stderr)
            raise
        # After an error the folder stays, so that the run can be resumed.
        if not work.left:
            work.finish()


def _launcher(count: int) -> str:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    nodes = f"--nnodes {count // here} " if count > here else ""
    return f"torchrun {nodes}--nproc-per-node {here}" if count > 1 else "python"


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that results depend on, as JSON returns them."""
    chosen = {name: value for name, value in vars(args).items() if name not in _IRRELEVANT}
    options: dict[str, Any] = json.loads(json.dumps({**chosen, "device": args.device.type}, default=str))
    return options


def _begin(work: Work, options: dict[str, Any], resume: bool, overwrite: bool) -> None:
    record = work.folder / _OPTIONS
    unfinished = record.exists() and work.has_results and not overwrite
    if unfinished and not resume:
        raise UsageError(
            f"--output: {str(work.folder)!r} holds an unfinished run; --resume continues it, --overwrite discards it"
        )
    if unfinished:
        before = json.loads(record.read_text())
        if differ := [name for name in {**before, **options} if before.get(name) != options.get(name)]:
            changes = "; ".join(f"{name} was {before.get(name)!r}, is {options.get(name)!r}" for name in differ)
            raise UsageError(
                f"--resume needs the options of the unfinished run: {changes}; --overwrite discards the unfinished run"
            )
    # All processes must have looked before one of them writes.
    work.processes.synchronize()
    if work.reports:
        if overwrite:
            work.finish()
        work.folder.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(record)
        temporary.write_text(json.dumps(options))
        temporary.replace(record)
    work.processes.synchronize()


def _name(key: str) -> str:
    """Return a file name that no other key has."""
    name = quote(key, safe=" ,")
    # File systems allow 255 characters.
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]} {blake2b(key.encode(), digest_size=8).hexdigest()}"
    return name + _SUFFIX


def _temporary(file: Path) -> Path:
    """Return the name under which a file is written first, so that it appears complete or not at all."""
    return file.with_name(f"{file.name}.{os.getpid()}")


def _write(file: Path, result: Any) -> None:
    temporary = _temporary(file)
    # Another machine may not see the folder yet.
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(result, temporary)
    try:
        _read(temporary)
    except pickle.UnpicklingError as error:
        temporary.unlink()
        raise TypeError(
            f"`do` must return numbers, texts, tensors, or lists and dicts of them, got {type(result).__name__}"
        ) from error
    temporary.replace(file)


def _read(file: Path) -> Any:
    # To the CPU, because another machine may have other devices.
    return torch.load(file, weights_only=True, map_location="cpu")
