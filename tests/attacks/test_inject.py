"""Injection: Grad-CAM shows the hoax, and neither a probability nor a contrastive map moves."""

from __future__ import annotations

import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from nets import conv_net, images
from torch import nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals
from captum_diffcam.attacks import hoax_map, inject_hoax
from captum_diffcam.metrics import pearson

HOAX = hoax_map((7, 7), entropy=3.33)


def classifier(seed: int = 0) -> nn.Sequential:
    """Pooling and a linear map behind a rectified layer, for images of 9 x 9."""
    torch.manual_seed(seed)
    features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 10)).eval()


@pytest.fixture
def x():
    return images(examples=4, size=9)


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_case_of_the_claim(seed, x):
    model = classifier(seed)
    forged = inject_hoax(model, model[0], HOAX)
    torch.testing.assert_close(forged.model(x).softmax(1), model(x).softmax(1), rtol=0, atol=1e-5)
    for target in (0, 7):
        lied = LayerGradCam(forged.model, forged.layer).attribute(x, target=target)[:, 0].detach()
        assert pearson(lied, HOAX[None]).min() >= 0.95
        for method in (LayerDiffGradCam, LayerDiffGradCamPlusPlus):
            for options in ({}, {"reduction": "mean"}, {"reduction": "max"}, {"contrast": top_rivals(2)}):
                honest = method(model, model[0]).attribute(x, target=target, **options)
                still = method(forged.model, forged.layer).attribute(x, target=target, **options)
                assert (still - honest).norm() <= 1e-3 * honest.norm()


def test_the_hoax_channel_by_hand():
    """One position, one channel: the level is |A| = 3, the norm of the rows is at most 2, the strength 5."""
    conv, linear = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        linear.weight[:] = torch.tensor([[2.0], [-1.0]])
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    forged = inject_hoax(model, conv, torch.tensor([[4.0, 2.0]]), strength=5.0)
    x = torch.tensor([[[[3.0, 1.0]]]])
    assert forged.layer(x).tolist() == [[[[3.0, 1.0]], [[15.0, 7.5]]]]
    # The mean of 15 and 7.5, times 2, is added to both logits.
    assert (forged.model(x) - model(x)).tolist() == [[22.5, 22.5]]


def test_the_model_is_left_alone(x):
    model = classifier().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[0](x).sum().backward()
    random = torch.get_rng_state()
    forged = inject_hoax(model, model[0], HOAX)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in forged.model.parameters())
    assert model[0][0].weight.grad is not None
    assert all(module.training for module in forged.model.modules())
    assert forged.model[0] is forged.layer


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet18", "layer4"), ("mobilenet_v2", "features"), ("densenet121", "features")]
)
def test_models_of_torchvision(name, layer):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name).eval()
    x = torch.rand(2, 3, 64, 64)
    forged = inject_hoax(model, model.get_submodule(layer), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    with torch.no_grad():
        torch.testing.assert_close(forged.model(x).softmax(1), model(x).softmax(1), rtol=0, atol=1e-5)
    assert forged.model.get_submodule(layer) is forged.layer


def test_double_precision(x):
    model = classifier().double()
    forged = inject_hoax(model, model[0], HOAX)
    torch.testing.assert_close(forged.model(x.double()).softmax(1), model(x.double()).softmax(1), rtol=0, atol=1e-12)


def test_bad_arguments(x):
    model = classifier()
    with pytest.raises(ValueError, match="hoax: got"):
        inject_hoax(model, model[0], -HOAX)
    with pytest.raises(ValueError, match="strength: got 0"):
        inject_hoax(model, model[0], HOAX, strength=0)
    with pytest.raises(ValueError, match="layer: got a Linear that is no part of the model"):
        inject_hoax(model, nn.Linear(3, 3), HOAX)
    with pytest.raises(TypeError, match="model: got function"):
        inject_hoax(lambda x: x, model[0], HOAX)
    with pytest.raises(TypeError, match="layer: got str"):
        inject_hoax(model, "0", HOAX)
    with pytest.raises(ValueError, match="layer: got the model itself"):
        inject_hoax(model, model, HOAX)
    net = conv_net()
    with pytest.raises(ValueError, match=r"model: got 2 linear modules behind the layer \(head.4, head.6\)"):
        inject_hoax(net, net.features, HOAX)
    wrong = inject_hoax(model, model[0], torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"hoax: got shape \(3, 3\); allowed is \(7, 7\), the layer's positions"):
        wrong.model(x)
