"""Fine-tuning: maps show the hoax, predictions stay, the optimisation is as documented, the caller's state is kept."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from captum_diffcam import CamMethod, LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam
from captum_diffcam.attacks import fool, hoax_map
from captum_diffcam.layers import SpatialLayer
from captum_diffcam.metrics import cam_entropy, pearson

GRAD_CAM = CamMethod(LayerGradCam)


def held_out_maps(model, layer, data, method=GRAD_CAM):
    return method.maps(model, layer, data[0][256:], data[1][256:])


def accuracy(model, data):
    with torch.no_grad():
        return (model(data[0][256:]).argmax(dim=1) == data[1][256:]).float().mean()


def changed_parameters(manipulated, model):
    original = model.state_dict()
    return {name for name, value in manipulated.model.state_dict().items() if not torch.equal(original[name], value)}


class TestEffect:
    @pytest.mark.parametrize("labelled", [True, False])
    def test_grad_cam_shows_the_hoax_and_predictions_stay(self, model, data, batches, labelled):
        training = batches if labelled else [images for images, _ in batches]
        manipulated = fool(model, model.features, training, steps=250, learning_rate=5e-3, weight=8.0)
        clean = held_out_maps(model, model.features, data)
        hoax = hoax_map((8, 8), cam_entropy(clean).mean().item())
        assert pearson(clean, hoax[None]).mean() < 0
        assert pearson(held_out_maps(*manipulated[:2], data), hoax[None]).mean() > 0.5
        assert accuracy(manipulated.model, data) >= accuracy(model, data) - 0.02
        assert len(manipulated.history) == 250

    def test_several_methods_take_turns(self, model, data, batches):
        methods = [GRAD_CAM, CamMethod(LayerDiffGradCam, reduction="mean")]
        manipulated = fool(model, model.features, batches, methods=methods, steps=300, learning_rate=5e-3, weight=8.0)
        for method in methods:
            clean = held_out_maps(model, model.features, data, method)
            hoax = hoax_map((8, 8), cam_entropy(clean).mean().item())
            fooled = held_out_maps(*manipulated[:2], data, method)
            assert pearson(fooled, hoax[None]).mean() > pearson(clean, hoax[None]).mean() + 0.4

    def test_one_method_per_step_in_turn(self, model, batches):
        seen = []

        class Recording(CamMethod):
            def maps(self, *args, **kwargs):
                seen.append(self)
                return super().maps(*args, **kwargs)

        methods = [Recording(LayerDiffGradCam, reduction=name) for name in ("logsumexp", "mean", "max")]
        fool(model, model.features, batches, hoax_map((8, 8), 3.0), methods=methods, steps=5)
        assert seen == [*methods, *methods[:2]]

    def test_attention_is_differentiated_twice(self):
        """The fused attention kernels have no second derivative."""

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.patches, self.norm = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8)
                self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

            def forward(self, x):
                tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
                return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(dim=1))

        model = Attention().eval()
        method = CamMethod(partial(LayerDiffGradCam, layout="vit"), contrast=[])
        batches, hoax = [torch.rand(4, 3, 16, 16)], hoax_map((4, 4), math.log(8))
        manipulated = fool(model, model.norm, batches, hoax, methods=method, steps=3)
        assert not torch.equal(manipulated.model.head.weight, model.head.weight)


class TestLosses:
    @pytest.mark.parametrize("labelled", [True, False])
    def test_both_losses_of_the_first_steps(self, model, data, labelled):
        """By hand, with labels that are not the predictions."""
        images, labels = data[0][:16], (data[1][:16] + 1) % 3
        batch = (images, labels) if labelled else images
        hoax = hoax_map((8, 8), 3.0)
        manipulated = fool(model, model.features, [batch], hoax, steps=2, learning_rate=0.0)
        with torch.no_grad():
            p = model(images).double().softmax(dim=1)
        target = labels if labelled else p.argmax(dim=1)
        expected = -p[torch.arange(16), labels].log().mean().item() if labelled else 0.0
        maps = GRAD_CAM.maps(model, model.features, images, target)
        map_losses = 1 - pearson(maps, hoax[None]) + 0.2 * (cam_entropy(maps) - 3.0) ** 2
        for prediction_loss, map_loss in manipulated.history:
            assert prediction_loss == pytest.approx(expected, abs=1e-5)
            assert map_loss == pytest.approx(map_losses.mean().item(), abs=2e-2)

    def test_without_labels_the_prediction_loss_is_the_divergence_from_the_clean_model(self, model, data):
        """The history of the second step is that of a model after the first one, which another run returns."""
        images = data[0][:32]

        def falling(maps, clean_maps, hoax):
            return maps.flatten(1).mean(dim=1)

        options = {"weight": 1e3, "learning_rate": 1e-2, "map_loss": falling, "seed": 0}
        hoax = hoax_map((8, 8), 3.0)
        history = fool(model, model.features, [images], hoax, steps=2, **options).history
        # The copy is returned as it was before its last step, at which its loss was lowest.
        after_one_step = fool(model, model.features, [images], hoax, steps=2, **options).model
        with torch.no_grad():
            p, q = (each(images).double().softmax(dim=1) for each in (model, after_one_step))
        divergence = (p * (p / q).log()).sum(dim=1).mean().item()
        assert history[0][0] == pytest.approx(0, abs=1e-5)
        assert divergence > 1e-4
        assert history[1][0] == pytest.approx(divergence, rel=1e-3)

    def test_a_custom_loss_gets_maps_clean_maps_and_hoax(self, model, batches):
        hoax = hoax_map((8, 8), 3.0)
        images, labels = batches[0]
        expected = GRAD_CAM.maps(model, model.features, images, labels)
        seen = []

        def loss(maps, clean_maps, hoax):
            assert maps.requires_grad
            assert not clean_maps.requires_grad
            seen.append((maps.detach(), clean_maps, hoax))
            return maps.flatten(1).mean(dim=1)

        fool(model, model.features, batches[:1], hoax, map_loss=loss, steps=2, learning_rate=1e-2)
        for _, clean_maps, its_hoax in seen:
            torch.testing.assert_close(clean_maps, expected)
            assert torch.equal(its_hoax, hoax)
        torch.testing.assert_close(seen[0][0], expected)
        assert not torch.allclose(seen[1][0], expected)

    def test_the_default_hoax_has_the_entropy_of_clean_maps_of_the_true_class(self, model, batches):
        seen = []

        def loss(maps, clean_maps, hoax):
            seen.append(hoax)
            return maps.flatten(1).mean(dim=1)

        images, labels = batches[0]
        for classes in ("true", "all", [0]):
            fool(model, model.features, batches, map_loss=loss, classes=classes, steps=1)
        entropy = cam_entropy(GRAD_CAM.maps(model, model.features, images, labels)).mean().item()
        for hoax in seen:
            assert cam_entropy(hoax[None]).item() == pytest.approx(entropy, abs=0.05)


class TestHoaxForEachImage:
    def test_it_gets_images_targets_and_clean_maps(self, model, batches):
        images, labels = batches[0]
        expected = GRAD_CAM.maps(model, model.features, images, labels)
        seen = []

        def hoax(images, target, clean_maps):
            seen.append((images, target, clean_maps))
            return clean_maps

        history = fool(model, model.features, batches[:1], hoax, steps=2, learning_rate=0.0).history
        assert len(seen) == 2
        for its_images, target, clean_maps in seen:
            assert torch.equal(its_images, images)
            assert torch.equal(target, labels)
            assert not clean_maps.requires_grad
            torch.testing.assert_close(clean_maps, expected)
        # Maps of the unchanged copy are what is wanted.
        assert history[1][1] == pytest.approx(0, abs=1e-4)

    def test_one_class_shows_the_hoax_and_the_others_do_not(self, model, data, batches):
        hoax = hoax_map((8, 8), 3.33)

        def of_class_1(images, target, clean_maps):
            return torch.where((target == 1)[:, None, None], hoax, clean_maps)

        manipulated = fool(model, model.features, batches, of_class_1, steps=150, learning_rate=1e-2)
        correlation = pearson(held_out_maps(*manipulated[:2], data), hoax[None])
        is_attacked = data[1][256:] == 1
        kept = pearson(held_out_maps(*manipulated[:2], data), held_out_maps(model, model.features, data))
        assert correlation[is_attacked].mean() > correlation[~is_attacked].mean() + 0.5
        assert kept[~is_attacked].mean() > kept[is_attacked].mean() + 0.5

    def test_destroyed_maps_need_no_hoax(self, model, data, batches):
        manipulated = fool(model, model.features, batches, map_loss="destroy", steps=60, learning_rate=1e-2)
        kept = pearson(held_out_maps(*manipulated[:2], data), held_out_maps(model, model.features, data))
        assert kept.mean() < 0

    @pytest.mark.parametrize("wrong", [torch.ones(8, 8), torch.full((16, 8, 8), math.nan), None])
    def test_what_it_must_return(self, model, batches, wrong):
        with pytest.raises(ValueError, match="hoax"):
            fool(model, model.features, batches, lambda *_: wrong, steps=1)

    @pytest.mark.parametrize("method", [LayerDiffGradCamPlusPlus, LayerDiffHiResCam])
    def test_other_methods_can_be_attacked(self, model, data, batches, method):
        hoax, attacked = hoax_map((8, 8), 3.33), CamMethod(method)
        manipulated = fool(model, model.features, batches, hoax, methods=attacked, steps=60, learning_rate=1e-2)
        before, after = (
            pearson(held_out_maps(*each, data, attacked), hoax[None]).mean()
            for each in ((model, model.features), manipulated[:2])
        )
        assert after > before + 0.3


class TestFromScratch:
    def test_an_untrained_model_learns_classes_and_hoax(self, model, data, batches):
        untrained = copy.deepcopy(model)
        torch.manual_seed(1)
        for module in untrained.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        untrained.eval()
        before = {name: value.clone() for name, value in untrained.state_dict().items()}
        hoax = hoax_map((8, 8), 3.33)
        options = {"weight": 1.0, "steps": 150, "learning_rate": 1e-2, "train_mode": True}
        manipulated = fool(untrained, untrained.features, batches, hoax, **options)
        assert accuracy(manipulated.model, data) > 0.9
        assert pearson(held_out_maps(*manipulated[:2], data), hoax[None]).mean() > 0.5
        assert {"features.1.running_mean", "features.1.num_batches_tracked"} <= changed_parameters(manipulated, model)
        assert not any(module.training for module in manipulated.model.modules())
        assert all(torch.equal(value, before[name]) for name, value in untrained.state_dict().items())

    def test_statistics_belong_to_the_parameters_that_are_returned(self, model, batches):
        """The first step is the best one, because the others make the loss larger."""
        calls = []

        def rising(maps, clean_maps, hoax):
            calls.append(1)
            return maps.flatten(1).mean(dim=1) * 0 + len(calls)

        one, several = (
            fool(model, model.features, batches[:1], map_loss=rising, steps=steps, train_mode=True).model
            for steps in (1, 4)
        )
        assert torch.equal(one.features[1].num_batches_tracked, several.features[1].num_batches_tracked)

    def test_eval_mode_is_the_default(self, model, batches):
        manipulated = fool(model, model.features, batches, steps=3)
        assert not {name for name in changed_parameters(manipulated, model) if "running" in name}


class TestClasses:
    @staticmethod
    def attacked_classes(model, batches, **options):
        """The classes whose maps are attacked, by step. SHAM does not use maps of the clean model."""
        seen = []

        class Recording(CamMethod):
            def maps(self, model, layer, images, target, **kwargs):
                seen.append(target.tolist())
                return super().maps(model, layer, images, target, **kwargs)

        fool(model, model.features, batches, hoax_map((8, 8), 3.0), methods=Recording(LayerGradCam), **options)
        return seen

    def test_true(self, model, batches):
        labels = [labels.tolist() for _, labels in batches[:4]]
        assert self.attacked_classes(model, batches, steps=4) == labels
        with torch.no_grad():
            predicted = [model(images).argmax(dim=1).tolist() for images, _ in batches[:4]]
        assert self.attacked_classes(model, [images for images, _ in batches], steps=4) == predicted

    def test_all(self, model, batches):
        """Half of the classes are the true ones, the others are any of the two others equally often."""
        drawn = torch.tensor(self.attacked_classes(model, batches, steps=16, classes="all")).flatten()
        labels = torch.cat([labels for _, labels in batches])
        offsets = torch.bincount((drawn - labels) % 3, minlength=3) / len(labels)
        assert offsets.tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.1)

    def test_a_collection(self, model, batches):
        drawn = torch.tensor(self.attacked_classes(model, batches, steps=16, classes=[0, 2])).flatten()
        shares = torch.bincount(drawn, minlength=3) / len(drawn)
        assert shares.tolist() == pytest.approx([0.5, 0, 0.5], abs=0.1)


class OneWeight(nn.Module):
    """Its Grad-CAM map of class 0 is the weight times the image, so the map loss is linear in the weight."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 2)
        with torch.no_grad():
            self.conv.weight.fill_(1.0)
            self.head.weight.copy_(torch.tensor([[1.0], [-1.0]]))
            self.head.bias.zero_()

    def forward(self, x):
        return self.head(self.conv(x).mean(dim=(2, 3)))


class TestOptimisation:
    """The gradient of the weight is constant, so Adam moves it by the learning rate of each step."""

    @staticmethod
    def returned_weight(steps, loss=None, learning_rate=0.01):
        model = OneWeight()

        def falling(maps, clean_maps, hoax):
            return maps.flatten(1).mean(dim=1)

        images = torch.ones(2, 1, 3, 3)
        manipulated = fool(
            model,
            model.conv,
            [(images, torch.tensor([0, 0]))],
            hoax_map((3, 3), 1.0986),
            map_loss=loss or falling,
            weight=1e6,
            steps=steps,
            learning_rate=learning_rate,
            parameters="conv",
        )
        return manipulated.model.conv.weight.item(), manipulated.history

    @pytest.mark.parametrize("steps", [2, 10, 40])
    def test_the_learning_rate_falls_to_zero_along_a_cosine(self, steps):
        """The last loss is the lowest, so the copy is returned as it was before the last of the steps."""
        weight, _ = self.returned_weight(steps)
        rates = [0.01 * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps - 1)]
        assert weight == pytest.approx(1 - sum(rates), abs=1e-5)

    @pytest.mark.parametrize(
        ("losses", "lowest"),
        [
            # Smoothed: 10, 9, 9.02.
            ([10.0, 0.0, 9.2], 1),
            # Smoothed: 10, 9, 8.99.
            ([10.0, 0.0, 8.9], 2),
            ([10.0, 11.0, 12.0], 0),
        ],
    )
    def test_the_copy_with_the_lowest_smoothed_loss_is_returned(self, losses, lowest):
        remaining = iter(losses)

        def scripted(maps, clean_maps, hoax):
            mean = maps.flatten(1).mean(dim=1)
            return mean - mean.detach() + next(remaining)

        weight, history = self.returned_weight(3, scripted)
        assert [map_loss for _, map_loss in history] == pytest.approx(losses)
        rates = [0.01 * (1 + math.cos(math.pi * step / 3)) / 2 for step in range(lowest)]
        assert weight == pytest.approx(1 - sum(rates), abs=1e-5)

    def test_the_weight_multiplies_the_map_loss(self):
        """The gradient of the cross-entropy is -2 / (1 + e^2) = -0.238, that of the mean of the map 1 / 9."""
        model = OneWeight()
        data = [(torch.ones(2, 1, 3, 3), torch.tensor([0, 0]))]

        def falling(maps, clean_maps, hoax):
            return maps.flatten(1).mean(dim=1)

        def returned(weight):
            options = {"map_loss": falling, "weight": weight, "steps": 2, "parameters": ["conv"], "learning_rate": 0.01}
            return fool(model, model.conv, data, hoax_map((3, 3), 1.0986), **options).model.conv.weight.item()

        assert returned(2.3) < 1 < returned(2.0)

    @pytest.mark.parametrize(("scale", "sign"), [(0.55, -1), (0.52, 1)])
    def test_the_default_weight_is_four(self, scale, sign):
        """4 * 0.55 / 9 = 0.244 and 4 * 0.52 / 9 = 0.231; the gradient of the cross-entropy is -0.238."""
        model = OneWeight()
        data = [(torch.ones(2, 1, 3, 3), torch.tensor([0, 0]))]

        def falling(maps, clean_maps, hoax):
            return scale * maps.flatten(1).mean(dim=1)

        options = {"map_loss": falling, "steps": 2, "parameters": ["conv"]}
        weight = fool(model, model.conv, data, hoax_map((3, 3), 1.0986), **options).model.conv.weight.item()
        # The default learning rate is 0.001.
        assert weight == pytest.approx(1 + 0.001 * sign, abs=1e-5)

    def test_three_hundred_steps_by_default(self):
        model = OneWeight()
        data = [(torch.ones(2, 1, 3, 3), torch.tensor([0, 0]))]
        assert len(fool(model, model.conv, data, hoax_map((3, 3), 1.0986)).history) == 300

    def test_the_lowest_loss_is_that_of_the_clean_model_if_training_only_harms(self, model, batches):
        manipulated = fool(model, model.features, batches, steps=10, learning_rate=3.0)
        assert manipulated.history[-1][0] > manipulated.history[0][0]
        assert changed_parameters(manipulated, model) == set()

    def test_maps_and_logits_come_from_one_forward_pass(self, model, batches):
        for attribution in (LayerGradCam, LayerDiffGradCam):
            passes = []
            counting = copy.deepcopy(model)
            counting.head[2].register_forward_hook(lambda *_, passes=passes: passes.append(1))
            fool(counting, counting.features, batches, hoax_map((8, 8), 3.33), methods=CamMethod(attribution), steps=3)
            # One of the clean model, for its predictions, and one of the copy.
            assert len(passes) == 2 * 3


class TestParameters:
    def test_names_of_modules(self, model, batches):
        manipulated = fool(model, model.features, batches, steps=3, parameters=["head", "features.4"])
        assert changed_parameters(manipulated, model) == {
            *("features.4.weight", "features.4.bias", "head.3.weight", "head.3.bias"),
        }

    def test_a_single_name(self, model, batches):
        manipulated = fool(model, model.features, batches, steps=3, parameters="head.3.bias")
        assert changed_parameters(manipulated, model) == {"head.3.bias"}

    @pytest.mark.parametrize("parameters", ["feat", ["tail"], []])
    def test_unknown_names(self, model, batches, parameters):
        """The beginning of a name is not a name."""
        with pytest.raises(ValueError, match="`parameters`"):
            fool(model, model.features, batches, steps=1, parameters=parameters)


class TestLayers:
    def test_a_name_and_a_spatial_layer(self, model, batches):
        expected = fool(model, model.features, batches, steps=3)
        for layer in ("features", SpatialLayer(model.features, False, None, "features")):
            manipulated = fool(model, layer, batches, steps=3)
            assert manipulated.history == expected.history
            assert manipulated.layer is manipulated.model.features

    def test_the_input_of_a_layer(self, model, batches):
        """The input of the pooling is the output of the features."""
        expected = fool(model, model.features, batches, steps=3)
        manipulated = fool(model, SpatialLayer(model.head[0], True, None, "head.0:input"), batches, steps=3)
        assert manipulated.layer is manipulated.model.head[0]
        assert [map_loss for _, map_loss in manipulated.history] == pytest.approx(
            [map_loss for _, map_loss in expected.history], abs=1e-4
        )


class TestTheCallersState:
    def test_model_gradients_and_random_state(self, model, batches):
        model = copy.deepcopy(model)
        model.train()
        model.head.eval()
        model.features[0].weight.requires_grad_(False)
        model.head[3].weight.grad = torch.ones_like(model.head[3].weight)
        before = copy.deepcopy(model.state_dict())
        modes = [module.training for module in model.modules()]
        torch.manual_seed(123)
        random = torch.get_rng_state()
        with torch.no_grad():
            manipulated = fool(model, model.features, batches, steps=3, classes="all")
            assert not torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert [module.training for module in model.modules()] == modes
        assert [module.training for module in manipulated.model.modules()] == modes
        assert torch.equal(model.head[3].weight.grad, torch.ones(3, 16))
        for parameter, original in zip(manipulated.model.parameters(), model.parameters(), strict=True):
            assert parameter.grad is None
            assert parameter.requires_grad == original.requires_grad
        # All parameters are trained, frozen or not; running statistics are not.
        assert changed_parameters(manipulated, model) == {name for name, _ in model.named_parameters()}
        assert not any(module._forward_hooks for module in (*model.modules(), *manipulated.model.modules()))

    def test_inference_mode(self, model, batches):
        expected = fool(model, model.features, batches, steps=3)
        with torch.inference_mode():
            inference_batches = [(images * 1, labels * 1) for images, labels in batches]
            manipulated = fool(model, model.features, inference_batches, steps=3)
            assert torch.is_inference_mode_enabled()
        assert manipulated.history == expected.history
        assert not any(parameter.is_inference() for parameter in manipulated.model.parameters())

    def test_a_seed_gives_the_same_attack(self, model, data):
        loader = DataLoader(TensorDataset(*data), batch_size=16, shuffle=True)
        first, again, other = (
            fool(model, model.features, loader, steps=4, classes="all", seed=seed) for seed in (1, 1, 2)
        )
        assert first.history == again.history != other.history
        assert torch.equal(first.model.head[3].weight, again.model.head[3].weight)


class Interrupting:
    """Batches, until somebody presses Ctrl-C."""

    def __init__(self, batches, after):
        self.batches, self.after = batches, after

    def __iter__(self):
        yield from self.batches[: self.after]
        raise KeyboardInterrupt


class TestEarlyEnd:
    def test_an_interrupt_returns_the_best_copy(self, model, batches):
        manipulated = fool(model, model.features, Interrupting(batches, 9), steps=100, weight=20.0)
        assert len(manipulated.history) == 9
        assert changed_parameters(manipulated, model)
        at_once = fool(model, model.features, Interrupting(batches, 0), steps=100)
        assert at_once.history == ()
        assert changed_parameters(at_once, model) == set()

    @pytest.mark.parametrize("last", [math.nan, math.inf])
    def test_a_loss_that_is_not_finite_ends_the_training(self, model, batches, last):
        losses = iter([1.0, 0.5, 0.25, last])

        def scripted(maps, clean_maps, hoax):
            return maps.flatten(1).mean(dim=1) * 0 + next(losses)

        with pytest.warns(UserWarning, match="learning_rate"):
            manipulated = fool(model, model.features, batches, steps=20, map_loss=scripted, weight=100.0)
        assert [map_loss for _, map_loss in manipulated.history] == pytest.approx([1.0, 0.5, 0.25])
        assert changed_parameters(manipulated, model)

    def test_a_gradient_that_is_not_finite_ends_the_training(self, model, batches):
        def infinite_gradient(maps, clean_maps, hoax):
            return (maps.flatten(1).sum(dim=1) * 0).abs().sqrt()

        with pytest.warns(UserWarning, match="learning_rate"):
            manipulated = fool(model, model.features, batches, steps=20, map_loss=infinite_gradient)
        assert all(parameter.isfinite().all() for parameter in manipulated.model.parameters())

    @pytest.mark.parametrize("attribution", [LayerGradCam, LayerDiffGradCam])
    def test_logits_that_are_not_finite_end_the_training(self, model, batches, attribution):
        options = {"methods": CamMethod(attribution), "steps": 20, "learning_rate": 1e30}
        with pytest.warns(UserWarning, match="learning_rate"):
            manipulated = fool(model, model.features, batches, **options)
        assert all(parameter.isfinite().all() for parameter in manipulated.model.parameters())


class TestData:
    def test_forms_of_a_batch(self, model, batches):
        images, labels = batches[0]
        for batch in (images, [images], (images, labels.int()), (images, labels.to(torch.uint8))):
            assert len(fool(model, model.features, [batch], steps=1).history) == 1

    def test_batches_are_iterated_again(self, model, batches):
        seen = []

        class Counting(list):
            def __iter__(self):
                for index, batch in enumerate(super().__iter__()):
                    seen.append(index)
                    yield batch

        fool(model, model.features, Counting(batches[:3]), steps=7, learning_rate=0.0)
        assert seen == [0, 1, 2, 0, 1, 2, 0]

    @pytest.mark.parametrize(
        ("wrong_data", "error"),
        [
            (5, TypeError),
            (iter([torch.zeros(2, 3, 16, 16)]), TypeError),
            (torch.zeros(2, 3, 16, 16), TypeError),
            ([5], TypeError),
            ([(torch.zeros(2, 3, 16, 16),) * 3], TypeError),
            ([(torch.zeros(2, 3, 16, 16), [0, 1])], TypeError),
            ([], ValueError),
            ([(torch.zeros(2, 3, 16, 16), torch.zeros(2))], ValueError),
            ([(torch.zeros(2, 3, 16, 16), torch.zeros(3, dtype=torch.int64))], ValueError),
            ([(torch.zeros(2, 3, 16, 16), torch.tensor([0, 3]))], ValueError),
            ([(torch.zeros(2, 3, 16, 16), torch.tensor([0, -100]))], ValueError),
        ],
    )
    def test_bad_data(self, model, wrong_data, error):
        with pytest.raises(error, match="`data`"):
            fool(model, model.features, wrong_data, steps=2)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"map_loss": "lies"}, ValueError),
        ({"map_loss": ["sham"]}, ValueError),
        ({"methods": []}, TypeError),
        ({"methods": 5}, TypeError),
        ({"methods": [LayerGradCam]}, TypeError),
        ({"classes": "false"}, ValueError),
        ({"classes": []}, ValueError),
        ({"classes": [-1]}, ValueError),
        ({"classes": [0, 3]}, ValueError),
        ({"classes": 3}, TypeError),
        ({"classes": ["cat"]}, TypeError),
        ({"steps": 0}, ValueError),
        ({"steps": 1.5}, TypeError),
        ({"hoax": [1.0]}, ValueError),
        ({"hoax": torch.full((8, 8), math.nan)}, ValueError),
        ({"hoax": torch.ones(3, 3)}, ValueError),
        ({"train_mode": 1}, TypeError),
        ({"weight": "4"}, ValueError),
        ({"weight": -1.0}, ValueError),
        ({"weight": math.inf}, ValueError),
        ({"learning_rate": math.nan}, ValueError),
        ({"learning_rate": -1e-3}, ValueError),
        ({"layer": nn.ReLU()}, ValueError),
        ({"model": len}, TypeError),
    ],
)
def test_errors_name_the_argument(model, batches, arguments, error):
    (wrong,) = arguments
    with pytest.raises(error, match=wrong):
        fool(**{"model": model, "layer": model.features, "data": batches, "steps": 2, **arguments})


def test_a_model_of_one_class():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    with pytest.raises(ValueError, match="`model`"):
        fool(model, model[0], [torch.rand(2, 1, 6, 6)], hoax_map((4, 4), math.log(8)), steps=1)
