"""Layers of many kinds: half precision, several runs, what they return, views that are changed later."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections import OrderedDict, UserDict
from typing import NamedTuple

import pytest
import torch
from nets import conv_net, images
from torch import nn
from torch.utils.checkpoint import checkpoint

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, last_spatial_layer


def volume_net(side: int, dims: int) -> nn.Sequential:
    torch.manual_seed(0)
    conv, pool = ((nn.Conv2d, nn.AdaptiveAvgPool2d), (nn.Conv3d, nn.AdaptiveAvgPool3d))[dims - 2]
    model = nn.Sequential(conv(1, 4, 3, padding=1), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    nn.init.normal_(model[4].weight, std=0.02)
    return model


@pytest.mark.parametrize(("side", "dims"), [(96, 3), (512, 2)])
@pytest.mark.parametrize("how", ["weights", "autocast"])
@pytest.mark.parametrize("reduction", ["logsumexp", "mean"])
def test_float16_gradients_do_not_underflow(side, dims, how, reduction):
    """The gradient of a mean over so many positions is below the smallest number of float16."""
    model = volume_net(side, dims)
    x = torch.rand(1, 1, *[side] * dims)
    expected = LayerDiffGradCam(model, model[1]).attribute(x, 1, reduction=reduction)
    if how == "weights":
        half = copy.deepcopy(model).half()
        maps = LayerDiffGradCam(half, half[1]).attribute(x.half(), 1, reduction=reduction)
    else:
        with torch.autocast("cpu", torch.float16):
            maps = LayerDiffGradCam(model, model[1]).attribute(x, 1, reduction=reduction)
    assert maps.dtype == torch.float32
    assert (maps - expected).abs().max() <= 0.01 * expected.abs().max()


class _Float32AtBothEnds(nn.Module):
    """The layer and the logits are in float32, and what lies between them in what autocast chooses."""

    def __init__(self, own_autocast: bool) -> None:
        super().__init__()
        self.own_autocast = own_autocast
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.mix, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

    def forward(self, x):
        with torch.autocast("cpu", torch.float16, enabled=self.own_autocast or torch.is_autocast_enabled("cpu")):
            features = self.norm(self.conv(x).float()).relu()
            return self.head(self.mix(features).mean(dim=(2, 3))).float()


@pytest.mark.parametrize("own_autocast", [False, True])
def test_float16_between_a_layer_and_logits_in_float32(own_autocast):
    torch.manual_seed(0)
    plain = _Float32AtBothEnds(own_autocast=False).eval()
    x = torch.rand(1, 3, 512, 512)
    expected = LayerDiffGradCam(plain, "norm").attribute(x, 1)
    model = _Float32AtBothEnds(own_autocast).eval()
    model.load_state_dict(plain.state_dict())
    with torch.autocast("cpu", torch.float16, enabled=not own_autocast):
        maps = LayerDiffGradCam(model, "norm").attribute(x, 1)
    assert (maps - expected).abs().max() <= 0.01 * expected.abs().max()


def test_float16_gradients_that_overflow_when_scaled():
    """Then a smaller scale is taken."""
    model = conv_net()
    model.head[-1].weight.data *= 40
    x = images()
    expected = LayerDiffGradCam(model, model.features).attribute(x, 1, contrast=4)
    half = copy.deepcopy(model).half()
    maps = LayerDiffGradCam(half, half.features).attribute(x.half(), 1, contrast=4)
    assert (maps - expected).abs().max() <= 0.02 * expected.abs().max()


def test_a_map_that_is_not_finite_is_named():
    class Deviation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.conv(x).relu().var((2, 3)).sqrt())

    model, x = Deviation().eval(), torch.rand(3, 3, 8, 8)
    x[1] = 0
    with pytest.warns(UserWarning, match=r"Conv2d.*\[1\]"):
        maps = LayerDiffGradCam(model, model.conv).attribute(x, 3)
    assert maps[[0, 2]].isfinite().all()
    assert not maps[1].isfinite().all()


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.head = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Linear(16, 4)

    def forward(self, a, b):
        a, b = (self.features(x) for x in (a, b))
        return self.join(a, b)

    def join(self, a, b):
        a, b = a.mean((2, 3)), b.mean((2, 3))
        return self.head(torch.cat([a, a * b], 1))


@pytest.mark.parametrize(("run", "index"), [(0, 0), (1, 1), (-1, 1), (-2, 0), (None, 1)])
def test_a_run_of_a_shared_layer_is_chosen(run, index):
    model, pair = Siamese().eval(), (torch.rand(2, 3, 9, 9), torch.rand(2, 3, 9, 9))
    features = [model.features(x).detach().requires_grad_() for x in pair]
    z = model.join(*features)
    (g,) = torch.autograd.grad((z[:, 3] - z[:, :3].logsumexp(1)).sum(), [features[index]])
    expected = (g.mean((2, 3), keepdim=True) * features[index]).sum(1, keepdim=True).detach()
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        maps = LayerDiffGradCam(model, model.features, run=run).attribute(pair, 3)
    torch.testing.assert_close(maps, expected)
    assert any("run=" in str(message.message) for message in messages) == (run is None)


def test_a_run_that_there_is_not():
    model, pair = Siamese().eval(), (torch.rand(2, 3, 9, 9), torch.rand(2, 3, 9, 9))
    with pytest.raises(IndexError, match="run"):
        LayerDiffGradCam(model, model.features, run=2).attribute(pair, 3)
    with pytest.raises(TypeError, match="run"):
        LayerDiffGradCam(model, model.features, run="first")


class Pair(NamedTuple):
    word: str
    tensor: torch.Tensor


@dataclasses.dataclass
class Output:
    tensor: torch.Tensor
    word: str = "word"


@dataclasses.dataclass(frozen=True)
class FrozenOutput:
    tensor: torch.Tensor
    ids: torch.Tensor


class OwnDict(dict):
    pass


CONTAINERS = {
    "named tuple": (lambda a: Pair("word", a), lambda out: out.tensor),
    "dataclass": (Output, lambda out: out.tensor),
    "frozen dataclass": (lambda a: FrozenOutput(a, torch.arange(3)), lambda out: out.tensor),
    "subclass of dict": (lambda a: OwnDict(tensor=a, word="word"), lambda out: out["tensor"]),
    "ordered": (lambda a: OrderedDict(tensor=a), lambda out: out["tensor"]),
    "UserDict": (lambda a: UserDict(tensor=a, word=None), lambda out: out["tensor"]),
    "list in a dict": (lambda a: {"levels": [None, (a,)]}, lambda out: out["levels"][1][0]),
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_layer_that_returns_a_container(kind, frozen):
    pack, unpack = CONTAINERS[kind]
    net, x = conv_net(), images()

    class Packs(nn.Module):
        def forward(self, a):
            return pack(a)

    packs = Packs()
    model = nn.ModuleDict({"net": net, "packs": packs}).requires_grad_(not frozen)
    expected = LayerDiffGradCam(net, net.features).attribute(x, 1)

    def forward(x):
        output = model.packs(net.features(x))
        return net.head(unpack(output))

    torch.testing.assert_close(LayerDiffGradCam(forward, packs).attribute(x, 1), expected)


@pytest.mark.parametrize("value", ["words", 3, None, {"words": "words"}, [1, 2], Output("no tensor")], ids=str)
def test_a_layer_without_any_tensor_is_told_apart(value):
    class Words(nn.Module):
        def forward(self, x):
            return value

    words, net = Words(), conv_net()

    def forward(x):
        words(x)
        return net(x)

    with pytest.raises(TypeError, match="layer"):
        LayerDiffGradCam(forward, words).attribute(images(), 1)


def test_layers_that_do_not_run():
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

        def forward(self, x):
            x = self.attention(x, x, x)[0]
            return self.head.forward(x).mean(1)

    model = Attends()
    for layer in (model.attention.out_proj, model.head):
        with pytest.raises(ValueError, match=r"`layer`.*forward"):
            LayerDiffGradCam(model, layer, layout="swin").attribute(torch.rand(2, 5, 8), 1)


class ViewThenChange(nn.Module):
    """Its layer returns a view whose base is changed in place later."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.tokens, self.head, self.inplace = nn.Conv2d(3, 8, 3), nn.Flatten(2), nn.Linear(8, 5), inplace

    def forward(self, x):
        y = self.conv(x)
        tokens = self.tokens(y)
        if self.inplace:
            y.tanh_()
        else:
            tokens = tokens.tanh()
        return self.head(tokens.square().mean(2))


def test_a_view_whose_base_is_changed_later():
    x = torch.rand(2, 3, 10, 10)
    plain, changes = ViewThenChange(False).eval(), ViewThenChange(True).eval()
    torch.testing.assert_close(LayerDiffGradCam(plain, plain.tokens).explain(x, 3).logits, plain(x).detach())
    with pytest.raises(ValueError, match="layer"):
        LayerDiffGradCam(changes, changes.tokens).attribute(x, 3)


class AddsInPlace(nn.Module):
    def __init__(self, inplace: bool, view) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.inplace, self.view = nn.Linear(8, 6), inplace, view

    def forward(self, x):
        x = self.view(self.stem(x))
        if self.inplace:
            x += self.conv(x).tanh()
        else:
            x = x + self.conv(x).tanh()
        return self.head(x.square().mean((2, 3)))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("view", "right"),
    [(lambda x: x, True), (lambda x: x.transpose(2, 3), False), (lambda x: x[:], False)],
    ids=["itself", "transposed", "sliced"],
)
def test_an_input_that_is_changed_in_place_later(frozen, view, right):
    """The map of the network that computes x + f(x), or an error."""
    x = torch.rand(2, 3, 9, 9)
    plain, changes = AddsInPlace(False, view).eval(), AddsInPlace(True, view).eval().requires_grad_(not frozen)
    expected = LayerDiffGradCam(plain, plain.conv).attribute(x, 3, attribute_to_layer_input=True)
    cam = LayerDiffGradCam(changes, changes.conv)
    if right:
        torch.testing.assert_close(cam.attribute(x, 3, attribute_to_layer_input=True), expected)
    else:
        with pytest.raises(ValueError, match="layer"):
            cam.attribute(x, 3, attribute_to_layer_input=True)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("method", [LayerDiffGradCam, LayerDiffGradCamPlusPlus])
def test_a_layer_that_is_compiled(backend, method):
    torch._dynamo.reset()
    conv, x = nn.Conv2d(3, 4, 3), torch.rand(2, 3, 8, 8)
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    expected = method(model, model[0]).attribute(x, 3)
    model[0] = torch.compile(model[0], backend=backend)
    torch.testing.assert_close(method(model, model[0]).attribute(x, 3), expected)
    torch.testing.assert_close(method(model, "0").attribute(x, 3), expected)
    torch._dynamo.reset()


def test_a_spatial_layer_brings_its_side_and_layout():
    torch.manual_seed(0)
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 8, 3), relu, nn.Conv2d(8, 8, 3), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.rand(2, 3, 12, 12)
    layer = last_spatial_layer(model, x)
    assert layer.attribute_to_layer_input
    expected = LayerDiffGradCam(model, model[4]).attribute(x, 3, attribute_to_layer_input=True)
    torch.testing.assert_close(LayerDiffGradCam(model, layer).attribute(x, 3), expected)
    first, second = LayerDiffGradCam(model, [layer, "2"]).attribute(x, 3)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, LayerDiffGradCam(model, model[2]).attribute(x, 3))


def test_torch_func_inside_of_the_model():
    """There PyTorch has no hooks for saved tensors; the model runs again without them."""
    net, x = conv_net(), images()
    model = nn.ModuleList([net])

    def forward(x):
        a = net.features(x)
        return torch.func.vmap(lambda single: net.head(single[None])[0], randomness="different")(a)

    expected = LayerDiffGradCam(net, net.features).attribute(x, 1)
    torch.testing.assert_close(LayerDiffGradCam(forward, model[0].features).attribute(x, 1), expected)

    def layer_within(x):
        return torch.func.vmap(lambda single: net(single[None])[0], randomness="different")(x)

    with pytest.raises(ValueError, match=r"`layer`.*torch\.func"):
        LayerDiffGradCam(layer_within, net.features).attribute(x, 1)


def test_a_map_within_torch_func():
    net = conv_net()
    with pytest.raises(ValueError, match="inputs"):
        torch.func.vmap(lambda x: LayerDiffGradCam(net, net.features).attribute(x[None], 1)[0])(images())


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(("layer", "reentrant"), [("0", True), ("1", True), ("0", False), ("1", False)])
def test_checkpoints(layer, reentrant):
    """PyTorch has no gradient through a reentrant checkpoint, nor at a layer inside of one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 5)).eval()

    def forward(x, use_checkpoint=True):
        a = model[0](x)
        b = checkpoint(model[1], a, use_reentrant=reentrant) if use_checkpoint else model[1](a)
        return model[2](b.relu().mean((2, 3)))

    cam, x = LayerDiffGradCam(forward, model.get_submodule(layer)), torch.rand(2, 3, 9, 9)
    if reentrant:
        with pytest.raises(ValueError, match=r"checkpoint"):
            cam.attribute(x, 1)
    else:
        torch.testing.assert_close(cam.attribute(x, 1), cam.attribute(x, 1, (False,)))
