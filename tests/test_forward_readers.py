"""Tensors that are read before the layer's hook fires: their map is the one of the full graph."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from nets import images
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_flatten

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]


class Model(nn.Module):
    """A stem, a layer whose output is what ``layer`` makes of the stem's, and a head."""

    def __init__(self, layer: nn.Module, after=lambda out: out) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.layer, self.after = nn.Conv2d(3, 4, 3), layer, after
        self.head = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.linear = nn.Linear(16, 6)

    def forward(self, x):
        return self.linear(self.head(self.after(self.layer(self.stem(x)))))


class Inside(nn.Module):
    """A layer by its function, with two convolutions of its own."""

    def __init__(self, function) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.function, self.a, self.b = function, nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.function(self, x)


def returns_both(m, x):
    e = m.a(x)
    return e, m.b(e).sigmoid()


def returns_the_first_and_keeps_the_other(m, x):
    e = m.a(x)
    m.kept = m.b(e).sigmoid()
    return e


def reads_a_view(m, x):
    e = m.a(x)
    m.kept = m.b(e[:, :, 1:]).mean((2, 3), keepdim=True)
    return e


def writes_it_elsewhere(m, x):
    e = m.a(x)
    m.kept = torch.zeros_like(e)
    m.kept[:] = e
    return e


def views_before_a_change_in_place(m, x):
    e = m.a(x)
    view = e.flatten(2)
    e.relu_()
    m.kept = view.mean(2)[..., None, None]
    return e


def is_a_list(m, x):
    e = m.a(x)
    m.kept = torch.stack([e, e]).sum(0)
    return e


class _InNumPy(torch.autograd.Function):
    """Autograd knows what it does, and the watch sees no more than that an array is asked for."""

    @staticmethod
    def forward(ctx, e):
        ctx.save_for_backward(e)
        return torch.from_numpy(np.tanh(e.numpy()))

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (1 - ctx.saved_tensors[0].tanh() ** 2)


def reads_its_array(m, x):
    e = m.a(x)
    m.kept = _InNumPy.apply(e)
    return e


def returns_it_twice(m, x):
    e = m.a(x)
    return {"last": e, "all": [e]}


CASES = {
    "array": (reads_its_array, lambda m, out: out * m.layer.kept),
    "twice": (returns_it_twice, lambda m, out: out["last"] * out["all"][0].sigmoid()),
    "both": (returns_both, lambda m, out: out[0] * out[1]),
    "kept": (returns_the_first_and_keeps_the_other, lambda m, out: out * m.layer.kept),
    "view": (reads_a_view, lambda m, out: out + 3 * m.layer.kept),
    "written": (writes_it_elsewhere, lambda m, out: out * m.layer.kept),
    "in place": (views_before_a_change_in_place, lambda m, out: out + 3 * m.layer.kept),
    "list": (is_a_list, lambda m, out: out * m.layer.kept),
}


def by_hand(model, layer, x, method, *, at_input=False):
    """The map from the gradient of the whole graph at the very tensor that the layer returns, or takes."""
    kept = []

    def keep_input(module, args):
        kept.append(args[0])
        return (args[0].clone(),)  # the layer may work in place

    def keep_output(module, args, output):
        leaves, _ = tree_flatten(output)
        kept.append(leaves[0])

    hook = layer.register_forward_pre_hook(keep_input) if at_input else layer.register_forward_hook(keep_output)
    x = x.clone().requires_grad_() * 1
    with hook:
        z = model(x)
    score = (z[:, 1] - z[:, [0, 2, 3, 4, 5]].logsumexp(1)).sum()
    g, a = torch.autograd.grad(score, kept[0])[0], kept[0].detach()
    if method is LayerDiffGradCam:
        weights = g.mean((2, 3), keepdim=True)
    else:
        weights = (g.relu() / (2 + g.relu() * a.relu().sum((2, 3), keepdim=True))).sum((2, 3), keepdim=True)
    return (weights * a).sum(1, keepdim=True)


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("parallel", [False, True], ids=["alone", "parallel"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_reads_what_it_returns(method, case, parallel, frozen):
    inside, after = CASES[case]
    model = Model(Inside(inside)).eval().requires_grad_(not frozen)
    model.after = partial(after, model)
    x = images()
    expected = by_hand(model, model.layer, x, method)
    tested = nn.DataParallel(model) if parallel else model
    maps = method(tested, model.layer, tensor_index=0).attribute(x, target=1)
    torch.testing.assert_close(maps, expected)


class Levels(nn.Module):
    """A backbone that returns several levels, as those of segmentation and detection do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.low = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, x):
        low = self.low(x)
        return {"low": low, "high": self.high(low)}


@pytest.mark.parametrize("method", METHODS)
def test_a_backbone_that_returns_several_levels(method):
    model = Model(Levels(), after=lambda out: out["low"] * out["high"]).eval()
    x = images()
    maps = method(model, model.layer).attribute(x, target=1)
    torch.testing.assert_close(maps[0], by_hand(model, model.layer, x, method))


class Skip(nn.Module):
    """The layer may return its input, which a skip connection has read before."""

    def __init__(self, layer) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.gate, self.layer = nn.Conv2d(4, 4, 1), layer

    def forward(self, x):
        read = self.gate(x).sigmoid()
        return self.layer(x) * read


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("at_input", [False, True], ids=["output", "input"])
@pytest.mark.parametrize(
    "layer",
    [nn.Dropout(), nn.Identity(), nn.Sequential(nn.Identity(), nn.Dropout()), nn.Conv2d(4, 4, 1)],
    ids=["dropout", "identity", "sequence", "convolution"],
)
@pytest.mark.parametrize("method", METHODS)
def test_an_input_that_a_skip_connection_has_read(method, layer, at_input, frozen):
    model = Model(Skip(layer)).eval().requires_grad_(not frozen)
    x = images()
    expected = by_hand(model, layer, x, method, at_input=at_input)
    maps = method(model, layer).attribute(x, target=1, attribute_to_layer_input=at_input)
    torch.testing.assert_close(maps, expected)


def test_a_view_taken_before_a_leaf_that_works_in_place():
    """What the ReLU returns is its input, changed; the view of it has changed too."""

    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            a = x * 1
            view = a[:, :, :, 1:]
            return self.relu(a) * view.mean((2, 3), keepdim=True)

    model, x = Model(InPlace()).eval(), images()
    expected = by_hand(model, model.layer.relu, x, LayerDiffGradCam)
    torch.testing.assert_close(LayerDiffGradCam(model, model.layer.relu).attribute(x, target=1), expected)


def graph_free(explain):
    """Whether nothing before the layer was recorded: the stem saves its input for the backward pass otherwise."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.shape), t)[1], lambda t: t):
        explain()
    return images().shape not in saved


@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(inplace=True),
        nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        nn.Sequential(nn.BatchNorm2d(4), nn.Dropout()),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.Hardswish(inplace=True), nn.Identity())),
        nn.MaxPool2d(2),
        Inside(lambda m, x: m.b(m.a(x)) + x),
        Inside(lambda m, x: functional.dropout(m.a(x), training=False).relu_()),
    ],
    ids=["in place", "norm in place", "norm dropout", "nested", "pool", "block", "functional"],
)
def test_nothing_before_a_layer_that_nobody_read_is_recorded(layer, at_input):
    """The price of a forward pass, for every usual kind of last layer."""
    model, x = Model(layer).eval(), images()
    cam = LayerDiffGradCam(model, layer)
    cheap = partial(cam.attribute, x, target=1, attribute_to_layer_input=at_input)
    # The block reads its input twice, but after the hook.
    assert graph_free(cheap)
    torch.testing.assert_close(cheap(), by_hand(model, layer, x, LayerDiffGradCam, at_input=at_input))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_several_layers_in_any_order(order):
    """Each map is what the layer alone gives; the recording starts at whichever runs first."""
    model, x = Model(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True))).eval(), images()
    layers = [model.stem, model.layer, model.head[0]]
    maps = LayerDiffGradCam(model, [layers[i] for i in order]).attribute(x, target=1)
    for place, i in enumerate(order):
        torch.testing.assert_close(maps[place], LayerDiffGradCam(model, layers[i]).attribute(x, target=1))


@pytest.mark.parametrize("inner_first", [True, False])
def test_layers_within_each_other(inner_first):
    model, x = Model(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True))).eval(), images()
    layers = [model.layer[1], model.layer]
    layers = layers if inner_first else layers[::-1]
    maps = LayerDiffGradCam(model, layers).attribute(x, target=1)
    expected = by_hand(model, model.layer, x, LayerDiffGradCam)
    torch.testing.assert_close(maps[0], expected)
    torch.testing.assert_close(maps[1], expected)


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
def test_branches_beside_each_other(frozen):
    """The second branch does not depend on the first, and is read within itself."""
    model = Model(nn.Identity()).eval()
    first, second = nn.Conv2d(4, 4, 1), Inside(returns_the_first_and_keeps_the_other)
    model.layer = Inside(lambda m, x: m.first(x) + m.second(x) * m.second.kept)
    model.layer.first, model.layer.second = first, second
    model.requires_grad_(not frozen)
    x = images()
    maps = LayerDiffGradCam(model, [first, second]).attribute(x, target=1)
    for single, layer in zip(maps, (first, second), strict=True):
        torch.testing.assert_close(single, by_hand(model, layer, x, LayerDiffGradCam))


def test_the_mode_is_left_after_an_error_within_the_layer():
    """Within a context that is a mode of torch, too: each ends what it began."""

    def fail(m, x):
        m.a(x)
        raise KeyError("the layer's own error")

    class InContext(Model):
        def forward(self, x):
            with torch.device("cpu"):
                return super().forward(x)

    model = InContext(Inside(fail)).eval()
    with pytest.raises(KeyError, match="the layer's own error"):
        LayerDiffGradCam(model, model.layer).attribute(images(), target=1)
    assert not torch.overrides._len_torch_function_stack()
