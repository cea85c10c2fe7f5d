"""What takes long to make and is needed again: trained models, forgeries, scenes. Made once, kept in files.

A file is named after all that determines what is in it: the arguments, the code that made it, and the versions of
packages. So a file that is there is right, and one that is not is made.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

import captum_diffcam
from benchmarks.common.reporting import versions

MODELS = Path("captum-diffcam-results/models")
"""Where they are kept, seen from where the command runs."""


@dataclass(frozen=True)
class Stored:
    """A folder of things made before. None: nothing is kept, all is made."""

    folder: Path | None = MODELS

    def get(self, name: str, make: Callable[[], Any], **depends_on: Any) -> Any:
        """What ``make`` makes: tensors, and lists and dicts of them; from the file where it is there.

        Args:
            name: what it is, for the name of the file.
            make: is called where there is no file.
            depends_on: what ``make`` was given, in forms that JSON knows.
        """
        if self.folder is None:
            return make()
        told = json.dumps({**depends_on, "versions": versions(), "code": _code()}, sort_keys=True, default=str)
        file = self.folder / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.pt"
        if file.exists():
            return torch.load(file, weights_only=True)
        made = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        # There as a whole or not at all, whoever else makes the same.
        unfinished = file.with_name(f"{file.name}.{os.getpid()}")
        torch.save(made, unfinished)
        unfinished.replace(file)
        return made


@cache
def _code() -> str:
    """Of all files that may take part: the library, what benchmarks share, and what makes models elsewhere."""
    here = Path(__file__).parent
    files = [
        *Path(captum_diffcam.__file__).parent.rglob("*.py"),
        *here.glob("*.py"),
        *map(here.parent.joinpath, _ELSEWHERE),
    ]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()


_ELSEWHERE = ("audit/witness_attack.py", "attacks/why.py")
