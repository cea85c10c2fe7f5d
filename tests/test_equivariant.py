"""The part of a map that moves with the image, for any layer attribution."""

from __future__ import annotations

import numpy as np
import pytest
import replicas
import torch
from captum.attr import LayerAttribution, LayerGradCam, NoiseTunnel
from captum.metrics import sensitivity_max
from nets import conv_net
from torch import nn

from captum_diffcam import EquivariantPart, InputAttribution, LayerDiffGradCam, predicted, top_rivals

TARGETS = [2, 0, 5]
PER_EXAMPLE = [[0, 1], [5], [0, 2, 3]]


def slowly(cam, x, target, reach=1, numpys="reflect", **kwargs):
    """One image and one shift at a time; x is 9 x 9 and the map 7 x 7, so that a cell is not a whole pixel."""
    shifts = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    shifts.sort(key=lambda shift: shift != (0, 0))
    around = np.pad(x.numpy(), ((0, 0), (0, 0), (8, 8), (8, 8)), mode=numpys)
    pixels = [[round(by * 9 / 7) for by in shift] for shift in shifts]
    maps = []
    for down, right in pixels:
        moved = torch.from_numpy(around[:, :, 8 - down : 17 - down, 8 - right : 17 - right].copy())
        maps.append(cam.attribute(moved, target=target, **kwargs)[:, 0].detach().double().numpy())
    cells = [tuple(by * 7 / 9 for by in shift) for shift in pixels]
    parts = []
    for example in range(len(x)):
        scaled = np.stack([map_[example] / np.linalg.norm(map_[example]) for map_ in maps])
        size = np.linalg.norm(maps[0][example])
        parts.append([part * size for part in replicas.moving_and_fixed(scaled, cells)])
    moving, fixed = (np.stack(part)[:, None] for part in zip(*parts, strict=True))
    shares = [f.var() / (f.var() + m.var()) for m, f in zip(moving, fixed, strict=True)]
    return moving, fixed, shares


@pytest.mark.parametrize("method", [LayerGradCam, LayerDiffGradCam])
@pytest.mark.parametrize(("padding", "numpys"), [("reflect", "reflect"), ("circular", "wrap")])
def test_as_in_the_replica(net, x, method, padding, numpys):
    cam = method(net, net.features)
    found = EquivariantPart(cam, shifts=1, padding=padding).split(x, TARGETS)
    moving, fixed, shares = slowly(cam, x, TARGETS, numpys=numpys)
    np.testing.assert_allclose(found.equivariant, moving, atol=1e-5)
    np.testing.assert_allclose(found.static, fixed, atol=1e-5)
    np.testing.assert_allclose(found.static_share, shares, rtol=1e-4)


@pytest.mark.parametrize("per_eval", [2, 100])
@pytest.mark.parametrize("target", [4, TARGETS, torch.tensor(TARGETS), torch.tensor([4]), np.array(TARGETS)], ids=str)
@pytest.mark.parametrize("contrast", [None, PER_EXAMPLE, top_rivals(2)], ids=str)
def test_several_shifts_at_once(net, x, per_eval, target, contrast):
    contrast = None if isinstance(target, int) or len(target) == 1 else contrast
    cam = EquivariantPart(LayerDiffGradCam(net, net.features), shifts=1)
    expected = cam.attribute(x, target, contrast=contrast)
    torch.testing.assert_close(cam.attribute(x, target, contrast=contrast, shifts_per_eval=per_eval), expected)


def test_what_is_asked_is_asked_of_the_image_as_it_is(net, x):
    """A prediction or a set of rivals that changed with the shift would be another question."""
    classes = net(x).argmax(dim=1)
    asked = []

    def rivals(logits, target):
        asked.append(logits)
        return top_rivals(2)(logits, target)

    cam = EquivariantPart(LayerDiffGradCam(net, net.features), shifts=1)
    found = cam.attribute(x, predicted, contrast=rivals)
    (logits,) = asked
    torch.testing.assert_close(logits, net(x))
    torch.testing.assert_close(found, cam.attribute(x, classes, contrast=top_rivals(2)(net(x), classes)))
    captums = EquivariantPart(LayerGradCam(net, net.features), shifts=1)
    torch.testing.assert_close(captums.attribute(x, predicted), captums.attribute(x, classes))


def test_a_pattern_that_is_drawn_on_every_map_is_taken_out(net, x):
    drawn = torch.randn(7, 7)

    class Drawn(LayerAttribution):
        def attribute(self, inputs, target=None, **kwargs):
            maps = LayerDiffGradCam(net, net.features).attribute(inputs, target, **kwargs)
            maps = maps / maps.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
            return (maps + 3 * drawn) if self.layer is net.features else maps

    shifts = [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)]
    plain = EquivariantPart(Drawn(net, net.head), shifts).split(x, TARGETS)
    forged = EquivariantPart(Drawn(net, net.features), shifts).split(x, TARGETS)
    assert (forged.static_share > plain.static_share).all()
    correlation = torch.corrcoef(torch.stack([forged.static[0].flatten(), drawn.flatten()]))[0, 1]
    assert correlation > 0.95


def test_other_inputs_stay_where_they_are(x):
    """A table beside an image, a second image of another size, and further arguments."""
    net = conv_net()

    def forward(image, table, larger, scale, twice=1):
        return twice * scale[:, None] * net(image) + table + larger.mean((2, 3)) @ torch.ones(1, 6)

    table, larger, scale = torch.rand(3, 6), torch.rand(3, 1, 18, 18), torch.tensor([1.0, 2.0, 3.0])
    cam = EquivariantPart(LayerDiffGradCam(forward, net.features), shifts=1)
    given = (x, table, larger)
    one_by_one = cam.attribute(given, TARGETS, (scale, 2))
    assert one_by_one.shape == (3, 1, 7, 7)
    torch.testing.assert_close(cam.attribute(given, TARGETS, (scale, 2), shifts_per_eval=4), one_by_one)
    flat = LayerDiffGradCam(lambda x: net(x.reshape(-1, 3, 9, 9)), net.features)
    with pytest.raises(ValueError, match=r"inputs: got \(3, 243\), of which none has the 2 dimension\(s\) of the map"):
        EquivariantPart(flat).attribute(x.flatten(1), 1)


@pytest.mark.parametrize("dims", [1, 3])
def test_sequences_and_volumes(dims):
    net, x = conv_net(dims), torch.rand(2, 3, *[9] * dims)
    assert EquivariantPart(LayerDiffGradCam(net, net.features), 1).attribute(x, 1).shape == (2, 1, *[7] * dims)


def test_raw_audio_moves():
    net, audio = conv_net(1), torch.rand(3, 27)
    cam = EquivariantPart(LayerDiffGradCam(lambda x: net(x.reshape(-1, 3, 9)), net.features), 1)
    assert InputAttribution(cam).attribute(audio, target=1).shape == (3, 27)


def test_in_captums_tools(net, x):
    part = EquivariantPart(LayerGradCam(net, net.features), shifts=1)
    cam = InputAttribution(part)
    assert cam.attribute(x, target=TARGETS).shape == x.shape
    (in_a_tuple,) = cam.attribute((x,), target=TARGETS)
    torch.testing.assert_close(in_a_tuple, cam.attribute(x, target=TARGETS))
    tunnel = NoiseTunnel(part).attribute(x, nt_samples=2, stdevs=0.0, target=TARGETS)
    torch.testing.assert_close(tunnel, part.attribute(x, TARGETS))
    assert NoiseTunnel(cam).attribute(x, nt_samples=2, target=TARGETS).shape == x.shape
    assert sensitivity_max(cam.attribute, x, n_perturb_samples=2, target=TARGETS).shape == (3,)


def test_differentiable_where_it_is_asked_for(net, x):
    cam = EquivariantPart(LayerDiffGradCam(net, net.features), shifts=1)
    assert not cam.attribute(x, 1).requires_grad
    maps = cam.attribute(x, 1, grad_kwargs={"create_graph": True})
    (gradient,) = torch.autograd.grad(maps.square().sum(), net.head[1].weight)
    assert gradient.any()


def test_rectified_at_the_end(net, x):
    cam = EquivariantPart(LayerDiffGradCam(net, net.features), shifts=1)
    torch.testing.assert_close(cam.attribute(x, 1, relu_attributions=True), cam.attribute(x, 1).relu())


def test_a_map_of_zeros_and_one_logit(x):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    cam = EquivariantPart(LayerDiffGradCam(model, model[1]), shifts=1)
    torch.testing.assert_close(cam.attribute(x, predicted), cam.attribute(x))
    with torch.no_grad():
        model[4].weight.zero_()
    found = cam.split(x)
    assert not found.equivariant.any()
    assert not found.static_share.any()


def test_the_progress_bar_and_the_count_of_forwards(net, x, capsys):
    runs = []
    handle = net.features.register_forward_hook(lambda *args: runs.append(1))
    EquivariantPart(LayerDiffGradCam(net, net.features)).attribute(x, 1, show_progress=True)
    handle.remove()
    assert len(runs) == 25
    assert "shift" in capsys.readouterr().err


def test_errors(net, x):
    cam = LayerDiffGradCam(net, net.features)
    with pytest.raises(TypeError, match="attribution: got Net; allowed is a LayerAttribution"):
        EquivariantPart(net)
    for shifts in (0, [], [(0, 1), 3]):
        with pytest.raises(
            ValueError, match=r"shifts: got .*; allowed are an integer of at least 1 and a list of shift"
        ):
            EquivariantPart(cam, shifts)
    with pytest.raises(TypeError, match="shifts: got 'all' of type str; allowed are an integer"):
        EquivariantPart(cam, "all")
    with pytest.raises(ValueError, match="shifts_per_eval: got 0; allowed is an integer of at least 1"):
        EquivariantPart(cam).attribute(x, 1, shifts_per_eval=0)
    with pytest.raises(ValueError, match=r"attribution: returned shape \(3, 5, 7, 7\); allowed is one map of shape"):
        EquivariantPart(cam).attribute(x, 1, attr_dim_summation=False)
    with pytest.raises(ValueError, match="attribution: returned 2 maps; allowed is one map"):
        EquivariantPart(LayerDiffGradCam(net, [net.features, net.head[1]])).attribute(x, 1)
    with pytest.raises(ValueError, match=r"shift: got \(1,\) for a grid of \(7, 7\)"):
        EquivariantPart(cam, [(1,)]).attribute(x, 1)


def test_running_statistics_stay_in_train_mode(x):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    model = nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="train mode"):
        EquivariantPart(LayerDiffGradCam(model, net), 1).attribute(x, predicted, contrast=top_rivals(2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_number_of_numpy_is_a_number(net, x):
    cam = LayerDiffGradCam(net, net.features)
    expected = EquivariantPart(cam, 1).attribute(x, TARGETS)
    assert torch.equal(EquivariantPart(cam, np.int64(1)).attribute(x, TARGETS), expected)
    with pytest.raises(ValueError, match="padding: got 'zeros'; allowed are 'reflect'"):
        EquivariantPart(cam, 1, "zeros")
