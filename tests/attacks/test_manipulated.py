"""Copies of a model: the layer goes along, gradients stay behind, and eval mode ends where it began."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from captum_diffcam.attacks.manipulated import copy_model, in_eval_mode


def test_the_layer_goes_along_and_gradients_do_not(net, x):
    net(x).sum().backward()
    copied, layer = copy_model(net, net.features)
    assert copied.features is layer is not net.features
    torch.testing.assert_close(dict(copied.state_dict()), dict(net.state_dict()), rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in copied.parameters())
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("error", [None, KeyError])
def test_eval_mode_ends_where_it_began(net, error):
    net.train()
    net.head.eval()
    modes = [module.training for module in net.modules()]
    try:
        with in_eval_mode(net):
            assert not any(module.training for module in net.modules())
            if error:
                raise error
    except KeyError:
        pass
    assert [module.training for module in net.modules()] == modes


@pytest.mark.parametrize(
    ("model", "layer", "error", "said"),
    [
        (len, nn.ReLU(), TypeError, "model: got builtin_function_or_method"),
        (nn.ReLU(), "0", TypeError, "layer: got str"),
        (nn.ReLU(), nn.Linear(3, 3), ValueError, "layer: got a Linear that is no part of the model"),
    ],
    ids=["model", "layer", "part"],
)
def test_errors_name_the_argument(model, layer, error, said):
    with pytest.raises(error, match=said):
        copy_model(model, layer)
