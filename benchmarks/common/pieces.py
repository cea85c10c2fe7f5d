"""A run in pieces: on one process or on many, stopped and resumed, with the same digits in the end.

::

    with in_pieces(args) as work:
        found = work.run_pieces({"cat.png": "images/cat.png", "dog.png": "images/dog.png"}, explain_file, unit="image")
        if work.speaks:
            report(args, [found[key] for key in found])

Started by ``torchrun --nproc-per-node K -m benchmarks NAME`` every process takes each K-th piece. What a piece found is
written at once, and all that is reported is read from there, in the order of the pieces: it does not matter which
process took one, or when. All processes must see the same output folder. A benchmark that works in pieces offers
``--resume``, by :func:`benchmarks.common.options.add_resume_argument`.
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
"""The folder in the output folder that is there as long as something is left to do."""
_OPTIONS = "options.json"
_SUFFIX, _LONGEST = ".pt", 200
_NO_MATTER = ("output", "publish", "resume", "command", "minutes", "models")
"""Options that no number depends on."""


class Found(Mapping[str, R], Generic[R]):
    """What the pieces have found, in their order. It is read when it is asked for, so that nothing piles up."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def __getitem__(self, key: str) -> R:
        return _read(self._files[key])  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __or__(self, other: Found[R]) -> Found[R]:
        """What these and others have found."""
        return Found({**self._files, **other._files})


@dataclass(frozen=True)
class Work:
    """A run that was begun: its folder, and this process among all that take part."""

    folder: Path
    seed: int
    processes: Ranks
    left: list[str] = field(default_factory=list)
    """Pieces that there was no time for."""

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that prints, draws and writes results."""
        return self.processes.speaks

    @property
    def begun(self) -> bool:
        """Whether there is something to lose."""
        return any(self.folder.glob(f"*{_SUFFIX}"))

    def run_pieces(
        self, pieces: Mapping[str, T], do: Callable[[T], R], unit: str = "piece", until: float = math.inf
    ) -> Found[R]:
        """``do`` every piece that is not done, each in some process, and go on when all are.

        PyTorch is seeded before each piece, by its key. May be called again, for pieces that need what others found.

        Args:
            pieces: by keys, which are unique in a run, and the same in every process.
            do: from a piece to what it has found: numbers, texts, tensors, lists and dicts of them.
            unit: what a piece is, for the progress bar.
            until: begin no piece after this time of :func:`time.monotonic`. What is left over is named in ``left``, and
                the run stays unfinished.

        Returns:
            What was found, by key. After the last call it is there for the process that speaks alone.

        Raises:
            TypeError: ``do`` returned something else.
            UsageError: another process has ended.
        """
        files = {key: self.folder / _name(key) for key in pieces}
        for key in tqdm(self.processes.share(list(pieces)), unit=unit, leave=False, disable=not self.speaks):
            if not files[key].exists() and time.monotonic() < until:
                torch.manual_seed(crc32(f"{self.seed} {key}".encode()))
                _write(files[key], do(pieces[key]))
        self.processes.meet()
        done = {key: file for key, file in files.items() if file.exists()}
        self.left.extend(key for key in files if key not in done)
        return Found(done)

    def finish(self) -> None:
        """Nothing is left to resume. Done at the end of the block, unless it ends with an error."""
        if self.speaks:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def in_pieces(args: argparse.Namespace, **depends_on: Any) -> Iterator[Work]:
    """A run with the common options: a new one, or with ``--resume`` what is left of an unfinished one.

    ``args.device`` becomes that of this process, ``args.command`` says how many there are.

    Args:
        args: all that the numbers depend on, and the versions of packages, must be as they were.
        depends_on: what else must be.

    Raises:
        UsageError: there is an unfinished run and it is not to be resumed, or it had other options.
    """
    with ranks(args.device) as processes:
        args.device = processes.device
        args.command = args.command.replace("python", _launcher(processes.count), 1)
        work = Work(args.output / UNFINISHED, args.seed, processes)
        _begin(work, {**_options(args), **versions(), **depends_on}, args.resume)
        try:
            yield work
        except KeyboardInterrupt:
            if work.speaks and work.begun:
                print("\nwhat is done is kept: the same command with --resume goes on from there", file=sys.stderr)
            raise
        # Not after an error, which leaves it to be resumed.
        if not work.left:
            work.finish()


def _launcher(count: int) -> str:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    nodes = f"--nnodes {count // here} " if count > here else ""
    return f"torchrun {nodes}--nproc-per-node {here}" if count > 1 else "python"


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """As JSON gives them back."""
    chosen = {name: value for name, value in vars(args).items() if name not in _NO_MATTER}
    options: dict[str, Any] = json.loads(json.dumps({**chosen, "device": args.device.type}, default=str))
    return options


def _begin(work: Work, options: dict[str, Any], resume: bool) -> None:
    record = work.folder / _OPTIONS
    begun = record.exists() and work.begun
    if begun and not resume:
        raise UsageError(
            f"--output: {str(work.folder)!r} holds an unfinished run; --resume goes on with it, "
            "removing the folder starts anew"
        )
    if begun:
        before = json.loads(record.read_text())
        if differ := [name for name in {**before, **options} if before.get(name) != options.get(name)]:
            changes = "; ".join(f"{name} was {before.get(name)!r}, is {options.get(name)!r}" for name in differ)
            raise UsageError(f"--resume: the unfinished run had other options: {changes}")
    # All have looked before one of them writes.
    work.processes.meet()
    if work.speaks:
        work.folder.mkdir(parents=True, exist_ok=True)
        unfinished = _beside(record)
        unfinished.write_text(json.dumps(options))
        unfinished.replace(record)
    work.processes.meet()


def _name(key: str) -> str:
    """A file name that no other key has."""
    name = quote(key, safe=" ,")
    # Of the 255 that file systems allow.
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]} {blake2b(key.encode(), digest_size=8).hexdigest()}"
    return name + _SUFFIX


def _beside(file: Path) -> Path:
    """Where a file is written before it has its name: it is there as a whole or not at all."""
    return file.with_name(f"{file.name}.{os.getpid()}")


def _write(file: Path, found: Any) -> None:
    unfinished = _beside(file)
    # Which another machine may not have seen yet.
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(found, unfinished)
    try:
        _read(unfinished)
    except pickle.UnpicklingError as error:
        unfinished.unlink()
        raise TypeError(
            f"a piece found {type(found).__name__}; allowed are numbers, texts, tensors, lists and dicts of them"
        ) from error
    unfinished.replace(file)


def _read(file: Path) -> Any:
    # On the CPU, because another machine may have had other devices.
    return torch.load(file, weights_only=True, map_location="cpu")
