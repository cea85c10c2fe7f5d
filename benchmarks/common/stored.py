"""A store for what takes long to compute: trained models, manipulated models, scenes.

A file is named after everything that determines its content: the arguments, the code and the versions of packages. So a
file that exists is up to date.
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
from urllib.parse import quote

import torch
from torch import nn

import captum_diffcam
from benchmarks.common.options import MODELS
from benchmarks.common.reporting import versions

_CODE_ELSEWHERE = ("attacks/reason.py",)
"""Files outside of ``common`` that make models."""


@dataclass(frozen=True)
class Stored:
    """A folder of results that were computed before. With None, nothing is kept."""

    folder: Path | None = MODELS

    def get(self, name: str, make: Callable[[], Any], **depends_on: Any) -> Any:
        """Return the result of ``make``, from a file if there is one.

        Args:
            name: the beginning of the file's name.
            make: computes tensors, or lists and dicts of them, if there is no file.
            depends_on: what the result depends on, as values that JSON can hold.
        """
        if self.folder is None:
            return make()
        key = json.dumps({**depends_on, "versions": versions(), "code": _code()}, sort_keys=True, default=str)
        file = self.folder / f"{quote(name, safe=' ,')}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt"
        if file.exists():
            return torch.load(file, weights_only=True)
        result = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        # The file appears complete or not at all, even if another process makes the same.
        unfinished = file.with_name(f"{file.name}.{os.getpid()}")
        torch.save(result, unfinished)
        unfinished.replace(file)
        return result


def fingerprint(module: nn.Module) -> float:
    """Return a number that differs between modules with different weights."""
    total: float = sum(value.double().sum().item() for value in module.state_dict().values())
    return total


@cache
def _code() -> str:
    """Return a hash of all code that may determine a result."""
    here = Path(__file__).parent
    files = [
        *Path(captum_diffcam.__file__).parent.rglob("*.py"),
        *here.glob("*.py"),
        *map(here.parent.joinpath, _CODE_ELSEWHERE),
    ]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()
