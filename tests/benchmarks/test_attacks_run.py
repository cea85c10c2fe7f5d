"""The benchmark of attacks as a command."""

from __future__ import annotations

import csv
import json
import re
from itertools import chain, repeat

import pytest
from small_models import TINY

from benchmarks.__main__ import main
from benchmarks.attacks import reason
from benchmarks.attacks import run as attacks_run
from benchmarks.attacks.reason import Case
from benchmarks.attacks.tables import write_points
from benchmarks.common.result_folders import PUBLISHED
from benchmarks.common.stored import Stored


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(attacks_run, "chosen_settings", lambda args, stored: {"tiny": TINY})
    monkeypatch.setattr(attacks_run, "SETTINGS", ("tiny",))
    monkeypatch.setattr(reason, "planned", lambda seeds, quick: [])

    def run(*options):
        where = ["--output", str(tmp_path / "out"), "--models", str(tmp_path / "models")]
        code = main(["attacks", "--quick", "--studies", "frontier", *options, *where])
        return code, json.loads((tmp_path / "out" / "attacks.json").read_text()), capsys.readouterr().out

    return run


def test_a_run(command, tmp_path):
    code, record, _ = command()
    assert code == 0
    assert not record["complete"]
    assert record["benchmark"] == "attacks"
    assert record["command"].startswith("python -m benchmarks attacks --quick")
    assert [point["attack"] for point in record["points"]] == ["none", "SHAM, true class"]
    assert record["left_out"] == []
    assert record["rule"]["chosen"] == "logsumexp"
    for target in record["targets"]:
        assert target["reached"] == (target["value"] >= float(target["bound"].removeprefix(">= ")))
    assert (tmp_path / "out" / "frontier.png").stat().st_size > 0
    with (tmp_path / "out" / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == 2 * list(record["points"][0]["methods"])
    assert not (tmp_path / "out" / "unfinished").exists()


def test_a_run_that_is_out_of_time_is_resumed(command, monkeypatch, tmp_path):
    now = chain([0.0, 0.0], repeat(61.0))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    code, record, printed = command("--minutes", "1")
    monkeypatch.undo()
    assert code == 0
    assert len(record["points"]) == 1
    (left,) = record["left_out"]
    assert "SHAM, true class" in left
    assert "--resume" in printed


def test_the_reason(tmp_path):
    case = reason.measure(Case(20, "one cell", 0), Stored(tmp_path), quick=True)
    clean, *manipulated = case["points"]
    assert (clean["weight"], clean["predictions"]["kept"]) == (0.0, 1.0)
    assert [point["weight"] for point in manipulated] == sorted({point["weight"] for point in manipulated})
    for point in case["points"]:
        assert set(point["methods"]) == {"Grad-CAM", "logsumexp", "mean", "equivariant part", "occlusion"}
        numbers = point["methods"]["mean"]
        # The halves have the same size.
        assert numbers["hoax"] == pytest.approx((numbers["hoax_over"] + numbers["hoax_beside"]) / 2, abs=1e-6)
    best = max(point["methods"]["Grad-CAM"]["hoax"] for point in manipulated)
    (alone,) = reason.rows_within_budget([case], 1.0)
    assert (alone["size"], alone["receptive_field"], alone["seeds"]) == (20, "one cell", 1)
    assert alone["methods"]["Grad-CAM"]["hoax"] == {"mean": best}
    (twice,) = reason.rows_within_budget([case, {**case, "seed": 1}], 1.0)
    assert twice["seeds"] == 2
    assert twice["methods"]["Grad-CAM"]["hoax"] == pytest.approx({"mean": best, "low": best, "high": best})
    assert set(reason.SIZES) <= {case.size for case in reason.planned([0, 1], quick=False)}


def test_the_published_table_is_that_of_the_record(published, tmp_path):
    write_points(tmp_path / "points.csv", published("attacks")["points"])
    assert (tmp_path / "points.csv").read_text() == (PUBLISHED / "attacks" / "points.csv").read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model", "resnet18"], "--data"),
        (["--weights", "DEFAULT"], "--model"),
        (["--layer", "layer4"], "--model"),
        (["--model", "resnet18", "--data", "nowhere"], "--data.*'nowhere'"),
        (["--seeds", "0"], "--seeds.*'0'"),
        (["--cutouts", "nowhere"], "--cutouts.*'nowhere'"),
        (["--fashion", "nowhere"], "--fashion.*'nowhere'"),
    ],
)
def test_a_wrong_command_is_answered_in_one_line(options, named, tmp_path, capsys):
    assert main(["attacks", *options, "--output", str(tmp_path)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert re.search(named, line)
