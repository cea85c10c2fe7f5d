"""Shifted features: every map of the layer moves, and no logit changes."""

from __future__ import annotations

import pytest
import torch
from nets import images
from torch import nn

from captum_diffcam import CamMethod, LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam
from captum_diffcam.attacks import ManipulatedModel, shift_features
from captum_diffcam.layers import SpatialLayer

METHODS = [
    CamMethod(LayerDiffGradCam, contrast=[]),
    CamMethod(LayerDiffGradCam),
    CamMethod(LayerDiffGradCamPlusPlus),
    CamMethod(LayerDiffHiResCam),
]


def classifier(*behind: nn.Module, inputs: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    pooling = behind or (nn.AdaptiveAvgPool2d(1),)
    return nn.Sequential(features, *pooling, nn.Flatten(), nn.Linear(inputs, 5)).eval()


@pytest.fixture
def x():
    return images(examples=4, size=9)


@pytest.mark.parametrize("shift", [(2, 2), (1, 0), [0, -3], (9, 1)])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_every_map_moves_and_no_logit_changes(shift, method, x):
    model = classifier()
    manipulated = shift_features(model, model[0], x, shift)
    assert isinstance(manipulated, ManipulatedModel)
    torch.testing.assert_close(manipulated.model(x), model(x), rtol=0, atol=1e-6)
    target = torch.tensor([0, 1, 2, 3])
    clean = method.maps(model, model[0], x, target)
    moved = method.maps(*manipulated[:2], x, target)
    rows, columns = clean.shape[1:]
    for i in range(rows):
        for j in range(columns):
            there = moved[:, (i + shift[0]) % rows, (j + shift[1]) % columns]
            torch.testing.assert_close(there, clean[:, i, j], rtol=1e-4, atol=1e-6)


def test_by_default_features_move_by_two_positions(x):
    model = classifier()
    moved, clean = shift_features(model, model[0], x).layer(x), model[0](x)
    assert torch.equal(moved[:, :, 2:, 2:], clean[:, :, :-2, :-2])


def test_a_permutation_by_hand(x):
    model = classifier()
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    manipulated = shift_features(model, "0", x, order)
    clean, moved = model[0](x), manipulated.layer(x)
    for position in (0, 20, 48):
        source = int(order[position])
        assert torch.equal(moved[:, :, position // 7, position % 7], clean[:, :, source // 7, source % 7])
    torch.testing.assert_close(manipulated.model(x), model(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("behind", "inputs"),
    [
        ((nn.Identity(),), 6 * 49),
        ((nn.AdaptiveAvgPool2d(2),), 24),
        ((nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)), 6),
        ((nn.Conv2d(6, 6, 3, padding=1), nn.AdaptiveAvgPool2d(1)), 6),
    ],
    ids=["flattened", "2 x 2", "a rest that is not pooled", "padding"],
)
@pytest.mark.parametrize("blank", [False, True])
def test_a_head_that_sees_the_difference_is_refused(behind, inputs, blank, x):
    """Also where images have nothing to see."""
    model = classifier(*behind, inputs=inputs)
    with pytest.raises(ValueError, match="pool over all positions"):
        shift_features(model, model[0], torch.zeros_like(x) if blank else x, (1, 2))


@pytest.mark.parametrize(
    "behind",
    [
        (nn.AdaptiveMaxPool2d(1),),
        (nn.Conv2d(6, 6, 1), nn.ReLU(), nn.AvgPool2d(7)),
        (nn.BatchNorm2d(6), nn.Dropout(), nn.AdaptiveAvgPool2d(1)),
        (nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular"), nn.AdaptiveAvgPool2d(1)),
    ],
    ids=["max", "1 x 1", "normalised", "circular"],
)
def test_other_heads_that_do_not(behind, x):
    model = classifier(*behind)
    manipulated = shift_features(model, model[0], x, (3, 1))
    torch.testing.assert_close(manipulated.model(x), model(x), rtol=0, atol=1e-6)


class Twice(nn.Module):
    """One activation module in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.second(self.relu(self.first(x)))).mean(dim=(2, 3))


def test_a_layer_that_runs_twice_is_refused(x):
    model = Twice().eval()
    with pytest.raises(ValueError, match="once"):
        shift_features(model, model.relu, x)


class Unused(nn.Module):
    """A classifier beside a layer that does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = classifier(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


def test_a_layer_that_does_not_run_is_refused(x):
    with pytest.raises(ValueError, match="once"):
        shift_features(Unused().eval(), "unused", x)


def test_a_head_that_sees_a_small_difference_is_refused(x):
    """Of one position the head takes 1 + 1e-5 times as much as of any other."""
    model = classifier(nn.Identity(), inputs=6 * 49)
    with torch.no_grad():
        weight = model[3].weight.reshape(5, 6, 49)
        weight.copy_(torch.randn(5, 6, 1))
        weight[:, :, 3] *= 1 + 1e-5
    with pytest.raises(ValueError, match="pool over all positions"):
        shift_features(model, model[0], x)
    with torch.no_grad():
        weight[:, :, 3] = weight[:, :, 4]
    shift_features(model, model[0], x)


@pytest.mark.parametrize(
    "shift", [(0, 0), (7, 0), (1,), (1, 2, 3), (1.0, 2), (True, 1), torch.arange(48), torch.zeros(49).long()]
)
def test_a_shift_that_does_not_fit(shift, x):
    model = classifier()
    with pytest.raises(ValueError, match="shift"):
        shift_features(model, model[0], x, shift)


def test_arguments_of_the_wrong_type(x):
    model = classifier()
    for shift in (2, "ab", None):
        with pytest.raises(TypeError, match="shift"):
            shift_features(model, model[0], x, shift)
    with pytest.raises(TypeError, match="images"):
        shift_features(model, model[0], None)


def test_layers_that_have_no_output_to_move(x):
    model = classifier()
    for of_model, layer in (
        (model, SpatialLayer(model[0], True, None, "0:input")),
        (model, SpatialLayer(model[0], False, "vit", "0")),
        (model[0], model[0]),
        (model, model[2]),
    ):
        with pytest.raises(ValueError, match="layer"):
            shift_features(of_model, layer, x)


def test_nothing_of_the_callers_changes(x):
    """Also of a model in train mode and in half precision, whose random state is the caller's."""
    model = classifier(nn.BatchNorm2d(6), nn.Dropout(), nn.AdaptiveAvgPool2d(1)).to(torch.bfloat16).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    manipulated = shift_features(model, model[0], x.bfloat16(), (1, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in manipulated.model.modules())
    assert manipulated.model[5].weight.dtype == torch.bfloat16
    assert not any(module._forward_hooks for module in manipulated.model.modules())
    assert dict(manipulated.model.named_modules())["0"] is manipulated.layer
