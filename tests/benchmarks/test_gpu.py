"""The benchmark of a GPU, on a CPU: the command runs, and a wrong or missing map does not pass."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.gpu import run
from benchmarks.gpu.checks import FLOAT16, Check


def test_the_command(tmp_path, monkeypatch):
    checks = [
        Check("right", lambda: torch.tensor([1.0, 2.0]), lambda: torch.tensor([1.0, 2.00001])),
        Check("wrong", lambda: torch.tensor([1.0, 2.0]), lambda: torch.tensor([1.0, 2.5]), FLOAT16),
        Check("none", lambda: torch.tensor([1.0]).reshape(3), lambda: torch.tensor([1.0])),
    ]
    monkeypatch.setattr(run, "checks", lambda device, **sides: checks)
    assert main(["gpu", "--quick", "--rounds", "1", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert not record["complete"]
    by_name = {row["check"]: row for row in record["checks"]}
    assert [by_name[name]["passed"] for name in ("right", "wrong", "none")] == [True, False, False]
    assert by_name["wrong"]["difference"] == pytest.approx(0.2)
    assert "RuntimeError" in by_name["none"]["error"]
    assert {row["job"] for row in record["cost"]} == {"map", "explain", "rivals"}
    assert {row["batch"] for row in record["cost"]} == {1, 2}
    assert {row["to_forward"] for row in record["cost"] if row["method"] == "forward"} == {1.0}
    assert min(row["ms"] for row in record["cost"]) > 0
    assert len({row["ms"] for row in record["cost"]}) > 1
    assert min(row["peak_mib"] for row in record["cost"]) > 0


def test_a_full_run_needs_a_gpu(tmp_path, capsys):
    assert main(["gpu", "--output", str(tmp_path)]) == 2
    assert "--device cuda" in capsys.readouterr().err
