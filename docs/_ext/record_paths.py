"""Find a number in a benchmark's record: for pages, for the README, and for the test of the README.

A path is ``name step.step``: the benchmark, then keys separated by dots. For a list, ``[key = value]`` keeps the rows
with that value, of which exactly one must be left; at the end of a path it stands for the number of rows. A key that
contains dots is written in brackets, ``[key]``. After a vertical bar comes a format specification; the default for
fractions is ``.2f``:

    faithfulness estimates[measure = AUROC][images = all][method = LayerGradCam].value | .3f
    zoo models[agrees = True]

``python docs/_ext/record_paths.py`` updates the README. Its numbers are written ``[0.98][key]``, with the path of
``key`` at the end of the file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
_STEP = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")


def record_file(name: str) -> Path:
    """Return the file of a benchmark's record. ``zoo/choosing`` is the record of one of its parts."""
    folder, _, part = name.partition("/")
    return RESULTS / folder / f"{part or folder}.json"


def find(record: Any, path: str) -> Any:
    """Return the value of a path. A KeyError names what is missing."""
    for bracket, key in _STEP.findall(path):
        step = " ".join((key or bracket).split())
        if "=" in bracket:
            column, value = (part.strip() for part in step.split("=", 1))
            record = [row for row in record if str(find(row, column)) == value]
            continue
        if isinstance(record, list):
            if len(record) != 1:
                raise KeyError(f"{path} must leave one row, got {len(record)} rows")
            record = record[0]
        record = record[step]
    return record


def number(path: str) -> str:
    """Return the number of a path as text."""
    where, _, form = (part.strip() for part in path.partition("|"))
    name, _, steps = where.partition(" ")
    value = find(json.loads(record_file(name).read_text(encoding="utf-8")), steps)
    if isinstance(value, list):
        value = len(value)
    if not isinstance(value, int | float):
        raise KeyError(f"{path} must lead to a number, got {type(value).__name__}")
    return format(value, form or ("d" if isinstance(value, int) else ".2f"))


def refreshed(text: str) -> str:
    """Return the README with the numbers of the records."""
    paths = dict(re.findall(r'^\[([\w-]+)\]: \S+ "(.*)"$', text, flags=re.MULTILINE))
    return re.sub(r"\[[^\]]+\]\[([\w-]+)\]", lambda match: f"[{number(paths[match[1]])}][{match[1]}]", text)


if __name__ == "__main__":
    readme = Path(__file__).parents[2] / "README.md"
    readme.write_text(refreshed(readme.read_text(encoding="utf-8")), encoding="utf-8")
