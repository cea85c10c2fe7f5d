"""Methods apart from any model: their names, their maps, and what they need of a model."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam
from nets import conv_net, images
from torch import nn

from captum_diffcam import CamMethod, EquivariantPart, LayerDiffGradCam
from captum_diffcam.layers import SpatialLayer
from captum_diffcam.methods import in_eval_mode, maps_of_methods
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


def test_a_flat_contrast_is_one_set_for_every_batch():
    """Also if it has as many classes as the batch has images."""
    net, x = conv_net(), images()
    maps = CamMethod(LayerDiffGradCam, contrast=[1, 4, 5]).maps(net, net.features, x, TARGET)
    expected = LayerDiffGradCam(net, net.features).attribute(x, TARGET, contrast=[[1, 4, 5]])[:, 0]
    assert torch.equal(maps, expected)


@pytest.mark.parametrize("create_graph", [False, True])
def test_maps_have_single_precision_at_least(create_graph):
    net, x = conv_net().bfloat16(), images().bfloat16()
    maps = CamMethod(LayerGradCam).maps(net, net.features, x, TARGET, create_graph=create_graph)
    assert maps.dtype == torch.float32
    assert maps.requires_grad == create_graph


class Tokens(nn.Module):
    """A classifier of 4 x 4 patches, each a token of six channels."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 6, 2, stride=2), nn.LayerNorm(6), nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.norm(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))


class TestLayers:
    def test_a_name(self):
        net, x = conv_net(), images()
        method = CamMethod(LayerGradCam)
        assert torch.equal(method.maps(net, "features", x, TARGET), method.maps(net, net.features, x, TARGET))
        with pytest.raises(ValueError, match="`layer`"):
            method.maps(net, "feature", x, TARGET)

    @pytest.mark.parametrize("attribution", [LayerGradCam, LayerDiffGradCam, partial(LayerDiffGradCam)])
    def test_the_input_of_a_layer(self, attribution):
        net, x = conv_net(), images()
        layer = SpatialLayer(net.head[0], True, None, "head.0:input")
        method = CamMethod(attribution)
        expected = CamMethod(attribution, attribute_to_layer_input=True).maps(net, net.head[0], x, TARGET)
        assert torch.equal(method.maps(net, layer, x, TARGET), expected)

    def test_a_layout(self):
        torch.manual_seed(0)
        model, x = Tokens().eval(), images(size=8)
        layer = SpatialLayer(model.norm, False, "vit", "norm")
        expected = LayerDiffGradCam(model, model.norm, layout="vit").attribute(x, TARGET)[:, 0]
        for attribution in (LayerDiffGradCam, lambda model, layer: EquivariantPart(LayerDiffGradCam(model, layer), 1)):
            maps = CamMethod(attribution).maps(model, layer, x, TARGET)
            assert maps.shape == expected.shape == (3, 4, 4)
        assert torch.equal(CamMethod(LayerDiffGradCam).maps(model, layer, x, TARGET), expected)
        with pytest.raises(ValueError, match="`layer`"):
            CamMethod(LayerGradCam).maps(model, layer, x, TARGET)


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


def test_contrasts_of_one_class_share_a_forward_pass():
    net, x = conv_net(), images()
    methods = [
        CamMethod(LayerDiffGradCam, contrast=[]),
        CamMethod(LayerGradCam),
        CamMethod(LayerDiffGradCam, contrast=[1, 4], reduction="mean"),
        CamMethod(LayerDiffGradCam, relu_attributions=True),
        CamMethod(LayerDiffGradCam),
    ]
    expected = [method.maps(net, net.features, x, TARGET) for method in methods]
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    shared = maps_of_methods(methods, net, net.features, x, TARGET)
    assert len(calls) == 3
    for maps, alone in zip(shared, expected, strict=True):
        torch.testing.assert_close(maps, alone)
    with pytest.raises(ValueError, match="reduction"):
        maps_of_methods([methods[0], CamMethod(LayerDiffGradCam, reduction="sum")], net, net.features, x, TARGET)
