"""Whether the zoo notices that a map does not sum to the score."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from benchmarks.__main__ import main
from benchmarks.zoo import completeness as module
from benchmarks.zoo.completeness import completeness
from benchmarks.zoo.tables import completeness_rows
from benchmarks.zoo.verdict import verdict
from captum_diffcam import LayerDiffGradCamPlusPlus


@pytest.mark.parametrize(
    ("model", "linear", "grad_cam_too"),
    [
        ("resnet18", True, True),  # global average pooling
        ("densenet121", True, False),  # a ReLU between the layer and the pooling
        ("alexnet", False, False),  # hidden layers with biases
        ("mobilenet_v3_small", False, False),  # a hidden layer that is not a ReLU
    ],
)
def test_models_of_each_kind(model, linear, grad_cam_too):
    row = completeness(model)
    assert row["linear"] == linear
    assert (row["HiResCAM"] < 1e-4) == linear
    assert (row["Grad-CAM"] < 1e-4) == grad_cam_too
    assert row["complete"]


def test_maps_that_do_not_sum_to_the_score_fail_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(module.METHODS, "HiResCAM", LayerDiffGradCamPlusPlus)
    command = ["zoo", "--part", "completeness", "--models", "resnet18", "--output", str(tmp_path)]
    assert main(command) == 2
    assert "1 of 1 disagree: resnet18" in capsys.readouterr().err
    record = json.loads((tmp_path / "completeness.json").read_text())
    assert not record["complete"]
    assert not record["completeness"][0]["complete"]
    assert record["largest error"] == record["completeness"][0]["HiResCAM"] > module.TOLERANCE
    assert {path.name for path in tmp_path.iterdir()} == {"completeness.json", "completeness.csv"}


def test_the_verdict_and_the_table():
    rows = [
        {
            "model": "a",
            "layer": "x",
            "layout": None,
            "linear": True,
            "complete": True,
            "HiResCAM": 2e-6,
            "Grad-CAM": 0.5,
        },
        {
            "model": "b",
            "layer": "y",
            "layout": "vit",
            "linear": False,
            "complete": True,
            "HiResCAM": 0.9,
            "Grad-CAM": 1.0,
        },
        {"model": "c", "layer": "", "layout": None, "complete": True, "refused": "why"},
    ]
    (said,) = verdict({"completeness": rows})
    assert "all 1 of 3" in said
    assert "2e-06 of it (a)" in said
    assert "do not on 1" in said
    assert completeness_rows(rows) == [
        ["a", "x", "yes", "2e-06", "5e-01"],
        ["b", "y (vit)", "no", "9e-01", "1e+00"],
        ["c", "", "refused", "refused", "refused"],
    ]
    (said,) = verdict({"completeness": [rows[0] | {"complete": False}]})
    assert said.endswith("on 1 models: a.")


class TokensAndPositions(nn.Module):
    """Positions and a class token, which are averaged before a linear layer."""

    def __init__(self):
        super().__init__()
        self.embed, self.token = nn.Conv2d(3, 8, 16, stride=16), nn.Parameter(torch.ones(1, 1, 8))
        self.norm, self.head = nn.Tanh(), nn.Linear(8, 20)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).mT
        tokens = self.norm(torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1))
        return self.head(tokens[:, 0] + tokens[:, 1:].mean(dim=1))


def two_linear_layers():
    """A hidden layer whose bias begins at zero, as in torchvision's VGG."""
    hidden = nn.Linear(8 * 16, 16)
    nn.init.zeros_(hidden.bias)
    return nn.Sequential(nn.Conv2d(3, 8, 32, stride=32), nn.Flatten(), hidden, nn.ReLU(), nn.Linear(16, 20))


@pytest.mark.parametrize(("model", "left_out"), [(TokensAndPositions, 8), (two_linear_layers, 0)])
def test_models_whose_maps_need_not_sum_to_the_score(monkeypatch, model, left_out):
    monkeypatch.setattr("benchmarks.zoo.check.torchvision_model", lambda name: model().eval())
    row = completeness("small")
    assert (row["linear"], row["left_out"], row["complete"]) == (False, left_out, True)
    assert row["HiResCAM"] > module.TOLERANCE
