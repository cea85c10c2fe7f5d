"""The audit: its verdicts on models that are known to be manipulated or clean, and its arguments."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from nets import Net, Spotter, conv_net, images
from torch import nn

from captum_diffcam import CamMethod, LayerDiffGradCam, last_spatial_layer, vit_layout
from captum_diffcam.attacks import fool, hoax_map, inject_hoax
from captum_diffcam.audit import audit
from captum_diffcam.audit.auditing import interim_sizes
from captum_diffcam.equivariant import shift_images
from captum_diffcam.layers import SpatialLayer

GRAD_CAM = CamMethod(LayerGradCam)


@pytest.fixture
def spotter():
    return Spotter().eval()


@pytest.fixture
def injected(spotter):
    return inject_hoax(spotter, spotter.layer, hoax_map((7, 7), entropy=3.33))


class Constant(LayerAttribution):
    """The same map of the given size for every image."""

    size = (7, 7)

    def attribute(self, inputs, target=None):
        return torch.eye(*self.size).expand(len(inputs), 1, *self.size)


class Coarse(Constant):
    size = (2, 2)


class Noise(LayerAttribution):
    """Maps that depend on the image without showing anything."""

    def attribute(self, inputs, target=None):
        seed = int(1e3 * inputs.sum().item())
        return torch.rand(len(inputs), 1, 7, 7, generator=torch.Generator().manual_seed(seed))


class TestVerdict:
    def test_a_clean_model(self, spotter, spots):
        report = audit(spotter, spotter.layer, spots, seed=0)
        assert report.verdict == "no sign of manipulation"
        assert report.p_no_sign <= 0.05 < report.p_manipulated
        assert report.target.tolist() == [index % 3 for index in range(len(report.target))]

    def test_a_hoax_in_one_map_only(self, injected, spots):
        report = audit(injected.model, injected.layer, spots, methods=[GRAD_CAM, CamMethod(LayerDiffGradCam)], seed=0)
        assert report.verdict == "manipulated"
        assert report.evidence["LayerGradCam()"].excess.value > 0.8
        assert report.evidence["LayerDiffGradCam()"].excess.value < 0
        contrastive = [CamMethod(LayerDiffGradCam), CamMethod(LayerDiffGradCam, reduction="mean")]
        assert not audit(injected.model, injected.layer, spots, methods=contrastive, seed=0).manipulated

    def test_the_default_methods_include_grad_cam_and_contrastive_maps(self, injected, spots):
        report = audit(injected.model, injected.layer, spots, seed=0)
        assert report.manipulated
        excesses = [item.excess.value for item in report.evidence.values()]
        assert len(excesses) == 3
        assert min(excesses) < 0 < max(excesses)

    def test_a_trained_model_before_and_after_an_attack(self, model, data, batches):
        """On images that neither training has used."""
        held_out = data[0][256:288]
        assert audit(model, model.features, held_out, seed=0).verdict == "no sign of manipulation"
        hoax = hoax_map((8, 8), entropy=3.3)
        manipulated = fool(model, model.features, batches, hoax, steps=120, learning_rate=1e-2)
        assert audit(manipulated.model, manipulated.layer, held_out, seed=0).verdict == "manipulated"

    def test_an_untrained_model_is_undecided(self):
        net = conv_net()
        assert audit(net, net.features, images(examples=16), seed=0).verdict == "undecided"

    def test_few_images_are_undecided(self, injected, spots):
        for count in (1, 2, 7):
            assert audit(injected.model, injected.layer, spots[:count]).verdict == "undecided"
        assert audit(injected.model, injected.layer, spots[:8], seed=0).manipulated

    def test_half_precision(self, spotter, spots):
        model = spotter.bfloat16()
        assert audit(model, model.layer, spots, seed=0).verdict == "no sign of manipulation"


class TestInterimLooks:
    @pytest.mark.parametrize(
        ("count", "sizes"),
        [(1, [1]), (8, [8]), (15, [15]), (16, [8, 16]), (31, [8, 31]), (32, [8, 16, 32]), (100, [8, 16, 32, 100])],
    )
    def test_sizes(self, count, sizes):
        assert interim_sizes(count) == sizes

    @pytest.mark.parametrize(("count", "looks"), [(8, 2), (12, 2), (16, 3), (32, 4), (40, 4)])
    def test_p_values_are_corrected_for_all_looks(self, injected, spots, count, looks):
        """One look at each size, and one more after the windows are doubled."""
        many = torch.cat([spots, spots.flip(2), spots.flip(3), spots.transpose(2, 3)])[:count]
        report = audit(injected.model, injected.layer, many, seed=0)
        assert report.interim_looks == looks
        smallest = min(p for item in report.evidence.values() for p in (item.p_excessive, item.p_static))
        assert report.p_manipulated == pytest.approx(smallest * 2 * 3 * looks)

    def test_the_audit_stops_when_it_can_decide(self, injected, spots):
        sizes = []
        injected.model.register_forward_hook(lambda module, inputs, _: sizes.append(len(inputs[0])))
        many = torch.cat([spots, spots.flip(2), spots.flip(3)])
        report = audit(injected.model, injected.layer, many, seed=0)
        assert report.manipulated
        assert (len(report.images), report.total_images) == (8, 36)
        assert report.forwards_per_image == sum(sizes) / 36
        # Predictions of all; of eight images three maps, three of the shifted image, and twice six windows.
        assert sum(sizes) == 36 + 8 * (3 + 3 + 12)

    def test_windows_are_doubled_when_the_images_run_out(self, spotter, spots):
        methods = [CamMethod(Noise)]
        report = audit(spotter, spotter.layer, spots, methods=methods, seed=0)
        assert report.verdict == "undecided"
        assert len(report.images) == report.total_images == len(spots)
        # A prediction, a map, a map of the shifted image, and four times six windows.
        assert report.forwards_per_image == 1 + 1 + 1 + 24
        # More windows cannot help if there are too few images.
        few = audit(spotter, spotter.layer, spots[:5], methods=methods, seed=0)
        assert few.forwards_per_image == 1 + 1 + 1 + 12

    def test_doubled_windows_make_the_occlusion_maps_more_reliable(self, spotter, spots):
        """With alpha close to 0 every look is undecided, so the last one has twice as many windows."""
        once, doubled = (
            [audit(spotter, spotter.layer, spots, methods=GRAD_CAM, alpha=alpha, seed=seed) for seed in range(5)]
            for alpha in (0.4999, 1e-9)
        )
        for first, second in zip(once, doubled, strict=True):
            assert second.reliability > first.reliability
            # Both are in nats.
            assert second.occlusion_maps.mean() == pytest.approx(first.occlusion_maps.mean().item(), rel=0.3)

    def test_images_of_one_look_do_not_depend_on_the_number_of_images(self, injected, spots):
        many = torch.cat([spots, spots.flip(2)])
        first = audit(injected.model, injected.layer, many[:16], fills=["mean"], seed=3)
        same = audit(injected.model, injected.layer, many, fills=["mean"], seed=3)
        assert torch.equal(first.occlusion_maps, same.occlusion_maps)
        assert first.evidence == same.evidence


class TestMeasurements:
    def test_confidence_is_the_median_log_odds_above_a_guess(self, model, data):
        """A guess among three classes has the log-odds -log 2."""
        x = data[0][:9]
        with torch.no_grad():
            p = model(x).double().softmax(dim=1).amax(dim=1)
        expected = (p / (1 - p)).log().median().item() + math.log(2)
        report = audit(model, model.features, x, seed=0)
        assert report.confidence == pytest.approx(expected, abs=1e-3)

    def test_confidence_is_that_of_the_images_that_were_used(self, injected, spots):
        doubtful = 0.1 * torch.rand(24, 3, 28, 28)
        report = audit(injected.model, injected.layer, torch.cat([spots[:8], doubtful]), seed=0)
        assert len(report.images) == 8
        assert report.confidence > 3

    @pytest.mark.parametrize(("cells", "largest"), [(7, 2), (5, 2), (4, 1), (3, 1), (2, 0)])
    def test_shifts_are_up_to_two_cells_and_less_than_half_of_the_grid(self, spotter, cells, largest):
        """A method sees each image and its shifted copy. Along some dimension the shift is as large as possible."""
        seen = []

        class Recording(LayerGradCam):
            def attribute(self, inputs, *args, **kwargs):
                seen.append(inputs.clone())
                return super().attribute(inputs, *args, **kwargs)

        x = torch.rand(48, 3, 4 * cells, 4 * cells)
        audit(spotter, spotter.layer, x, methods=CamMethod(Recording), alpha=1e-9, seed=0)
        candidates = [(down, right) for down in range(-3, 4) for right in range(-3, 4)]
        candidates = [shift for shift in candidates if max(map(abs, shift)) < cells]
        shifts = []
        for original, shifted in zip(torch.cat(seen[::2]), torch.cat(seen[1::2]), strict=True):
            matches = [s for s in candidates if torch.equal(shift_images(original, s, (cells, cells)), shifted)]
            assert len(matches) == 1
            shifts += matches
        assert {max(map(abs, shift)) for shift in shifts} == {largest}
        every = set(range(-largest, largest + 1))
        assert {down for down, _ in shifts} == {right for _, right in shifts} == every

    def test_batches_have_the_requested_size(self, spotter, spots):
        sizes = []
        spotter.register_forward_hook(lambda module, inputs, _: sizes.append(len(inputs[0])))
        audit(spotter, spotter.layer, spots, seed=0, batch_size=5)
        assert max(sizes) == 5
        sizes.clear()
        audit(spotter, spotter.layer, torch.cat([spots] * 4), seed=0)
        assert max(sizes) == 32

    def test_a_seed_gives_the_same_report(self, spotter, spots):
        first, again, other = (audit(spotter, spotter.layer, spots, seed=seed) for seed in (1, 1, None))
        assert torch.equal(first.occlusion_maps, again.occlusion_maps)
        assert first.evidence == again.evidence
        assert first.seed == 1
        assert not torch.equal(first.occlusion_maps, other.occlusion_maps)
        replayed = audit(spotter, spotter.layer, spots, seed=other.seed, batch_size=5)
        torch.testing.assert_close(replayed.occlusion_maps, other.occlusion_maps, atol=1e-4, rtol=1e-4)

    def test_without_a_seed_each_audit_has_another_one(self, spotter, spots):
        assert len({audit(spotter, spotter.layer, spots[:2]).seed for _ in range(3)}) == 3

    def test_target(self, spotter, spots):
        for target in (2, [2] * 8, torch.full((8,), 2)):
            report = audit(spotter, spotter.layer, spots[:8], target=target, seed=0)
            assert report.target.tolist() == [2] * 8

    def test_the_default_level(self, spotter, spots):
        assert audit(spotter, spotter.layer, spots[:2]).alpha == 0.05

    def test_windows_show_parts_of_all_images_from_the_first_look_on(self, injected, spots):
        bright = 5 + torch.rand(24, 3, 28, 28)
        batches = []
        injected.model.register_forward_hook(lambda module, inputs, _: batches.append(inputs[0]))
        report = audit(injected.model, injected.layer, torch.cat([spots[:8], bright]), fills=["other"], seed=0)
        assert len(report.images) == 8
        mixed = [image for image in torch.cat(batches) if image.amax() > 4 and image.amin() < 1]
        assert len(mixed) > 20

    def test_every_look_explains_the_classes_of_its_own_images(self, spotter, spots):
        many = torch.cat([spots, spots.flip(2), spots.flip(3)])
        report = audit(spotter, spotter.layer, many, methods=CamMethod(LayerDiffGradCam), alpha=1e-9, seed=0)
        assert len(report.images) == 36
        (agreement,) = report.agreement.values()
        for part in (agreement[:8], agreement[8:16], agreement[16:]):
            assert part.mean() > 0.5

    def test_token_layers_with_a_layout(self):
        class Tokens(nn.Module):
            def __init__(self):
                super().__init__()
                self.patches, self.head = nn.Conv2d(3, 6, 4, stride=4), nn.Linear(6, 5)
                self.tokens = nn.Identity()

            def forward(self, x):
                return self.head(self.tokens(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))

        model = Tokens().eval()
        attribution = partial(LayerDiffGradCam, layout=vit_layout((4, 4)))
        methods = [CamMethod(attribution), CamMethod(attribution, contrast=[])]
        report = audit(model, model.tokens, torch.rand(2, 3, 16, 16), methods=methods)
        assert report.occlusion_maps.shape == (2, 4, 4)
        assert list(report.agreement) == ["LayerDiffGradCam()", "LayerDiffGradCam(contrast=[])"]


class TestLayers:
    def test_a_name_and_a_spatial_layer(self, spotter, spots):
        expected = audit(spotter, spotter.layer, spots, seed=0)
        for layer in ("layer", SpatialLayer(spotter.layer, False, None, "layer")):
            report = audit(spotter, layer, spots, seed=0)
            assert report.evidence == expected.evidence

    def test_the_layer_that_is_found(self, spotter, spots):
        """The input of the pooling, because a ReLU before it is a function and not a module."""

        class Rectified(Spotter):
            def __init__(self):
                super().__init__()
                self.layer = nn.Conv2d(3, 3, 4, stride=4, bias=False, groups=3)
                nn.init.constant_(self.layer.weight, 1 / 16)

            def forward(self, x):
                return self.linear(self.pool(self.layer(x).relu()).flatten(1))

        model = Rectified().eval()
        layer = last_spatial_layer(model, spots[:1])
        assert layer.layer is model.pool
        report = audit(model, layer, spots, seed=0)
        assert report.verdict == "no sign of manipulation"
        # The convolution computes what the average pooling of the other model does.
        expected = audit(spotter, spotter.layer, spots, seed=0)
        assert report.p_no_sign == pytest.approx(expected.p_no_sign, rel=1e-3)

    def test_tokens(self):
        class Tokens(nn.Module):
            def __init__(self):
                super().__init__()
                self.patches, self.norm, self.head = nn.Conv2d(3, 6, 4, stride=4), nn.LayerNorm(6), nn.Linear(6, 5)

            def forward(self, x):
                return self.head(self.norm(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))

        model, x = Tokens().eval(), torch.rand(2, 3, 16, 16)
        report = audit(model, last_spatial_layer(model, x), x)
        assert report.occlusion_maps.shape == (2, 4, 4)

    def test_a_layer_of_another_model(self, spotter, spots):
        for layer in (Spotter().layer, SpatialLayer(Spotter().layer, False, None, "layer"), "lay"):
            with pytest.raises(ValueError, match="`layer`"):
                audit(spotter, layer, spots)


class TestTheCallersState:
    def test_model_images_and_random_state(self, spotter, spots):
        before, random = {k: v.clone() for k, v in spotter.state_dict().items()}, torch.get_rng_state()
        audit(spotter, spotter.layer, spots.requires_grad_())
        assert torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(before[name], value) for name, value in spotter.state_dict().items())
        assert spots.grad is None
        assert all(parameter.grad is None for parameter in spotter.parameters())
        assert not spotter.layer._forward_hooks

    def test_train_mode(self):
        model = conv_net(signed=True).train()
        model.head.eval()
        modes = [module.training for module in model.modules()]
        before = {name: value.clone() for name, value in model.state_dict().items()}
        audit(model, model.features, images())
        assert [module.training for module in model.modules()] == modes
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    def test_the_model_returns_to_its_device(self, spots):
        class Recording(Spotter):
            def to(self, device):
                moves.append(str(device))
                return self

        moves = []
        model = Recording().eval()
        audit(model, model.layer, spots[:2], device="meta")
        assert moves == ["meta", "cpu"]
        moves.clear()
        audit(model, model.layer, spots[:2], device="cpu")
        audit(model, model.layer, spots[:2])
        assert moves == []


class TestBadArguments:
    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"model": lambda x: x}, TypeError),
            ({"layer": 5}, TypeError),
            ({"layer": nn.ReLU()}, ValueError),
            ({"images": torch.zeros(0, 3, 8, 8)}, ValueError),
            ({"images": "cat.png"}, ValueError),
            ({"images": torch.zeros(8, 3, 9, 9, dtype=torch.uint8)}, TypeError),
            ({"methods": []}, TypeError),
            ({"methods": 5}, TypeError),
            ({"methods": [LayerGradCam]}, TypeError),
            ({"methods": [GRAD_CAM] * 2}, ValueError),
            ({"target": 6}, IndexError),
            ({"target": [0, 1]}, ValueError),
            ({"alpha": 0.0}, ValueError),
            ({"alpha": 0.5}, ValueError),
            ({"alpha": "0.1"}, ValueError),
            ({"fills": ["grey"]}, ValueError),
            ({"fills": "mean"}, ValueError),
            ({"fills": []}, ValueError),
            ({"seed": 0.5}, TypeError),
            ({"batch_size": 0}, ValueError),
            ({"batch_size": None}, TypeError),
        ],
    )
    def test_the_error_names_the_argument(self, arguments, error):
        net = conv_net()
        (name,) = arguments
        with pytest.raises(error, match=name):
            audit(**{"model": net, "layer": net.features, "images": images(), **arguments})

    def test_a_layer_without_positions(self):
        net = Net(nn.Sequential(nn.Flatten(), nn.Linear(3 * 81, 8)), nn.Linear(8, 4)).eval()
        with pytest.raises(ValueError, match="layer"):
            audit(net, net.features, images())

    def test_four_positions_are_needed(self):
        four = Net(nn.Sequential(nn.Conv2d(3, 4, 8)), nn.Sequential(nn.Flatten(), nn.Linear(16, 5))).eval()
        three = Net(nn.Sequential(nn.Conv2d(3, 4, (9, 7))), nn.Sequential(nn.Flatten(), nn.Linear(12, 5))).eval()
        assert audit(four, four.features, images()).occlusion_maps.shape == (3, 2, 2)
        with pytest.raises(ValueError, match="layer"):
            audit(three, three.features, images())

    def test_positions_of_other_dimensions(self, spotter, spots):
        class Line(Constant):
            def attribute(self, inputs, target=None):
                return torch.rand(len(inputs), 1, 49)

        with pytest.raises(ValueError, match="layer"):
            audit(spotter, spotter.layer, spots, methods=CamMethod(Line))

    def test_methods_with_different_positions(self, spotter, spots):
        with pytest.raises(ValueError, match="methods"):
            audit(spotter, spotter.layer, spots, methods=[CamMethod(LayerDiffGradCam), CamMethod(Coarse)])

    def test_outputs_that_are_not_logits(self):
        net = Net(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1)).eval()
        with pytest.raises(ValueError, match="model"):
            audit(net, net.features, images())

    def test_numpy_seeds(self, spotter, spots):
        assert audit(spotter, spotter.layer, spots[:8], methods=GRAD_CAM, seed=np.int64(3)).seed == 3
