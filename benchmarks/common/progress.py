"""What a run has found so far, in files: what a resumed run goes on from, and how processes hand over their part."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.distributed import Ranks
from benchmarks.common.options import UsageError

_OPTIONS = "options.json"


@dataclass(frozen=True)
class Progress:
    """The folder of an unfinished run. A file is there as a whole or not at all."""

    folder: Path

    def has(self, name: str) -> bool:
        """Whether this was done."""
        return (self.folder / name).exists()

    def write(self, name: str, save: Callable[[Path], object]) -> None:
        """Keep what ``save`` writes to the path that it gets."""
        unfinished = self.folder / f"unfinished-{os.getpid()}-{name}"
        save(unfinished)
        unfinished.replace(self.folder / name)

    def write_numbers(self, name: str, numbers: dict[str, NDArray[np.float64]]) -> None:
        """Keep arrays, to the last digit."""

        def save(path: Path) -> None:
            with path.open("wb") as file:
                np.savez(file, **numbers)  # type: ignore[arg-type]

        self.write(name, save)

    def read_numbers(self, name: str) -> dict[str, NDArray[np.float64]]:
        """The arrays again."""
        with np.load(self.folder / name, allow_pickle=False) as numbers:
            return dict(numbers)

    def finish(self) -> None:
        """Nothing is left to resume."""
        shutil.rmtree(self.folder)


def begin(output: Path, options: dict[str, Any], resume: bool, processes: Ranks) -> Progress:
    """The progress of this run: a new one, or that of an unfinished run with the same options.

    Raises:
        UsageError: there is an unfinished run and it is not to be resumed, or it had other options.
    """
    progress = Progress(output / "unfinished")
    record = progress.folder / _OPTIONS
    if record.exists() and not resume:
        raise UsageError(
            f"--output: {str(progress.folder)!r} holds an unfinished run; --resume goes on with it, "
            "removing the folder starts anew"
        )
    if record.exists():
        before = json.loads(record.read_text())
        if differ := [name for name in {**before, **options} if before.get(name) != options.get(name)]:
            changes = "; ".join(f"{name} was {before.get(name)!r}, is {options.get(name)!r}" for name in differ)
            raise UsageError(f"--resume: the unfinished run had other options: {changes}")
    # All have looked before one of them writes.
    processes.meet()
    if processes.speaks:
        progress.folder.mkdir(parents=True, exist_ok=True)
        progress.write(_OPTIONS, lambda path: path.write_text(json.dumps(options)))
    processes.meet()
    return progress
