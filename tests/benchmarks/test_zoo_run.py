"""The zoo as a command: that it would notice a disagreement."""

from __future__ import annotations

import json

import torch

from benchmarks.__main__ import main
from benchmarks.zoo import check


def test_a_disagreement_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "reference_maps", lambda *args, **kwargs: torch.ones(2, 1, 4, 4))
    assert main(["zoo", "--models", "resnet18", "--output", str(tmp_path)]) == 2
    assert "1 of 1 disagree: resnet18" in capsys.readouterr().err
    assert not json.loads((tmp_path / "zoo.json").read_text())["models"][0]["agrees"]
    assert (
        (tmp_path / "zoo.csv").read_text().startswith("model,layer,map,DiffGradCAM,DiffGradCAM++\nresnet18,layer4,4x4,")
    )
