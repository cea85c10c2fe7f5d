"""Copies of a model: the layer is part of the copy, and gradients are not copied."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from captum_diffcam.attacks.manipulated import copy_model


def test_the_copied_layer_is_part_of_the_copy(net, x):
    net(x).sum().backward()
    copied, layer = copy_model(net, net.features)
    assert copied.features is layer is not net.features
    torch.testing.assert_close(dict(copied.state_dict()), dict(net.state_dict()), rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in copied.parameters())
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("model", "layer", "error", "argument"),
    [
        (len, nn.ReLU(), TypeError, "model"),
        (nn.ReLU(), 5, TypeError, "layer"),
        (nn.ReLU(), nn.Linear(3, 3), ValueError, "layer"),
    ],
    ids=["model", "layer", "part"],
)
def test_errors_name_the_argument(model, layer, error, argument):
    with pytest.raises(error, match=f"`{argument}`"):
        copy_model(model, layer)
