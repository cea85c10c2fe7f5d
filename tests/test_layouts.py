"""Token layers: vision transformers, Swin, a user's own layout."""

from __future__ import annotations

import warnings

import pytest
import torch
import torchvision
from nets import conv_net, images
from torch import nn

from captum_diffcam import InputAttribution, LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals, vit_layout

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]


class Tokens(nn.Module):
    """A convolution's maps (N, 5, 7, 7) as tokens behind ``prefix`` others, and a head that reads them all."""

    def __init__(self, prefix: int = 0, *, width: int = 7) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d((7, width)), nn.ReLU())
        self.prefix = nn.Parameter(torch.rand(prefix, 5))
        self.tokens = nn.Identity()
        self.head = nn.Sequential(nn.Tanh(), nn.Flatten(), nn.Linear(5 * (7 * width + prefix), 6))

    def forward(self, x):
        maps = self.conv(x)
        prefix = self.prefix.expand(len(x), -1, -1)
        return self.head(self.tokens(torch.cat([prefix, maps.flatten(2).transpose(1, 2)], 1)))


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("method", METHODS)
def test_tokens_are_the_maps_they_came_from(method, prefix):
    """The layer of tokens, read as a grid, says what the convolution before it says."""
    model, x = Tokens(prefix).eval(), images()
    expected = method(model, model.conv).attribute(x, target=[2, 0, 5])
    maps = method(model, model.tokens, layout="vit").attribute(x, target=[2, 0, 5])
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_grid_that_is_not_square(method):
    model, x = Tokens(1, width=4).eval(), images()
    expected = method(model, model.conv).attribute(x, target=1)
    cam = method(model, model.tokens, layout=vit_layout(grid=(7, 4)))
    torch.testing.assert_close(cam.attribute(x, target=1), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["swin", lambda tensor: tensor.permute(0, 3, 1, 2)], ids=["preset", "own"])
def test_channels_last(method, layout):
    net, x = conv_net(), images()
    last = nn.Identity()
    model = nn.Sequential(net.features, Permute(0, 2, 3, 1), last, Permute(0, 3, 1, 2), net.head)
    expected = method(net, net.features).attribute(x, target=1)
    cam = method(model, last, layout=layout)
    torch.testing.assert_close(cam.attribute(x, target=1), expected)
    torch.testing.assert_close(cam.attribute(x, target=1, attribute_to_layer_input=True), expected)


class Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, a):
        return a.permute(self.order)


def test_rivals_and_the_input_follow_the_layout():
    model, x = Tokens(1).eval(), images()
    cam = LayerDiffGradCam(model, model.tokens, layout="vit")
    torch.testing.assert_close(
        cam.attribute_rivals(x, 1, top_rivals(2)).maps,
        LayerDiffGradCam(model, model.conv).attribute_rivals(x, 1, top_rivals(2)).maps,
    )
    assert InputAttribution(cam).attribute(x, target=1).shape == x.shape


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=10).eval()
    nn.init.normal_(model.heads.head.weight)
    return model


@pytest.mark.parametrize("method", METHODS)
def test_a_vision_transformer(vit, method):
    """Grad-CAM by hand over the sixteen patches behind the class token."""
    x, layer = torch.rand(2, 3, 32, 32), vit.encoder.layers[-1].ln_1
    maps = method(vit, layer, layout="vit").attribute(x, target=3, contrast=[])
    assert maps.shape == (2, 1, 4, 4)
    kept = []
    with layer.register_forward_hook(lambda module, args, output: kept.append(output)):
        logits = vit(x)
    gradient = torch.autograd.grad(logits[:, 3].sum(), kept[0])[0][:, 1:]
    tokens = kept[0][:, 1:].detach()
    if method is LayerDiffGradCam:
        weights = gradient.mean(1, keepdim=True)
    else:
        g = gradient.relu()
        weights = (g / (2 + g * tokens.relu().sum(1, keepdim=True))).sum(1, keepdim=True)
    torch.testing.assert_close(maps.flatten(1), (weights * tokens).sum(2))


@pytest.mark.parametrize(
    "layer", ["encoder.layers.encoder_layer_2", "encoder.layers.encoder_layer_2.mlp", "encoder.ln"]
)
def test_tokens_that_do_not_reach_the_output(vit, layer):
    cam = LayerDiffGradCam(vit, vit.get_submodule(layer), layout="vit")
    with pytest.raises(ValueError, match="layer: the score does not depend on its positions"):
        cam.attribute(torch.rand(2, 3, 32, 32), target=3)


def test_tokens_without_a_layout_are_pointed_out(vit):
    cam = LayerDiffGradCam(vit, vit.encoder.layers[-1].ln_1)
    with pytest.warns(UserWarning, match=r"layer: \(2, 17, 16\) looks like tokens, .* layout='vit'") as caught:
        cam.attribute(torch.rand(2, 3, 32, 32), target=3)
    assert caught[0].filename == __file__
    last = nn.Identity()
    net = conv_net()
    model = nn.Sequential(net.features, Permute(0, 2, 3, 1), last, Permute(0, 3, 1, 2), net.head)
    with pytest.warns(UserWarning, match=r"layer: \(3, 7, 7, 5\) looks like tokens, .* layout='swin'"):
        LayerDiffGradCam(model, last).attribute(images(), target=1)


@pytest.mark.parametrize(("dims", "shape"), [(1, (3, 9)), (2, (3, 9, 9)), (2, (3, 40, 9)), (3, (3, 7, 7, 7))], ids=str)
def test_feature_maps_are_not(dims, shape):
    net = conv_net(dims)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LayerDiffGradCam(net, net.features).attribute(torch.rand(2, *shape), target=1)


def test_errors_name_the_argument():
    model, x = Tokens(1).eval(), images()
    with pytest.raises(ValueError, match="layout: got 'conv'; allowed are None, 'vit', 'swin' and a callable"):
        LayerDiffGradCam(model, model.tokens, layout="conv")
    with pytest.raises(ValueError, match=r"layout: got \['vit'\]; allowed are"):
        LayerDiffGradCam(model, model.tokens, layout=["vit"])
    with pytest.raises(ValueError, match=r"layout: got a tensor of shape \(3, 5, 7, 7\); 'vit' takes tokens"):
        LayerDiffGradCam(model, model.conv, layout="vit").attribute(x, target=1)
    with pytest.raises(ValueError, match="layout: got 50 tokens, which is no grid of 8 x 8"):
        LayerDiffGradCam(model, model.tokens, layout=vit_layout((8, 8))).attribute(x, target=1)
    with pytest.raises(ValueError, match="layout: got 600 tokens, which is no grid of 24 x 24"):
        vit_layout()(torch.zeros(1, 600, 4))
    with pytest.raises(ValueError, match="layout: the callable returned NoneType"):
        LayerDiffGradCam(model, model.tokens, layout=lambda tensor: None).attribute(x, target=1)
    with pytest.raises(ValueError, match=r"layout: the callable returned shape \(150, 5\)"):
        LayerDiffGradCam(model, model.tokens, layout=lambda t: t.flatten(0, 1)).attribute(x, target=1)
