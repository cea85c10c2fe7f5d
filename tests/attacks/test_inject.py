"""Injection: Grad-CAM shows the hoax, and probabilities and contrastive maps do not change."""

from __future__ import annotations

import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from nets import conv_net, images
from torch import nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals
from captum_diffcam.attacks import hoax_map, inject_hoax
from captum_diffcam.layers import SpatialLayer
from captum_diffcam.metrics import pearson

HOAX = hoax_map((7, 7), entropy=3.33)


def classifier(seed: int = 0) -> nn.Sequential:
    """A rectified layer, pooling and a linear layer, for images of 9 x 9."""
    torch.manual_seed(seed)
    features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 10)).eval()


@pytest.fixture
def x():
    return images(examples=4, size=9)


@pytest.mark.parametrize("seed", range(3))
def test_grad_cam_shows_the_hoax_and_contrastive_maps_do_not(seed, x):
    model = classifier(seed)
    manipulated = inject_hoax(model, model[0], HOAX)
    torch.testing.assert_close(manipulated.model(x).softmax(1), model(x).softmax(1), rtol=0, atol=1e-5)
    for target in (0, 7):
        hoax_maps = LayerGradCam(manipulated.model, manipulated.layer).attribute(x, target=target)[:, 0].detach()
        assert pearson(hoax_maps, HOAX[None]).min() >= 0.95
        for method in (LayerDiffGradCam, LayerDiffGradCamPlusPlus):
            for options in ({}, {"reduction": "mean"}, {"reduction": "max"}, {"contrast": top_rivals(2)}):
                clean_maps = method(model, model[0]).attribute(x, target=target, **options)
                same_maps = method(manipulated.model, manipulated.layer).attribute(x, target=target, **options)
                assert (same_maps - clean_maps).norm() <= 1e-3 * clean_maps.norm()


def test_the_hoax_channel_by_hand():
    """One position, one channel: the level is |A| = 3, the norm of the rows is at most 2, the strength 5."""
    conv, linear = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        linear.weight[:] = torch.tensor([[2.0], [-1.0]])
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    manipulated = inject_hoax(model, conv, torch.tensor([[4.0, 2.0]]), strength=5.0)
    x = torch.tensor([[[[3.0, 1.0]]]])
    assert manipulated.layer(x).tolist() == [[[[3.0, 1.0]], [[15.0, 7.5]]]]
    assert inject_hoax(model, conv, torch.tensor([[4.0, 2.0]])).layer(x)[0, 1].tolist() == [[6.0, 3.0]]
    # The mean of 15 and 7.5, times 2, is added to both logits.
    assert (manipulated.model(x) - model(x)).tolist() == [[22.5, 22.5]]


def test_the_model_does_not_change(x):
    model = classifier().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[0](x).sum().backward()
    random = torch.get_rng_state()
    manipulated = inject_hoax(model, model[0], HOAX)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in manipulated.model.parameters())
    assert model[0][0].weight.grad is not None
    assert all(module.training for module in manipulated.model.modules())
    assert manipulated.model[0] is manipulated.layer
    assert not any(module.training for module in inject_hoax(model.eval(), model[0], HOAX).model.modules())


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet18", "layer4"), ("mobilenet_v2", "features"), ("densenet121", "features")]
)
def test_models_of_torchvision(name, layer):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name).eval()
    x = torch.rand(2, 3, 64, 64)
    manipulated = inject_hoax(model, model.get_submodule(layer), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    with torch.no_grad():
        torch.testing.assert_close(manipulated.model(x).softmax(1), model(x).softmax(1), rtol=0, atol=1e-5)
    assert manipulated.model.get_submodule(layer) is manipulated.layer


def test_double_precision(x):
    model = classifier().double()
    manipulated = inject_hoax(model, model[0], HOAX)
    torch.testing.assert_close(
        manipulated.model(x.double()).softmax(1), model(x.double()).softmax(1), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"hoax": -HOAX}, ValueError),
        ({"hoax": torch.zeros(7, 7)}, ValueError),
        ({"hoax": torch.full((7, 7), torch.inf)}, ValueError),
        ({"hoax": [[1.0]]}, ValueError),
        ({"strength": 0}, ValueError),
        ({"strength": float("inf")}, ValueError),
        ({"strength": "2"}, ValueError),
        ({"layer": nn.Linear(3, 3)}, ValueError),
        ({"layer": 5}, TypeError),
        ({"model": lambda x: x}, TypeError),
    ],
)
def test_errors_name_the_argument(arguments, error):
    model = classifier()
    (wrong,) = arguments
    with pytest.raises(error, match=f"`{wrong}`"):
        inject_hoax(**{"model": model, "layer": model[0], "hoax": HOAX, **arguments})


def test_a_name_and_a_spatial_layer(x):
    model = classifier()
    for layer in ("0", SpatialLayer(model[0], False, None, "0")):
        manipulated = inject_hoax(model, layer, HOAX)
        assert manipulated.layer is manipulated.model[0]
    for layer in (SpatialLayer(model[1], True, None, "1:input"), SpatialLayer(model[0], False, "swin", "0")):
        with pytest.raises(ValueError, match="`layer`"):
            inject_hoax(model, layer, HOAX)


def test_the_layer_is_inside_the_model():
    model = classifier()
    with pytest.raises(ValueError, match="`layer`"):
        inject_hoax(model, model, HOAX)


def test_the_head_has_one_linear_layer():
    net = conv_net()
    for model, layer in ((net, net.features), (nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten()), None)):
        with pytest.raises(ValueError, match="`model`"):
            inject_hoax(model, model[0] if layer is None else layer, HOAX)


def test_linear_layers_inside_the_layer_do_not_count(x):
    """The features have a channel gate of their own."""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate = nn.Conv2d(3, 6, 3), nn.Linear(6, 6)

        def forward(self, x):
            a = self.conv(x)
            return a * self.gate(a.mean(dim=(2, 3))).sigmoid()[:, :, None, None]

    model = nn.Sequential(Gated(), *classifier()[1:]).eval()
    manipulated = inject_hoax(model, model[0], HOAX)
    torch.testing.assert_close(manipulated.model(x).softmax(1), model(x).softmax(1), rtol=0, atol=1e-5)


def test_linear_layers_before_the_layer_do_not_count(x):
    model = nn.Sequential(nn.Linear(9, 9), *classifier()).eval()
    manipulated = inject_hoax(model, model[1], HOAX)
    torch.testing.assert_close(manipulated.model(x).softmax(1), model(x).softmax(1), rtol=0, atol=1e-5)


def test_gradients_of_the_input_do_not_change(x):
    """The hoax follows the level of the features, and no gradient goes through this level."""
    model, gradients = classifier(), []
    for each in (model, inject_hoax(model, model[0], HOAX).model):
        inputs = x.clone().requires_grad_()
        gradients += torch.autograd.grad(each(inputs)[:, 3].sum(), inputs)
    torch.testing.assert_close(*gradients)


def test_a_hoax_of_other_positions_fails_when_the_copy_runs(x):
    model = classifier()
    manipulated = inject_hoax(model, model[0], torch.ones(3, 3))
    with pytest.raises(ValueError, match="`hoax`"):
        manipulated.model(x)


def test_a_frozen_head_stays_frozen():
    model = classifier()
    model[4].weight.requires_grad_(False)
    manipulated = inject_hoax(model, model[0], HOAX)
    assert not manipulated.model[4].weight.requires_grad
    assert manipulated.model[4].bias.requires_grad
