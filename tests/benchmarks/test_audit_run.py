"""The benchmark of the audit as a command."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from small_models import SMALL
from torchvision.models import get_model

from benchmarks.__main__ import main
from benchmarks.audit.audited_models import AuditedModels


def row(what="clean", **changes):
    """A verdict as the record has it."""
    numbers = {"agreement": 0.5, "prediction": 0.6, "exhaustive": 0.6, "suspicion": -0.5, "forward_passes": 30.0}
    names = {"kind": "plain", "seed": 0, "what": what, "batch": 0, "method": "a map", "verdict": "supported"}
    return {**names, **numbers, **changes}


def test_a_run(monkeypatch, tmp_path, capsys):
    rows = [row(), row("hoax on all images", verdict="contradicted", suspicion=1.0, exhaustive=0.0)]
    monkeypatch.setattr(AuditedModels, "has", lambda self, kind: True)
    monkeypatch.setattr(AuditedModels, "audits", lambda self, point: rows if point.kind == "plain" else [])
    assert main(["audit", "--quick", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "audit.json").read_text())
    assert not record["complete"]
    assert [its["supported"] for its in record["clean"]] == [1]
    assert [its["contradicted"] for its in record["manipulated"]] == [1]
    for name in ("clean.csv", "manipulated.csv", "audit.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_the_users_model(tmp_path, capsys):
    weights = tmp_path / "own.pt"
    torch.manual_seed(0)
    torch.save(get_model(SMALL, weights=None).state_dict(), weights)
    for index in range(16):
        Image.new("RGB", (240, 240), (10 * index, 80, 90)).save(tmp_path / f"{index}.png")
    options = ["--model", SMALL, "--weights", str(weights), "--images", str(tmp_path)]
    assert main(["audit", *options, "--output", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "own.json").read_text())
    assert record["verdict"] == "undecided"
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
