"""Points that another machine measured, such as one with a GPU: they are reported, and not measured again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.options import UsageError

_MADE = ("command", "commit", "seed", "versions", "machine")


def read_measured(file: Path, study: str) -> dict[str, Any]:
    """Return the record of a study that another machine wrote.

    Raises:
        UsageError: the file is not a record of this study.
    """
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        missing = [key for key in (*_MADE, "seeds", "left_out", "points") if key not in record]
    except (OSError, ValueError) as error:
        raise UsageError(f"--measured must be the record of a run, got {str(file)!r}: {error}") from error
    if missing or record.get("study") != study:
        raise UsageError(f"--measured must be the record of --studies {study}, got {str(file)!r}")
    return record


def made_by(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says about how it was made: command, commit, seed, versions and machine."""
    return {key: record[key] for key in ("note", *_MADE) if key in record}
