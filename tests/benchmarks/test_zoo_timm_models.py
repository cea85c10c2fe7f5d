"""Models of timm, which stands in here for itself: it need not be installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from torch import nn

from benchmarks.zoo.check import check
from benchmarks.zoo.tables import table_rows
from benchmarks.zoo.verdict import verdict


class Classifier(nn.Sequential):
    """A small model that takes images of one side, or any."""

    def __init__(self, *layers, side=None):
        super().__init__(*layers)
        self.default_cfg = {"input_size": (3, side or 64, side or 64)}
        self.side = side

    def forward(self, x):
        assert self.side in (None, x.shape[-1])
        return super().forward(x)


MODELS = {
    "small": lambda: Classifier(
        nn.Conv2d(3, 8, 3, 8), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    ),
    "one_size": lambda: Classifier(
        nn.Conv2d(3, 8, 3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10), side=48
    ),
    "no_positions": lambda: Classifier(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)),
}


@pytest.fixture(autouse=True)
def _timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=lambda name: MODELS[name]()))


@pytest.mark.parametrize(("name", "layer", "size"), [("timm/small", "1", [16, 16]), ("timm/one_size", "0", [6, 6])])
def test_a_model_of_timm(name, layer, size):
    row = check(name)
    assert (row["layer"], row["layout"], row["map"], row["warnings"]) == (layer, None, size, [])
    assert row["agrees"]


def test_a_model_without_a_layer_is_refused_with_a_reason():
    row = check("timm/no_positions")
    assert row["agrees"]
    assert "`forward_func`" in row["refused"]
    (cells,) = table_rows([row])
    assert cells == ["timm/no_positions", "", "", "refused", "refused"]
    sentences = verdict({"models": [row, check("timm/small")]})
    assert sentences[0].startswith("On 1 of 2 classifiers both maps are those")
    assert sentences[-1] == "Refused with a reason, which stands in zoo.json: timm/no_positions."
