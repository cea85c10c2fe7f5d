"""The audit: its verdicts on models that are known to lie or not, and its arguments."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from nets import Net, Spotter, conv_net, images
from torch import nn

from captum_diffcam import CamMethod, LayerDiffGradCam, vit_layout
from captum_diffcam.attacks import fool, hoax_map, inject_hoax
from captum_diffcam.audit import audit


def test_an_honest_model_passes(spots):
    model = Spotter().eval()
    report = audit(model, model.layer, spots, seed=0)
    assert report.verdict == "no sign of manipulation"
    assert not report.manipulated
    assert report.p_no_sign <= 0.05 < report.p_manipulated
    assert report.target.tolist() == [index % 3 for index in range(len(report.target))]
    assert str(report).startswith("no sign of manipulation (p = ")


def test_a_hoax_is_found_and_the_contrastive_maps_contradict_it(spots):
    model = Spotter().eval()
    forged = inject_hoax(model, model.layer, hoax_map((7, 7), entropy=3.33))
    report = audit(forged.model, forged.layer, spots, seed=0)
    assert report.manipulated
    assert report.p_manipulated <= 0.05
    assert str(report).startswith("manipulated (p = ")
    assert "LayerGradCam() stays where it is" in report.reason
    assert report.evidence["LayerGradCam()"].excess.value > 0.8
    assert report.evidence["LayerDiffGradCam()"].excess.value < 0
    # Without the hoax's victim there is nothing to find.
    others = [CamMethod(LayerDiffGradCam), CamMethod(LayerDiffGradCam, reduction="mean")]
    assert not audit(forged.model, forged.layer, spots, methods=others, seed=0).manipulated


def test_trained_models_get_their_verdicts(model, data, batches):
    """Before and after SHAM, on images that are no part of either training."""
    held_out = data[0][256:288]
    assert audit(model, model.features, held_out, seed=0).verdict == "no sign of manipulation"
    forged = fool(model, model.features, batches, hoax_map((8, 8), entropy=3.3), steps=120, learning_rate=1e-2)
    assert audit(forged.model, forged.layer, held_out, seed=0).verdict == "manipulated"


def test_an_untrained_model_is_undecided():
    net = conv_net()
    report = audit(net, net.features, images(examples=16), seed=0)
    assert report.verdict == "undecided"


def test_few_images_decide_nothing(spots):
    model = Spotter().eval()
    forged = inject_hoax(model, model.layer, hoax_map((7, 7), entropy=3.33))
    for count in (1, 2, 7):
        report = audit(forged.model, forged.layer, spots[:count])
        assert report.verdict == "undecided"
        assert f"too few images ({count}) to decide by; at least 8 are needed" in str(report)
    assert audit(forged.model, forged.layer, spots[:8], seed=0).manipulated


def test_it_stops_when_it_can_tell(spots):
    model = Spotter().eval()
    forged = inject_hoax(model, model.layer, hoax_map((7, 7), entropy=3.33))
    passes = []
    forged.model.register_forward_hook(lambda module, inputs, _: passes.append(len(inputs[0])))
    many = torch.cat([spots, spots.flip(2), spots.flip(3)])
    report = audit(forged.model, forged.layer, many, seed=0)
    assert report.manipulated
    assert (len(report.images), report.given) == (8, 36)
    assert report.forwards == sum(passes) / 36
    # A decision of each image; of eight Grad-CAM and, from one pass, both contrasts; the same of the shifted image; and
    # two tilings of six windows.
    assert sum(passes) == 36 + 8 * (2 + 2 + 12)


class Noise(LayerAttribution):
    """Maps that know nothing and move nowhere."""

    def attribute(self, inputs, target=None):
        seed = int(1e3 * inputs.sum().item())
        return torch.rand(len(inputs), 1, 7, 7, generator=torch.Generator().manual_seed(seed))


def test_when_the_images_run_out_there_are_as_many_windows_again(spots):
    model = Spotter().eval()
    methods = [CamMethod(lambda model, layer: Noise(model, layer))]
    report = audit(model, model.layer, spots, methods=methods, seed=0)
    assert report.verdict == "undecided"
    assert len(report.images) == report.given == len(spots)
    # A decision, a map, the map of the shifted image, and four tilings of six windows.
    assert report.forwards == 1 + 1 + 1 + 24
    # Where no evidence would decide, there are none.
    few = audit(model, model.layer, spots[:5], methods=methods, seed=0)
    assert few.forwards == 1 + 1 + 1 + 12


def test_a_seed_gives_the_same_report(spots):
    model = Spotter().eval()
    once, again, other = (audit(model, model.layer, spots, seed=seed) for seed in (1, 1, None))
    assert torch.equal(once.witness, again.witness)
    assert once.evidence == again.evidence
    assert once.seed == 1
    assert not torch.equal(once.witness, other.witness)
    replayed = audit(model, model.layer, spots, seed=other.seed, batch_size=5)
    torch.testing.assert_close(replayed.witness, other.witness, atol=1e-4, rtol=1e-4)


def test_half_precision(spots):
    model = Spotter().eval().bfloat16()
    assert audit(model, model.layer, spots, seed=0).verdict == "no sign of manipulation"


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
    assert report.verdict == "undecided"
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
        ({"target": [0, 1]}, ValueError, "`target` must"),
        ({"alpha": 0.0}, ValueError, "alpha: got 0.0; allowed is a probability between 0 and 0.5"),
        ({"fills": ["grey"]}, ValueError, r"fills: got \['grey'\]; allowed are several of 'mean', 'blur', 'other'"),
        ({"fills": "mean"}, ValueError, "fills: got 'mean'"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0; allowed is None or an integer of at least 1"),
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


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"model": lambda x: x}, TypeError, "model: got function; allowed is a torch.nn.Module"),
        ({"layer": "features"}, TypeError, "layer: got str; allowed is a torch.nn.Module"),
        ({"layer": nn.ReLU()}, ValueError, "layer: got a ReLU that is no part of the model"),
        ({"images": torch.zeros(8, 3, 9, 9, dtype=torch.uint8)}, TypeError, "images: got torch.uint8; allowed are"),
        ({"seed": 0.5}, TypeError, "seed: got 0.5 of type float; allowed are None and an integer"),
    ],
)
def test_what_cannot_be_audited_is_named(change, error, said):
    net = conv_net()
    given = {"model": net, "layer": net.features, "images": images(), **change}
    with pytest.raises(error, match=said):
        audit(**given)


def test_outputs_that_are_no_logits():
    net = Net(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1)).eval()
    with pytest.raises(ValueError, match=r"model: returned \(3, 5, 7, 7\) for 3 images; allowed is \(N, C\)"):
        audit(net, net.features, images())


def test_one_method_alone_and_a_seed_of_numpy(spots):
    model = Spotter().eval()
    report = audit(model, model.layer, spots[:8], methods=CamMethod(LayerDiffGradCam), seed=np.int64(3))
    assert list(report.maps) == ["LayerDiffGradCam()"]
    assert report.seed == 3


def test_methods_with_different_positions(spots):
    model = Spotter().eval()
    methods = [CamMethod(LayerDiffGradCam), CamMethod(lambda model, layer: Coarse(model, layer))]
    with pytest.raises(ValueError, match=r"methods: have positions .*; allowed are methods with the same"):
        audit(model, model.layer, spots, methods=methods)


class Coarse(LayerAttribution):
    """Maps of four positions."""

    def attribute(self, inputs, target=None):
        return torch.zeros(len(inputs), 1, 2, 2)
