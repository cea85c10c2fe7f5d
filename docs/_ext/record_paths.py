"""Where a number stands in a benchmark's record: for pages, for the README, and for the test of the README.

A path is ``name step.step``: the benchmark, then keys with dots between them. Of a list ``[key = value]`` keeps the
rows in which that holds, of which one has to be left; at the end of a path, their number is meant. A key that has dots
itself stands in brackets, ``[key]``. Behind a stroke comes how the number is written, as ``format`` has it, and ``.2f``
if nothing is said of a fraction:

    faithfulness estimates[measure = AUROC][images = all][method = LayerGradCam].value | .3f
    zoo models[agrees = True]

``python docs/_ext/record_paths.py`` brings the README up to date, whose numbers are ``[0.98][key]`` with the path of
``key`` at its foot.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
_STEP = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")


def record_file(name: str) -> Path:
    """The file of a benchmark's record."""
    return RESULTS / name / f"{name}.json"


def find(record: Any, path: str) -> Any:
    """What stands under a path. A KeyError says what is not there."""
    for bracket, key in _STEP.findall(path):
        step = " ".join((key or bracket).split())
        if "=" in bracket:
            column, value = (part.strip() for part in step.split("=", 1))
            record = [row for row in record if str(find(row, column)) == value]
            continue
        if isinstance(record, list):
            if len(record) != 1:
                raise KeyError(f"{path}: {len(record)} rows where one was to be left")
            record = record[0]
        record = record[step]
    return record


def number(path: str) -> str:
    """The number that stands under a path, as text."""
    where, _, form = (part.strip() for part in path.partition("|"))
    name, _, steps = where.partition(" ")
    value = find(json.loads(record_file(name).read_text(encoding="utf-8")), steps)
    if isinstance(value, list):
        value = len(value)
    if not isinstance(value, int | float):
        raise KeyError(f"{path}: there is no number, but {type(value).__name__}")
    return format(value, form or ("d" if isinstance(value, int) else ".2f"))


def refreshed(text: str) -> str:
    """The README with its numbers as the records have them."""
    paths = dict(re.findall(r'^\[([\w-]+)\]: \S+ "(.*)"$', text, flags=re.MULTILINE))
    return re.sub(r"\[[^\]]+\]\[([\w-]+)\]", lambda found: f"[{number(paths[found[1]])}][{found[1]}]", text)


if __name__ == "__main__":
    readme = Path(__file__).parents[2] / "README.md"
    readme.write_text(refreshed(readme.read_text(encoding="utf-8")), encoding="utf-8")
