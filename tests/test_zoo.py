"""The check of torchvision's classifiers: that it agrees where it should, and would notice where not."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import zoo
from benchmarks.__main__ import main


@pytest.mark.parametrize(
    ("model", "layer", "layout", "map_size"),
    [
        ("resnet18", "layer4", None, [4, 4]),
        ("vit_b_32", "encoder.layers.encoder_layer_11.ln_1", "vit", [7, 7]),
        ("swin_t", "features", "swin", [4, 4]),
        ("squeezenet1_1", "classifier.2", None, [7, 7]),
    ],
)
def test_a_model_of_each_kind(model, layer, layout, map_size):
    row = zoo.check(model)
    assert (row["layer"], row["layout"], row["map"]) == (layer, layout, map_size)
    assert row["agrees"]
    assert 0 <= row["DiffGradCAM"] <= 1e-4


def test_a_disagreement_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "_the_long_way", lambda *args, **kwargs: torch.ones(2, 1, 4, 4))
    assert main(["zoo", "--models", "resnet18", "--output", str(tmp_path)]) == 2
    assert "1 of 1 disagree: resnet18" in capsys.readouterr().err
    assert not json.loads((tmp_path / "zoo.json").read_text())["models"][0]["agrees"]
    assert (
        (tmp_path / "zoo.csv").read_text().startswith("model,layer,map,DiffGradCAM,DiffGradCAM++\nresnet18,layer4,4x4,")
    )
