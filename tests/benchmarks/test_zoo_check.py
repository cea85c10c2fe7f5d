"""The check of a classifier: that it agrees where it should."""

from __future__ import annotations

import pytest

from benchmarks.zoo.check import check


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
    row = check(model)
    assert (row["layer"], row["layout"], row["map"]) == (layer, layout, map_size)
    assert row["agrees"]
    assert 0 <= row["DiffGradCAM"] <= 1e-4
