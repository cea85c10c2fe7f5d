"""Token layers: vision transformers, Swin, a user's own layout."""

from __future__ import annotations

import copy
import pickle
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
    model, x = Tokens(prefix).eval(), images(size=14)
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


def test_a_grid_of_the_wrong_aspect_is_not_taken():
    """224 x 256 in small: 2 x 4 patches behind a class token are nine, a square."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 4, stride=4)
    head = nn.Sequential(nn.Flatten(), nn.Linear(45, 6))
    tokens = nn.Identity()

    def forward(x):
        patches = conv(x).flatten(2).transpose(1, 2)
        return head(tokens(torch.cat([patches.mean(1, keepdim=True), patches], 1)))

    x = torch.rand(2, 3, 8, 16)
    maps = LayerDiffGradCam(forward, tokens, layout="vit").attribute(x, target=1)
    assert maps.shape == (2, 1, 2, 4)
    torch.testing.assert_close(
        maps, LayerDiffGradCam(forward, tokens, layout=vit_layout((2, 4))).attribute(x, target=1)
    )


@pytest.mark.parametrize("grid", [(5,), (2, 3, 4)], ids=str)
def test_grids_of_any_number_of_dimensions(grid):
    numbered = torch.arange(2 * torch.Size(grid).numel() * 3.0).reshape(2, -1, 3)
    tokens = torch.cat([torch.full((2, 1, 3), -1.0), numbered], 1)
    expected = numbered.reshape(2, *grid, 3).movedim(-1, 1)
    assert vit_layout(grid)(tokens).tolist() == expected.tolist()


class Encoder(nn.Module):
    """A transformer over the patches of an image, with time before examples as in torch's default."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.head = nn.Linear(8, 6)

    def forward(self, x):
        return self.head(self.block(self.conv(x).flatten(2).permute(2, 0, 1)).mean(0))


def test_tokens_before_examples():
    """Nine tokens of four examples are no nine examples."""
    model, x = Encoder().eval(), images(4, size=12)
    for layout in (None, "swin", "vit"):
        with pytest.raises(ValueError, match="`layer`"):
            LayerDiffGradCam(model, model.block, layout=layout).attribute(x, target=1)
    vit = vit_layout((3, 3))
    maps = LayerDiffGradCam(model, model.block, layout=lambda t: vit(t.transpose(0, 1))).attribute(x, target=1)
    one_by_one = [
        LayerDiffGradCam(model, model.block, layout=lambda t: vit(t.transpose(0, 1))).attribute(single, target=1)
        for single in x.split(1)
    ]
    assert maps.shape == (4, 1, 3, 3)
    torch.testing.assert_close(maps, torch.cat(one_by_one))


class Windows(nn.Module):
    """Four windows of 2 x 2 positions for each image, as Swin's attention sees them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.inner, self.head = nn.Conv2d(3, 5, 2, stride=2), nn.Identity(), nn.Linear(80, 6)

    def forward(self, x):
        a = self.conv(x).reshape(-1, 5, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1)
        a = self.inner(a.reshape(-1, 4, 5))
        return self.head(a.tanh().reshape(len(x), -1))


def joined(tensor):
    return tensor.reshape(-1, 2, 2, 2, 2, 5).permute(0, 5, 1, 3, 2, 4).reshape(-1, 5, 4, 4)


def test_windows_apart_from_each_other():
    model, x = Windows().eval(), images(2, size=8)
    with pytest.raises(ValueError, match="`layer`"):
        LayerDiffGradCam(model, model.inner).attribute(x, target=1)
    maps = LayerDiffGradCam(model, model.inner, layout=joined).attribute(x, target=1)
    torch.testing.assert_close(maps, LayerDiffGradCam(model, model.conv).attribute(x, target=1))


@pytest.mark.parametrize("layout", ["vit", "swin", vit_layout((7, 14)), None], ids=["vit", "swin", "grid", "none"])
def test_pickles_and_copies(layout):
    model, x = Tokens(0, width=14).eval(), images(size=9)
    cam = LayerDiffGradCam(model, model.conv if layout in (None, "swin") else model.tokens, layout=layout)
    for again in (pickle.loads(pickle.dumps(cam)), copy.deepcopy(cam)):
        assert again.layouts == cam.layouts
    if layout == vit_layout((7, 14)):
        torch.testing.assert_close(again.attribute(x, target=1), cam.attribute(x, target=1))


def test_rivals_and_the_input_follow_the_layout():
    model, x = Tokens(1).eval(), images(size=14)
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
    with pytest.raises(ValueError, match="`layer`"):
        cam.attribute(torch.rand(2, 3, 32, 32), target=3)


def test_tokens_without_a_layout_are_pointed_out(vit):
    cam = LayerDiffGradCam(vit, vit.encoder.layers[-1].ln_1)
    with pytest.warns(UserWarning, match="layout='vit'") as caught:
        cam.attribute(torch.rand(2, 3, 32, 32), target=3)
    assert caught[0].filename == __file__
    last = nn.Identity()
    net = conv_net()
    model = nn.Sequential(net.features, Permute(0, 2, 3, 1), last, Permute(0, 3, 1, 2), net.head)
    with pytest.warns(UserWarning, match="layout='swin'"):
        LayerDiffGradCam(model, last).attribute(images(), target=1)


def warnings_of(model, layer, x, target=1, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LayerDiffGradCam(model, layer, **kwargs).attribute(x, target=target)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("layer", ["mix", "norm", "act"])
def test_channels_first_of_an_image_are_not_taken_for_tokens(layer):
    """Patches as (N, C, T): their 1-d convolution, norm and activation need no layout."""
    model = nn.Sequential()
    model.add_module("patches", nn.Conv2d(3, 8, 8, 8))
    model.add_module("flat", nn.Flatten(2))
    model.add_module("mix", nn.Conv1d(8, 8, 3, padding=1))
    model.add_module("norm", nn.BatchNorm1d(8))
    model.add_module("act", nn.Tanh())
    model.add_module("pool", nn.AdaptiveAvgPool1d(1))
    model.add_module("head", nn.Sequential(nn.Flatten(), nn.Linear(8, 5)))
    assert warnings_of(model.eval(), model.get_submodule(layer), torch.rand(2, 3, 64, 32)) == []


class Sequence(nn.Module):
    """A transformer over a series (N, T, F), with its own layer at the end; pools all times or reads the last one."""

    def __init__(self, *, last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.block = nn.Linear(4, 16), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.last, self.norm, self.head = last, nn.LayerNorm(16), nn.Linear(16, 5)
        self.eval()

    def forward(self, x):
        x = self.norm(self.block(self.embed(x)))
        return self.head(x[:, -1] if self.last else x.mean(1))


def test_a_series_that_is_kept_as_tokens_is_pointed_out():
    model = Sequence()
    (warning,) = warnings_of(model, model.norm, torch.rand(2, 12, 4))
    assert "layout='swin'" in warning
    assert warnings_of(model, model.norm, torch.rand(2, 12, 4), layout="swin") == []


def test_a_layer_of_which_one_position_matters_is_pointed_out():
    model = Sequence(last=True)
    (warning,) = warnings_of(model, model.norm, torch.rand(2, 40, 4), layout="swin")
    assert "`layer` has 40 positions" in warning
    assert warnings_of(model, model.embed, torch.rand(2, 40, 4), layout="swin") == []


@pytest.mark.parametrize(("read", "warned"), [(1, True), (2, True), (3, False)])
def test_the_limit_of_few_positions(read, warned):
    """Two of forty positions are few, three are not."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 8, 1), First(read), nn.Flatten(), nn.Linear(8 * read, 5))
    assert bool(warnings_of(model, model[0], torch.rand(2, 3, 40))) == warned


def test_a_pixel_of_a_segmentation_may_depend_on_few_positions():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1))
    assert warnings_of(model, model[1], torch.rand(2, 3, 12, 12), target=(1, 4, 5)) == []


class First(nn.Module):
    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, x):
        return x[..., : self.positions]


@pytest.mark.parametrize("layer", ["2", "4"])
def test_a_layer_without_positions_is_pointed_out_and_another_named(layer):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    (warning,) = warnings_of(model, model.get_submodule(layer), torch.rand(2, 3, 9, 9))
    assert "`layer`" in warning
    assert "'1'" in warning


def test_positions_of_no_size():
    conv, layer = nn.Conv2d(3, 5, 3), First(0)
    with pytest.raises(ValueError, match="`layer`"):
        LayerDiffGradCam(lambda x: layer(conv(x)).sum((2, 3)), layer).attribute(torch.rand(2, 3, 5, 5), target=1)


@pytest.mark.parametrize(("dims", "shape"), [(1, (3, 9)), (2, (3, 9, 9)), (2, (3, 40, 9)), (3, (3, 7, 7, 7))], ids=str)
def test_feature_maps_are_not(dims, shape):
    net = conv_net(dims)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LayerDiffGradCam(net, net.features).attribute(torch.rand(2, *shape), target=1)


def test_errors_name_the_argument():
    model, x = Tokens(1).eval(), images()
    with pytest.raises(ValueError, match="`layout`"):
        LayerDiffGradCam(model, model.tokens, layout="conv")
    with pytest.raises(ValueError, match="`layout`"):
        LayerDiffGradCam(model, model.tokens, layout=["vit"])
    with pytest.raises(ValueError, match="`layout`"):
        LayerDiffGradCam(model, model.conv, layout="vit").attribute(x, target=1)
    with pytest.raises(ValueError, match="`layout`"):
        LayerDiffGradCam(model, model.tokens, layout=vit_layout((8, 8))).attribute(x, target=1)
    with pytest.raises(ValueError, match="`layout`"):
        vit_layout()(torch.zeros(1, 600, 4))
    for grid, error in ((7, TypeError), ((7.0, 7), TypeError), ((), TypeError), ((0, 7), ValueError)):
        with pytest.raises(error, match="`grid`"):
            vit_layout(grid)
    with pytest.raises(ValueError, match="`layout`"):
        LayerDiffGradCam(model, model.tokens, layout=lambda tensor: None).attribute(x, target=1)
    with pytest.raises(ValueError, match="`layout`"):
        LayerDiffGradCam(model, model.tokens, layout=lambda t: t.flatten(0, 1)).attribute(x, target=1)
