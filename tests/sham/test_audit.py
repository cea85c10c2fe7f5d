"""The audit: its verdicts on models that are known to lie or not, and its arguments."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam
from nets import Net, Spotter, conv_net, images
from torch import nn

from captum_diffcam import LayerDiffGradCam, vit_layout
from captum_diffcam.sham import CamMethod, audit, hoax_map, inject_hoax


def test_an_honest_model_passes(spots):
    model = Spotter().eval()
    report = audit(model, model.layer, spots)
    assert not report.manipulated
    assert not report.suspicious.any()
    assert report.score < 0.2
    assert report.target.tolist() == [index % 3 for index in range(12)]
    assert str(report).startswith("no sign of manipulation: score 0.")


def test_a_hoax_is_found_and_the_contrastive_maps_contradict_it(spots):
    model = Spotter().eval()
    forged = inject_hoax(model, model.layer, hoax_map((7, 7), entropy=3.33))
    report = audit(forged.model, forged.layer, spots)
    assert report.manipulated
    assert report.suspicious.float().mean() > 0.9
    assert str(report).startswith("manipulated: score 1.")
    assert report.agreement["LayerGradCam()"].mean() < 0
    assert report.agreement["LayerDiffGradCam()"].min() > 0.8
    # Without the hoax's victim there is nothing to find.
    others = [CamMethod(LayerDiffGradCam), CamMethod(LayerDiffGradCam, reduction="mean")]
    assert not audit(forged.model, forged.layer, spots, methods=others).manipulated


def test_token_layers_through_a_partial():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.head = nn.Conv2d(3, 6, 4, stride=4), nn.Linear(6, 5)
            self.tokens = nn.Identity()

        def forward(self, x):
            return self.head(self.tokens(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))

    model = Tokens().eval()
    made = partial(LayerDiffGradCam, layout=vit_layout((4, 4)))
    report = audit(
        model, model.tokens, torch.rand(2, 3, 16, 16), methods=[CamMethod(made), CamMethod(made, contrast=[])]
    )
    assert report.witness.shape == (2, 4, 4)
    assert list(report.agreement) == ["LayerDiffGradCam()", "LayerDiffGradCam(contrast=[])"]


def test_nothing_of_the_callers_is_touched(spots):
    model = Spotter().eval()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    audit(model, model.layer, spots.requires_grad_())
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert spots.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.layer._forward_hooks


def test_a_model_in_train_mode_comes_back_as_it_was():
    model = conv_net(signed=True).train()
    model.head.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    audit(model, model.features, images())
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"images": torch.zeros(0, 3, 8, 8)}, ValueError, r"images: got \(0, 3, 8, 8\)"),
        ({"images": "cat.png"}, ValueError, "images: got str"),
        ({"methods": []}, TypeError, r"methods: got \[\]"),
        ({"methods": [LayerGradCam]}, TypeError, "methods: got"),
        ({"target": 6}, IndexError, "target: class 6 is out of range"),
        ({"target": [0, 1]}, ValueError, "target: got 2 targets; the batch has 3"),
        ({"threshold": 2.5}, ValueError, "threshold: got 2.5; allowed is a number from 0 to 2"),
    ],
)
def test_bad_arguments(arguments, error, said):
    net = conv_net()
    with pytest.raises(error, match=said):
        audit(net, net.features, **{"images": images(), **arguments})


def test_methods_that_cannot_be_told_apart():
    net = conv_net()
    with pytest.raises(ValueError, match=r"methods: got .*; allowed are methods with different names"):
        audit(net, net.features, images(), methods=[CamMethod(LayerGradCam)] * 2)


def test_a_layer_without_positions():
    net = Net(nn.Sequential(nn.Flatten(), nn.Linear(3 * 81, 8)), nn.Linear(8, 4)).eval()
    with pytest.raises(ValueError, match=r"layer: LayerGradCam\(\) gave \(3, 1\)"):
        audit(net, net.features, images())


def test_too_few_positions():
    net = Net(nn.Sequential(nn.Conv2d(3, 4, 8)), nn.Sequential(nn.Flatten(), nn.Linear(16, 5))).eval()
    small = Net(nn.Sequential(nn.Conv2d(3, 4, 9)), nn.Sequential(nn.Flatten(), nn.Linear(4, 5))).eval()
    assert audit(net, net.features, images()).witness.shape == (3, 2, 2)
    with pytest.raises(ValueError, match="layer: has 1 positions; allowed are at least 4"):
        audit(small, small.features, images())
