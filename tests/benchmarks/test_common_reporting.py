"""Records, tables and the end of a run."""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path

import pytest

from benchmarks.common.options import UsageError
from benchmarks.common.reporting import QUICK, conclude, show, write_csv, write_json


def options(**given):
    return argparse.Namespace(**{"quick": False, "publish": False, "output": Path("out"), **given})


def test_the_end_of_a_run(capsys):
    conclude(options(), ["One sentence.", "Another."], ["x.json", "x.csv"])
    assert capsys.readouterr().out == "\nOne sentence. Another.\n\nWritten to out: x.json, x.csv\n"


def test_a_quick_run_says_with_every_number_that_it_means_nothing(tmp_path, capsys):
    show("1.0", quick=True)
    conclude(options(quick=True), ["It is the best."], ["x.json"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"\n1.0\n({QUICK})\n")
    assert "best" not in printed
    write_csv(tmp_path / "x.csv", ["a", "b"], [[1, 2], [3, 4]], quick=True)
    with (tmp_path / "x.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"note": QUICK, "a": "1", "b": "2"}, {"note": QUICK, "a": "3", "b": "4"}]


def test_a_record_has_a_line_for_each_member_of_its_lists(tmp_path):
    record = {"a": 1 / 3, "seeds": [0, 1], "models": [{"ö": [1, {"x": math.inf}]}, {"ö": []}], "none": []}
    write_json(tmp_path / "x.json", record)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert ' {"ö": [1, {"x": null}]},\n {"ö": []}\n' in text
    assert text.count("\n") == 12
    read = json.loads(text)
    assert read == {"a": 0.333333, "seeds": [0, 1], "models": [{"ö": [1, {"x": None}]}, {"ö": []}], "none": []}
    assert list(read) == list(record)


@pytest.mark.parametrize("less", [{"quick": True}, {}])
def test_what_is_not_complete_is_not_published(capsys, less):
    with pytest.raises(UsageError, match="--publish"):
        conclude(options(publish=True, **less), [], [], complete="quick" in less)
