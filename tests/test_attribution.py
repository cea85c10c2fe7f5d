"""The classes themselves: Captum's signature, their own arguments, a weighting rule of one's own."""

from __future__ import annotations

import inspect

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from captum.attr._utils.attribution import GradientAttribution
from nets import conv_net, images, reference

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam, top_rivals

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam]


@pytest.mark.parametrize("method", METHODS)
def test_captums_classes_and_signature(method):
    assert issubclass(method, LayerAttribution)
    assert issubclass(method, GradientAttribution)
    ours = list(inspect.signature(method.attribute).parameters.values())
    theirs = list(inspect.signature(LayerGradCam.attribute).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert [(p.name, p.kind) for p in ours[len(theirs) :]] == [
        ("contrast", inspect.Parameter.KEYWORD_ONLY),
        ("reduction", inspect.Parameter.KEYWORD_ONLY),
    ]
    init = [list(inspect.signature(c.__init__).parameters) for c in (method, LayerGradCam)]
    assert init[0] == [*init[1], "layout", "tensor_index", "run", "class_dim"]
    net = conv_net()
    assert not method(net, net.features).multiplies_by_inputs


@pytest.mark.parametrize("method", METHODS)
def test_on_an_empty_batch(method, net, x):
    assert reference(net, x[:0], method).shape == (0, 1, 7, 7)
    assert reference(net, x[:0], method, target=[], contrast=top_rivals(2)).shape == (0, 1, 7, 7)
    assert reference(net, x[:0], method, contrast=torch.zeros(0, 6, dtype=torch.bool)).shape == (0, 1, 7, 7)


def test_a_weighting_rule_of_ones_own(net, x):
    """Layer Grad-CAM with a maximum in place of the mean: a subclass names the rule."""

    class LayerMaxCam(LayerDiffGradCam):
        channel_weights = staticmethod(lambda activations, gradients: gradients.amax((2, 3), keepdim=True))

    maps = LayerMaxCam(net, net.features).attribute(x, target=1, contrast=[])
    a = net.features(x).detach().requires_grad_()
    gradient = torch.autograd.grad(net.head(a)[:, 1].sum(), a)[0]
    torch.testing.assert_close(maps, (gradient.amax((2, 3), keepdim=True) * a).sum(1, keepdim=True).detach())


def test_constructor(net):
    with pytest.raises(TypeError, match="layer"):
        LayerDiffGradCam(net, 3)
    with pytest.raises(ValueError, match="features"):  # the nearest name
        LayerDiffGradCam(net, "featurs")
    with pytest.raises(ValueError, match="layer"):
        LayerDiffGradCam(net, [])
    with pytest.raises(TypeError, match="forward_func"):
        LayerDiffGradCam(3, net.features)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"contrast": 6}, IndexError, "`contrast`"),
        ({"contrast": [0, 1]}, ValueError, "`contrast`"),
        ({"contrast": [[0]] * 2}, ValueError, "`contrast`"),
        ({"contrast": 0.5}, TypeError, "`contrast`"),
        ({"reduction": "sum"}, ValueError, "`reduction`"),
        ({"reduction": None}, ValueError, "`reduction`"),
    ],
    ids=str,
)
def test_contrast_and_reduction(net, x, kwargs, error, message):
    with pytest.raises(error, match=f"^{message}"):
        reference(net, x, **kwargs)


def test_sets_of_the_wrong_length_that_could_be_repeats(net, x):
    """Two sets for four examples are two repeats of each, but then each two have one target."""
    x = images(4)
    cam = LayerDiffGradCam(net, net.features)
    cam.attribute(x, target=[0, 0, 1, 1], contrast=[[4], [5]])
    with pytest.raises(ValueError, match="contrast"):
        cam.attribute(x, target=[0, 1, 2, 3], contrast=[[4], [5]])
