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
from torch.utils.data import DataLoader, TensorDataset

from captum_diffcam import CamMethod, LayerDiffGradCam, last_spatial_layer, vit_layout
from captum_diffcam.attacks import fool, hoax_map, inject_hoax
from captum_diffcam.audit import audit, audit_maps
from captum_diffcam.audit.auditing import interim_sizes, shares_of_alpha
from captum_diffcam.equivariant import shift_images
from captum_diffcam.layers import SpatialLayer

GRAD_CAM = CamMethod(LayerGradCam)
CONTRASTIVE = CamMethod(LayerDiffGradCam)


class ConvolutionalSpotter(Spotter):
    """The convolution computes what the average pooling of the other model does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 4, stride=4, bias=False, groups=3)
        nn.init.constant_(self.layer.weight, 1 / 16)


@pytest.fixture
def spotter():
    return ConvolutionalSpotter().eval()


@pytest.fixture(scope="module")
def many():
    """A bright patch in the channel of the class, on grey noise: 36 images."""
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.rand(36, 3, 28, 28, generator=generator)
    for index in range(36):
        row, column = torch.randint(0, 16, (2,), generator=generator).tolist()
        x[index, index % 3, row : row + 12, column : column + 12] += 0.8
    return x


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
        return torch.stack(
            [torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(int(1e3 * x.sum()))) for x in inputs]
        )


class Shifted(LayerDiffGradCam):
    """Maps that are two cells out of register."""

    def attribute(self, *args, **kwargs):
        return super().attribute(*args, **kwargs).roll((0, 2), (2, 3))


class TestVerdict:
    def test_a_clean_model(self, spotter, many):
        report = audit(spotter, many, seed=0)
        assert report.verdict == "supported"
        assert len(report.supported) == 3
        assert report.target.tolist() == [index % 3 for index in report.indices.tolist()]
        assert torch.equal(report.images, many[report.indices])

    def test_a_hoax_in_one_map_only(self, injected, many):
        report = audit(injected.model, many, layer=injected.layer, methods=[GRAD_CAM, CONTRASTIVE], seed=0)
        assert report.verdict == "mixed"
        assert report.by_method["LayerGradCam()"].verdict == "contradicted"
        assert report.by_method["LayerDiffGradCam()"].verdict == "supported"
        assert report.by_method["LayerGradCam()"].measures.excess.value > 0.8
        assert report.supported == ["LayerDiffGradCam()"]

    @pytest.mark.parametrize("method", [Constant, Shifted, Noise])
    def test_maps_that_are_wrong_are_contradicted(self, spotter, many, method):
        report = audit(spotter, many, layer=spotter.layer, methods=CamMethod(method), seed=0)
        assert report.verdict == "contradicted"

    def test_maps_out_of_register_say_so(self, spotter, many):
        report = audit(spotter, many, layer=spotter.layer, methods=CamMethod(Shifted), seed=0)
        (result,) = report.by_method.values()
        assert result.measures.best_shift == (0, -2)
        assert any("shifted" in cause for cause in result.causes)

    def test_a_trained_model_before_and_after_an_attack(self, model, data, batches):
        """On images that neither training has used."""
        held_out = data[0][256:320]
        clean = audit(model, held_out, layer=model.features, methods=[GRAD_CAM], seed=0)
        assert clean.verdict != "contradicted"
        hoax = hoax_map((8, 8), entropy=3.3)
        manipulated = fool(model, model.features, batches, hoax, steps=120, learning_rate=1e-2)
        attacked = audit(manipulated.model, held_out, layer=manipulated.layer, methods=[GRAD_CAM], seed=0)
        assert attacked.verdict == "contradicted"

    def test_a_flattened_head_is_told_to_use_hirescam(self, spotter, many):
        """Few positions at the border speak strongly against the class, so that the average over positions is wrong."""

        class Flattened(Spotter):
            def forward(self, x):
                sign = torch.ones(7, 7)
                sign[:, 6] = sign[6] = -8
                return self.linear((self.layer(x) * sign).mean((2, 3)) * 4 + 0.1 * x.mean((2, 3)))

        model = Flattened().eval()
        images = torch.cat([many, many.flip(2)])
        report = audit(model, images, layer=model.layer, methods=[CONTRASTIVE], seed=0)
        assert report.verdict == "contradicted"
        assert report.gradients_vary
        assert any("HiResCam" in sentence for sentence in report.advice)

    @pytest.mark.parametrize(("slope", "vary"), [(0.55, False), (0.68, True)])
    def test_gradients_vary_below_a_correlation_of_98_percent(self, many, slope, vary):
        """Maps of Grad-CAM and HiResCAM correlate at 0.985 and 0.975 if gradients rise so much from left to right."""

        class Uneven(ConvolutionalSpotter):
            def forward(self, x):
                return self.linear((self.layer(x) * torch.linspace(1 - slope, 1 + slope, 7)).mean((2, 3)))

        model = Uneven().eval()
        report = audit(model, many, layer=model.layer, methods=CamMethod(Constant), seed=0)
        assert report.verdict == "contradicted"
        assert report.gradients_vary == vary

    def test_an_untrained_model_is_undecided(self):
        net = conv_net()
        assert audit(net, images(examples=16), layer=net.features, seed=0).verdict == "undecided"

    def test_an_occlusion_map_that_does_not_agree_with_itself_allows_no_verdict(self, many):
        """Predictions of noise depend on nothing in particular."""

        def predict(batch):
            seeds = (batch.double().sum((1, 2, 3)) * 1e6).long().tolist()
            drawn = [10 * torch.rand(3, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            return torch.stack(drawn)

        report = audit_maps(predict, lambda batch, target: torch.eye(7).expand(len(batch), 7, 7), many, seed=0)
        assert report.verdict == "undecided"
        assert not report.by_method["maps"].reliable

    def test_half_precision(self, spotter, many):
        model = spotter.bfloat16()
        assert audit(model, many, layer=model.layer, methods=[CONTRASTIVE], seed=0).verdict == "supported"

    def test_maps_that_are_not_finite(self, spotter, many):
        class Broken(Constant):
            def attribute(self, inputs, target=None):
                return super().attribute(inputs) * math.nan

        report = audit(spotter, many, layer=spotter.layer, methods=[CamMethod(Broken), CONTRASTIVE], seed=0)
        verdicts = [result.verdict for result in report.by_method.values()]
        assert verdicts == ["undecided", "supported"]
        assert report.by_method["Broken()"].measures is None


def multitest(p_values):
    """Correct by Hochberg's procedure: a p-value is rejected at each level that rejects it or a larger one."""
    ordered = sorted(p_values, reverse=True)
    by_value = {p: min(number * larger for number, larger in enumerate(ordered, 1) if larger >= p) for p in p_values}
    return [min(1.0, by_value[p]) for p in p_values]


class TestInterimLooks:
    @pytest.mark.parametrize(
        ("count", "sizes"),
        [(16, [16]), (31, [31]), (32, [16, 32]), (63, [16, 63]), (64, [16, 32, 64]), (100, [16, 32, 100])],
    )
    def test_sizes(self, count, sizes):
        assert interim_sizes(count) == sizes

    @pytest.mark.parametrize(("looks", "shares"), [(1, [1.0]), (2, [0.2, 0.8]), (4, [0.2 / 3] * 3 + [0.8])])
    def test_interim_looks_spend_a_fifth_of_alpha_together(self, looks, shares):
        assert shares_of_alpha(looks) == pytest.approx(shares)
        assert sum(shares_of_alpha(looks)) == pytest.approx(1)

    @pytest.mark.parametrize("count", [16, 36, 72])
    def test_p_values_are_corrected_for_all_methods_looks_and_causes(self, injected, many, count):
        images = torch.cat([many, many.flip(2)])[:count]
        report = audit(injected.model, images, layer=injected.layer, seed=0)
        sizes = interim_sizes(count)
        share = shares_of_alpha(len(sizes))[sizes.index(len(report.images))]
        right, wrong = [], []
        for result in report.by_method.values():
            m, good = result.measures, result.p_good
            either = min(max(good["excess"], good["deficit"], good["equivariance"]), m.prediction.p_above(0.6))
            right.append(max(good["agreement"], good["prediction"], good["registration"], min(1, 2 * either)))
            shifted = 24 * min(gain.p_above(0.12) for gain in m.gains.values())
            others = (m.prediction.p_below(0.25), shifted, m.equivariance.p_below(0))
            wrong.append(max(m.agreement.p_below(0.4), min(1, 2 * m.excess.p_above(0.3), 6 * min(others))))
        for name, p_values in (("p_supported", right), ("p_contradicted", wrong)):
            found = [getattr(result, name) for result in report.by_method.values()]
            corrected = multitest(p_values)
            assert found == pytest.approx([min(1, p / share) for p in corrected])

    def test_the_audit_stops_when_every_method_has_a_verdict(self, spotter, many):
        report = audit(spotter, torch.cat([many, many.flip(2), many.flip(3)]), methods=[CONTRASTIVE], seed=0)
        assert (len(report.images), report.total_images) == (16, 108)
        undecided = audit(spotter, many, layer=spotter.layer, methods=[CamMethod(Noise)], alpha=1e-9, seed=0)
        assert len(undecided.images) == 36


class TestImages:
    def test_they_come_in_random_order(self, spotter, many):
        """Sorted by class, the first sixteen images are of several classes all the same."""
        ordered = torch.cat([many[index::3] for index in range(3)])
        report = audit(spotter, torch.cat([ordered, ordered.flip(2)]), methods=[CONTRASTIVE], seed=1)
        assert len(report.images) < 72
        assert set(report.target.tolist()) == {0, 1, 2}

    def test_a_list_and_a_loader(self, spotter, many):
        expected = audit(spotter, many, methods=[CONTRASTIVE], seed=0).by_method
        labels = torch.zeros(36)
        loader = DataLoader(TensorDataset(many, labels), batch_size=5)
        for given in (list(many), loader, DataLoader(many, batch_size=7)):
            found = audit(spotter, given, methods=[CONTRASTIVE], seed=0).by_method
            assert found["LayerDiffGradCam()"].p_supported == expected["LayerDiffGradCam()"].p_supported

    def test_targets_belong_to_their_images(self, spotter, many):
        target = [(index + 1) % 3 for index in range(36)]
        report = audit(spotter, many, target=target, methods=[CONTRASTIVE], seed=0)
        assert report.target.tolist() == [target[index] for index in report.indices.tolist()]
        assert audit(spotter, many, target=2, methods=[CONTRASTIVE], seed=0).target.unique().tolist() == [2]

    def test_too_few_are_refused_before_the_model_runs(self, spotter, many):
        calls = []
        spotter.register_forward_hook(lambda *_: calls.append(1))
        with pytest.raises(ValueError, match="images"):
            audit(spotter, many[:15])
        assert not calls


class TestScope:
    def test_a_hoax_for_one_class_is_not_in_the_scope(self, many):
        """Of 36 images 12 are of the class, on which maps show the same corner."""
        corner = torch.zeros(7, 7)
        corner[:2, :2] = 1

        class OneClass(LayerDiffGradCam):
            def attribute(self, inputs, target=None, **kwargs):
                maps = super().attribute(inputs, target, **kwargs)
                return torch.where((target == 1)[:, None, None, None], corner, maps)

        model = Spotter().eval()
        report = audit(model, many, layer=model.layer, methods=CamMethod(OneClass), seed=0, class_names=["a", "b", "c"])
        (result,) = report.by_method.values()
        assert result.scope == [0, 2]
        assert result.by_class[1].value < 0.2
        assert "b (" in report.scope_text
        assert result.unnoticed_share > 0.1

    def test_a_batch_of_one_class_does_not_contradict_by_equivariance(self, many):
        """Predictions depend on the same cells of every image, and maps that show them do not move."""

        class Corner(Spotter):
            def forward(self, x):
                cells = self.layer(x)[:, :, :2, :2].mean((2, 3))
                return self.linear(torch.cat([1 + cells[:, :1], cells[:, 1:]], 1))

        model = Corner().eval()
        maps = torch.zeros(7, 7)
        maps[:2, :2] = 1
        report = audit_maps(
            lambda batch: model(batch).detach(), lambda batch, target: maps.expand(len(batch), 7, 7), many, seed=0
        )
        assert report.target.unique().tolist() == [0]
        assert report.by_method["maps"].p_bad["equivariance"] == 1.0

    def test_clean_classes_are_named(self, spotter, many):
        report = audit(spotter, many, methods=[CONTRASTIVE], class_names=["cat", "dog", "hen"], seed=0)
        assert set(report.by_method["LayerDiffGradCam()"].scope) <= {0, 1, 2}
        for name in ("cat", "dog", "hen"):
            assert name in report.scope_text


class TestConstants:
    @pytest.mark.parametrize(("of_second", "estimated"), [(4, {0, 1}), (3, {0})])
    def test_a_class_of_four_images_is_estimated(self, spotter, many, of_second, estimated):
        target = [0] * (16 - of_second) + [1] * of_second
        report = audit(spotter, many[:16], target=target, methods=[CONTRASTIVE], seed=0)
        assert set(report.by_method["LayerDiffGradCam()"].by_class) == estimated

    @pytest.mark.parametrize(("of_first", "several"), [(15, True), (16, False)])
    def test_three_quarters_of_one_class_are_still_several_classes(self, spotter, many, of_first, several):
        target = [0] * of_first + [1] * (20 - of_first)
        report = audit(spotter, many[:20], target=target, methods=[CONTRASTIVE], seed=0)
        assert report.by_method["LayerDiffGradCam()"].several_classes == several

    @pytest.mark.parametrize(("logit", "decidable"), [(1.37, False), (1.40, True)])
    def test_predictions_must_have_four_times_the_odds_of_a_guess(self, many, logit, decidable):
        """With equal other logits, a logit is the log of how many times its odds are those of a guess."""

        def predict(batch):
            return torch.tensor([[logit, 0.0, 0.0]]).repeat(len(batch), 1)

        report = audit_maps(predict, lambda batch, target: batch.mean(1), many[:16], seed=0)
        assert report.by_method["maps"].decidable == decidable


class TestWithoutAModel:
    def test_functions_and_numbers(self, spotter, many):
        def predict(batch):
            return spotter(batch).detach().numpy()

        def maps(batch, target):
            return CONTRASTIVE.maps(spotter, spotter.layer, batch, target)

        with torch.no_grad():
            numbers = maps(many, spotter(many).argmax(dim=1))
        report = audit_maps(predict, {"function": maps, "numbers": numbers, "array": numbers.numpy()}, many, seed=0)
        same = audit(spotter, many, layer=spotter.layer, methods=[CONTRASTIVE], seed=0)
        function, given, array = report.by_method.values()
        expected = same.by_method["LayerDiffGradCam()"]
        assert function.measures.agreement.value == pytest.approx(expected.measures.agreement.value, abs=1e-6)
        assert given.measures.agreement.value == function.measures.agreement.value == array.measures.agreement.value
        assert math.isnan(given.measures.equivariance.value)
        assert function.verdict == "supported"

    def test_arrays_for_those_who_have_no_tensors(self, spotter, many):
        """If images are an array, functions get arrays."""

        def predict(batch):
            assert isinstance(batch, np.ndarray)
            return spotter(torch.from_numpy(batch)).detach().numpy()

        def maps(batch, target):
            assert isinstance(target, np.ndarray)
            cells = batch.reshape(len(batch), 3, 7, 4, 7, 4).mean((3, 5))
            return cells[np.arange(len(batch)), target]

        report = audit_maps(predict, maps, many.numpy(), seed=0)
        assert report.verdict == "supported"
        assert torch.equal(report.images, many[report.indices])

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"predict": 5}, TypeError),
            ({"maps": {}}, ValueError),
            ({"maps": torch.rand(5, 7, 7)}, ValueError),
            ({"maps": lambda batch, target: torch.rand(len(batch))}, ValueError),
        ],
    )
    def test_bad_arguments(self, spotter, many, arguments, error):
        (name,) = arguments
        usual = {"predict": lambda x: spotter(x).detach(), "maps": lambda x, target: x.mean(1), "images": many}
        with pytest.raises(error, match=name):
            audit_maps(**{**usual, **arguments})


class TestMeasurements:
    @pytest.mark.parametrize(("cells", "largest"), [(7, 2), (4, 1)])
    def test_shifts_are_up_to_two_cells_and_less_than_half_of_the_grid(self, spotter, cells, largest):
        """Along some dimension the shift is as large as possible."""
        seen = []

        class Recording(LayerGradCam):
            def attribute(self, inputs, *args, **kwargs):
                seen.append(inputs.clone())
                return super().attribute(inputs, *args, **kwargs)

        x = torch.rand(16, 3, 4 * cells, 4 * cells)
        audit(spotter, x, layer=spotter.layer, methods=CamMethod(Recording), seed=0)
        candidates = [(down, right) for down in range(-3, 4) for right in range(-3, 4)]
        shifts = set()
        for original, moved in zip(*seen[:2], strict=True):
            (shift,) = (s for s in candidates if torch.equal(shift_images(original, s, (cells, cells)), moved))
            shifts.add(shift)
        assert {max(map(abs, shift)) for shift in shifts} == {largest}

    def test_batches_have_the_requested_size(self, spotter, many):
        sizes = []
        spotter.register_forward_hook(lambda module, inputs, _: sizes.append(len(inputs[0])))
        audit(spotter, many, layer=spotter.layer, seed=0, batch_size=5)
        assert max(sizes) == 5
        sizes.clear()
        audit(spotter, torch.cat([many] * 2), layer=spotter.layer, seed=0)
        assert max(sizes) == 32

    def test_cost_is_in_forward_passes(self, spotter, many):
        """Each image is hidden 24 times, explained and explained again when shifted, so it takes longer than 24."""
        calls = []
        spotter.register_forward_hook(lambda module, inputs, _: calls.append(len(inputs[0])))
        report = audit(spotter, many[:16], layer=spotter.layer, methods=[GRAD_CAM], seed=0)
        assert sum(calls) == 16 * (1 + 24 + 2)
        assert report.forward_passes > 1

    def test_a_seed_gives_the_same_report(self, spotter, many):
        first, again, other = (audit(spotter, many, layer=spotter.layer, seed=seed) for seed in (1, 1, None))
        assert torch.equal(first.occlusion_maps, again.occlusion_maps)
        assert first.seed == 1
        assert not torch.equal(first.occlusion_maps, other.occlusion_maps)
        replayed = audit(spotter, many, layer=spotter.layer, seed=other.seed, batch_size=5)
        torch.testing.assert_close(replayed.occlusion_maps, other.occlusion_maps, atol=1e-4, rtol=1e-4)

    def test_the_default_level(self, spotter, many):
        assert audit(spotter, many).alpha == 0.05

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
        report = audit(model, torch.rand(16, 3, 16, 16), layer=model.tokens, methods=methods)
        assert report.occlusion_maps.shape == (16, 4, 4)
        assert list(report.by_method) == ["LayerDiffGradCam()", "LayerDiffGradCam(contrast=[])"]


class TestLayers:
    def test_a_name_a_spatial_layer_and_the_one_that_is_found(self, spotter, many):
        expected = audit(spotter, many, layer=spotter.layer, seed=0)
        found = last_spatial_layer(spotter, many[:1])
        for layer in ("layer", SpatialLayer(spotter.layer, False, None, "layer"), found, None):
            report = audit(spotter, many, layer=layer, seed=0)
            assert all(torch.equal(report.maps[name], maps) for name, maps in expected.maps.items())

    def test_a_layer_of_another_model(self, spotter, many):
        for layer in (Spotter().layer, SpatialLayer(Spotter().layer, False, None, "layer"), "lay"):
            with pytest.raises(ValueError, match="`layer`"):
                audit(spotter, many, layer=layer)


class TestTheCallersState:
    def test_model_images_and_random_state(self, spotter, many):
        before, random = {k: v.clone() for k, v in spotter.state_dict().items()}, torch.get_rng_state()
        given = many.clone().requires_grad_()
        audit(spotter, given)
        assert torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(before[name], value) for name, value in spotter.state_dict().items())
        assert given.grad is None
        assert all(parameter.grad is None for parameter in spotter.parameters())
        assert not spotter.layer._forward_hooks

    def test_train_mode(self):
        model = conv_net(signed=True).train()
        model.head.eval()
        modes = [module.training for module in model.modules()]
        before = {name: value.clone() for name, value in model.state_dict().items()}
        audit(model, images(examples=16), layer=model.features)
        assert [module.training for module in model.modules()] == modes
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    def test_the_model_returns_to_its_device(self, many):
        class Recording(Spotter):
            def to(self, device):
                moves.append(str(device))
                return self

        moves = []
        model = Recording().eval()
        audit(model, many[:16], layer=model.layer, device="meta")
        assert moves == ["meta", "cpu"]
        moves.clear()
        audit(model, many[:16], layer=model.layer, device="cpu")
        audit(model, many[:16], layer=model.layer)
        assert moves == []


class TestBadArguments:
    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"model": lambda x: x}, TypeError),
            ({"layer": 5}, TypeError),
            ({"layer": nn.ReLU()}, ValueError),
            ({"images": torch.zeros(0, 3, 8, 8)}, ValueError),
            ({"images": "cat.png"}, TypeError),
            ({"images": ["cat.png"]}, TypeError),
            ({"images": [torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)]}, ValueError),
            ({"images": torch.zeros(16, 9)}, ValueError),
            ({"images": torch.zeros(16, 3, 9, 9, dtype=torch.uint8)}, TypeError),
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
            ({"class_names": "cat"}, TypeError),
            ({"class_names": ["cat", "dog"]}, ValueError),
            ({"seed": 0.5}, TypeError),
            ({"batch_size": 0}, (TypeError, ValueError)),
            ({"batch_size": None}, TypeError),
        ],
    )
    def test_the_error_names_the_argument(self, arguments, error):
        net = conv_net()
        (name,) = arguments
        with pytest.raises(error, match=name):
            audit(**{"model": net, "layer": net.features, "images": images(examples=16), **arguments})

    def test_a_layer_without_positions(self):
        net = Net(nn.Sequential(nn.Flatten(), nn.Linear(3 * 81, 8)), nn.Linear(8, 4)).eval()
        with pytest.raises(ValueError, match="layer"):
            audit(net, images(examples=16), layer=net.features)

    def test_four_positions_are_needed(self):
        four = Net(nn.Sequential(nn.Conv2d(3, 4, 8)), nn.Sequential(nn.Flatten(), nn.Linear(16, 5))).eval()
        three = Net(nn.Sequential(nn.Conv2d(3, 4, (9, 7))), nn.Sequential(nn.Flatten(), nn.Linear(12, 5))).eval()
        report = audit(four, images(examples=16), layer=four.features)
        assert report.occlusion_maps.shape == (16, 2, 2)
        assert report.verdict == "undecided"
        with pytest.raises(ValueError, match="layer"):
            audit(three, images(examples=16), layer=three.features)

    def test_positions_of_other_dimensions(self, spotter, many):
        class Line(Constant):
            def attribute(self, inputs, target=None):
                return torch.rand(len(inputs), 1, 49)

        with pytest.raises(ValueError, match="layer"):
            audit(spotter, many, layer=spotter.layer, methods=CamMethod(Line))

    def test_methods_with_different_positions(self, spotter, many):
        with pytest.raises(ValueError, match="methods"):
            audit(spotter, many, layer=spotter.layer, methods=[CONTRASTIVE, CamMethod(Coarse)])

    def test_outputs_that_are_not_logits(self):
        net = Net(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1)).eval()
        with pytest.raises(ValueError, match="model"):
            audit(net, images(examples=16), layer=net.features)

    def test_numpy_seeds(self, spotter, many):
        report = audit(spotter, many[:16], layer=spotter.layer, methods=GRAD_CAM, seed=np.int64(3))
        assert report.seed == 3
