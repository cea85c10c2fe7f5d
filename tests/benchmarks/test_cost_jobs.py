"""The names of layers are true."""

from __future__ import annotations

import pytest

from benchmarks.cost.cases import Case
from benchmarks.cost.jobs import MODEL_LAYERS


@pytest.mark.parametrize("model", [model for model, layers in MODEL_LAYERS.items() if len(layers) == 3])
def test_layers_are_early_middle_and_late(model):
    """Layers finish in this order, and each runs once."""
    network, _, images, *_ = Case(model, batch=1).build()
    finished = []
    for place, layer in MODEL_LAYERS[model].items():
        network.get_submodule(layer).register_forward_hook(lambda *_, place=place: finished.append(place))
    network(images)
    assert finished == ["early", "middle", "late"]
