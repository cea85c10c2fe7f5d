"""The layers lie where their names say."""

from __future__ import annotations

import pytest

from benchmarks.cost.cases import Case
from benchmarks.cost.layers import LAYERS


@pytest.mark.parametrize("model", [model for model in LAYERS if len(LAYERS[model]) == 3])
def test_layers_are_early_middle_and_late(model):
    """In the order in which they finish; each runs once."""
    network, _, images, *_ = Case(model, batch=1).build()
    finished = []
    for place, layer in LAYERS[model].items():
        network.get_submodule(layer).register_forward_hook(lambda *_, place=place: finished.append(place))
    network(images)
    assert finished == ["early", "middle", "late"]
