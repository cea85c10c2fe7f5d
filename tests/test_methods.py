"""Methods apart from any model: their names, their maps, and what they need of a model."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam
from nets import conv_net, images
from torch import nn

from captum_diffcam import CamMethod, LayerDiffGradCam
from captum_diffcam.methods import in_eval_mode
from captum_diffcam.metrics import pearson

TARGET = torch.tensor([0, 2, 3])


def test_names():
    assert str(CamMethod(LayerGradCam)) == "LayerGradCam()"
    assert str(CamMethod(partial(LayerDiffGradCam, layout="swin"), contrast=[3])) == "LayerDiffGradCam(contrast=[3])"


def test_maps_are_those_of_the_attribution():
    net, x = conv_net(), images()
    method = CamMethod(LayerDiffGradCam, contrast=[1], reduction="max")
    expected = LayerDiffGradCam(net, net.features).attribute(x, target=TARGET, contrast=[1], reduction="max")[:, 0]
    maps = method.maps(net, net.features, x, TARGET)
    assert torch.equal(maps, expected)
    assert not maps.requires_grad
    differentiable = method.maps(net, net.features, x, TARGET, create_graph=True)
    assert differentiable.requires_grad
    assert pearson(differentiable, expected).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("create_graph", [False, True])
def test_maps_have_single_precision_at_least(create_graph):
    net, x = conv_net().bfloat16(), images().bfloat16()
    maps = CamMethod(LayerGradCam).maps(net, net.features, x, TARGET, create_graph=create_graph)
    assert maps.dtype == torch.float32
    assert maps.requires_grad == create_graph


def test_attribution_must_be_callable():
    with pytest.raises(TypeError, match="attribution"):
        CamMethod(5)


def test_layers_without_one_map_per_image():
    net, x = conv_net(), images()
    flat = nn.Sequential(net.features, nn.Flatten(), nn.Linear(5 * 49, 6))
    for method in (CamMethod(LayerGradCam), CamMethod(LayerGradCam, attr_dim_summation=False)):
        layer = flat[1] if not method.keywords else flat[0]
        with pytest.raises(ValueError, match="layer"):
            method.maps(flat, layer, x, TARGET)


@pytest.mark.parametrize("error", [None, KeyError])
def test_eval_mode_ends_in_the_modes_before(error):
    net = conv_net().train()
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
