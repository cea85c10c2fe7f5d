"""The benchmark of the audit as a command."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from small_models import SMALL, TINY
from torchvision.models import get_model

from benchmarks.__main__ import main
from benchmarks.audit import run as audit_run
from benchmarks.audit.audited_models import AuditedModels
from benchmarks.audit.hand_made import GREY
from benchmarks.audit.plan import OCCLUSION_ATTACKS, Point
from benchmarks.common.manipulated_models import INJECTION

KIND = "glyphs, 10 classes"
OCCLUSION = next(iter(OCCLUSION_ATTACKS))


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(AuditedModels, "_setting", lambda self, kind: TINY)
    points = [Point(KIND, 0, attack) for attack in (None, INJECTION, GREY, OCCLUSION)]
    monkeypatch.setattr(audit_run, "planned", lambda seeds, quick: points)

    def run(*options):
        where = ["--output", str(tmp_path / "out"), "--models", str(tmp_path / "models")]
        code = main(["audit", "--quick", *options, *where])
        return code, json.loads((tmp_path / "out" / "audit.json").read_text()), capsys.readouterr().out

    return run


def test_a_run(command, tmp_path):
    code, record, _ = command()
    assert code == 0
    assert not record["complete"]
    assert record["left_out"] == []
    assert [model["attack"] for model in record["models"]] == [None, INJECTION, GREY, OCCLUSION]
    assert record["audits"] == 4
    assert [row["kind"] for row in record["clean"]] == ["all", KIND]
    # Four images decide nothing.
    assert record["clean"][0]["undecided"] == 1
    for name in ("clean.csv", "manipulated.csv", "audit.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_a_run_that_is_out_of_time(command, monkeypatch):
    now = iter([0.0, 0.0, 61.0, 61.0, 61.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    code, record, printed = command("--minutes", "1")
    monkeypatch.undo()
    assert code == 0
    assert record["left_out"] == [f"{KIND}, seed 0, {attack}" for attack in (INJECTION, GREY, OCCLUSION)]
    assert "--resume" in printed


def test_the_users_model(tmp_path, capsys):
    weights = tmp_path / "own.pt"
    torch.manual_seed(0)
    torch.save(get_model(SMALL, weights=None).state_dict(), weights)
    picture = tmp_path / "photograph.png"
    Image.new("RGB", (240, 240), "tan").save(picture)
    options = ["--model", SMALL, "--weights", str(weights), "--images", str(picture), "--output", str(tmp_path / "out")]
    assert main(["audit", *options]) == 0
    record = json.loads((tmp_path / "out" / "own.json").read_text())
    assert record["verdict"] == "undecided"
    printed = capsys.readouterr().out
    assert "undecided: " in printed
    assert (tmp_path / "out" / "own.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--images", "."], "--model"),
        (["--publish", "--quick"], "--publish"),
        (["--model", SMALL, "--images", __file__], "--images"),
    ],
)
def test_a_wrong_command_is_answered_in_one_line(options, named, tmp_path, capsys):
    assert main(["audit", *options, "--output", str(tmp_path)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert named in line
