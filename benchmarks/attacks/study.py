"""What the studies of an owner's attacks and of training from scratch share: earlier points, records and files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.common.options import UsageError
from benchmarks.common.pieces import Work
from benchmarks.common.reporting import conclude, environment, rounded, write_csv, write_json

_MADE = ("command", "commit", "seed", "versions", "machine")
_ELSEWHERE = "measured_elsewhere"
CaseT = TypeVar("CaseT")


@dataclass(frozen=True)
class Study:
    """How the points of a study are reported."""

    name: str
    """It names the files, too."""
    recipe: Mapping[str, Any]
    """How the attacks were made."""
    summarise: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]
    """From points to what the record has besides."""
    columns: Mapping[str, str]
    """Of the file with every number: the heading of each field of a point."""
    numbers: Mapping[str, str]
    """Of the file with every number: the heading of each number of a method."""
    draw: Callable[[Path, Mapping[str, Any]], None]
    print_table: Callable[[Mapping[str, Any]], None]
    verdict: Callable[[Mapping[str, Any]], list[str]]
    """From a record to the summary in sentences."""


def measure_cases(
    args: argparse.Namespace,
    work: Work,
    study: str,
    cases: Mapping[str, CaseT],
    measure: Callable[[CaseT], dict[str, Any]],
    until: float,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure every case that the record of --measured does not have.

    Cases are dataclasses whose fields are also fields of their point.

    Returns:
        How the points were made, and the points in the order of the cases.
    """
    earlier = _read_measured(args.measured, study) if args.measured else None
    taken = {}
    for key, case in cases.items():
        values = {field.name: getattr(case, field.name) for field in fields(case)}  # type: ignore[arg-type]
        for point in earlier["points"] if earlier else []:
            if all(point.get(name) == value for name, value in values.items()):
                taken[key] = point
    here = {key: case for key, case in cases.items() if key not in taken}
    results = work.run_pieces(here, measure, unit="attack", until=until)
    if not work.reports:
        return {}, []
    points = [taken[key] if key in taken else results[key] for key in cases if key in taken or key in results]
    if earlier is None:
        return environment(args), points
    before = {key: earlier[key] for key in ("note", *_MADE) if key in earlier}
    others = earlier.get(_ELSEWHERE, [])
    if results:
        return {**environment(args), _ELSEWHERE: [*others, before]}, points
    return {**before, **({_ELSEWHERE: others} if others else {})}, points


def _read_measured(file: Path, study: str) -> dict[str, Any]:
    """Return the record of a study that another run wrote.

    Raises:
        UsageError: the file is not a record of this study.
    """
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        missing = [key for key in (*_MADE, "points") if key not in record]
    except (OSError, ValueError) as error:
        raise UsageError(f"--measured must be the record of a run, got {str(file)!r}: {error}") from error
    if missing or record.get("study") != study:
        raise UsageError(f"--measured must be the record of --studies {study}, got {str(file)!r}")
    return record


def report(
    args: argparse.Namespace,
    study: Study,
    made: Mapping[str, Any],
    seeds: Sequence[int],
    points: Sequence[dict[str, Any]],
    left: Sequence[str],
) -> None:
    """Write the record, a table of every number and the figure, and print the summary.

    Args:
        args: the options.
        study: how to report the points.
        made: command, commit, seed, versions and machine of the run.
        seeds: the seeds of the run.
        points: what was measured.
        left: what was not measured.
    """
    # Rounded first, so that what a record has besides its points is made from these.
    points = rounded(list(points))
    record: dict[str, Any] = rounded(
        {
            "benchmark": "attacks",
            "study": study.name,
            "complete": not (args.quick or left),
            **made,
            "seeds": list(seeds),
            "left_out": list(left),
            "recipe": study.recipe,
            **study.summarise(points),
            "points": points,
        }
    )
    files = [f"{study.name}.{end}" for end in ("json", "csv", "png")]
    record_file, table_file, figure_file = (args.output / name for name in files)
    write_json(record_file, record)
    header = [*study.columns.values(), "map", *study.numbers.values()]
    lines = [
        [*(point.get(key, "") for key in study.columns), name, *(numbers.get(key, "") for key in study.numbers)]
        for point in record["points"]
        for name, numbers in point["methods"].items()
    ]
    write_csv(table_file, header, lines, quick=args.quick)
    study.draw(figure_file, record)
    study.print_table(record)
    conclude(args, study.verdict(record), files, complete=bool(record["complete"]))
