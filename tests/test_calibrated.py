"""The calibrated map agrees with measured occlusions and is otherwise the map that it was made from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, LayerGradCam
from nets import conv_net, images
from replicas import calibrated, cross_validated_ridge, left_over, occlusion_falls, standard_error
from torch import nn

from captum_diffcam import (
    CalibratedMap,
    CamMethod,
    EquivariantPart,
    InputAttribution,
    LayerDiffGradCam,
    LayerDiffHiResCam,
    predicted,
    top_rivals,
)
from captum_diffcam.attacks import fool
from captum_diffcam.calibrated import calibrate_map
from captum_diffcam.occlusion import cover, fill_of, grid_windows, hide, in_pixels

TARGETS = [1, 0, 3]


def _random(seed=0, count=2, windows=5, positions=16):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return draw(count, positions), draw(windows, positions).abs(), draw(count, windows)


@pytest.mark.parametrize("contrast", [None, [2], top_rivals(2)])
@pytest.mark.parametrize("fill", ["mean", torch.full((3, 1, 1), 0.25)])
def test_the_definition_written_out(net, x, contrast, fill):
    cam = CalibratedMap(LayerDiffGradCam(net, net.features), windows=2, sizes=[0.5], fill=fill, ridge=0.5)
    result = cam.calibrate(x, TARGETS, contrast=contrast, windows_per_eval=3)
    sets = [sorted(set(range(net(x).shape[1])) - {t}) for t in TARGETS]
    if contrast == [2]:
        sets = [[2]] * 3
    elif contrast is not None:
        logits = net(x).detach()
        sets = [logits[i].argsort(descending=True)[:3].tolist() for i in range(3)]
        sets = [[c for c in s if c != t][:2] for s, t in zip(sets, TARGETS, strict=True)]
    falls, covers = occlusion_falls(net, x, TARGETS, sets, result.windows.numpy(), result.maps.shape[2:], fill)
    np.testing.assert_allclose(result.falls, falls, atol=1e-5)
    maps = LayerDiffGradCam(net, net.features).attribute(x, TARGETS, contrast=contrast).flatten(1).double().numpy()
    np.testing.assert_allclose(result.maps.flatten(1), calibrated(maps, covers, falls, 0.5), atol=1e-5)
    np.testing.assert_allclose(result.residual, falls - maps @ covers.T, atol=1e-5)


def test_window_sums_are_the_falls_without_a_ridge():
    maps, covers, falls = _random()
    corrected, _, residual = calibrate_map(maps, covers, falls, ridge=0)
    torch.testing.assert_close(corrected @ covers.T, falls)
    torch.testing.assert_close(residual, falls - maps @ covers.T)
    # The correction lies in the span of the windows, so no other map that agrees is closer.
    outside = torch.linalg.svd(covers).Vh[5:]
    torch.testing.assert_close((corrected - maps) @ outside.T, torch.zeros(2, 11, dtype=torch.float64))


def test_it_is_linear_in_the_map_and_in_the_falls():
    (a, covers, f), (b, _, g) = _random(0), _random(1)
    together = calibrate_map(2 * a - b, covers, 2 * f - g, ridge=0.7)[0]
    apart = 2 * calibrate_map(a, covers, f, ridge=0.7)[0] - calibrate_map(b, covers, g, ridge=0.7)[0]
    torch.testing.assert_close(together, apart)


def test_all_cells_as_windows_give_occlusion():
    net, windows = conv_net(), grid_windows(2, 14, [1 / 14])
    # The layer is 14 x 14, and each of its positions is 2 x 2 pixels of an image of 28 x 28.
    model = nn.Sequential(nn.AvgPool2d(2), nn.ZeroPad2d(1), net)
    occlusion = CalibratedMap(LayerDiffGradCam(model, net.features), windows, fill="mean", ridge=0, use_map=False)
    result = occlusion.calibrate(images(size=28), 1)
    assert result.maps.shape[2:] == (14, 14)
    torch.testing.assert_close(result.maps.flatten(1), result.falls, atol=1e-4, rtol=1e-4)


def test_no_windows_leave_the_map_as_it_is():
    maps, _, _ = _random()
    empty = torch.zeros(0, 16, dtype=torch.float64)
    assert calibrate_map(maps, empty, torch.zeros(2, 0))[0].equal(maps)


class _WithOffset(nn.Module):
    """Adds a function of the input to every logit."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x) + 5 * x[:, :1, 3:6].square().mean(dim=(2, 3))


@pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
def test_a_common_offset_changes_nothing(net, x, reduction):
    other = _WithOffset(net)
    maps = [
        CalibratedMap(LayerDiffGradCam(model, net.features)).attribute(x, TARGETS, reduction=reduction)
        for model in (net, other)
    ]
    torch.testing.assert_close(*maps, atol=1e-4, rtol=1e-4)
    # Captum's Grad-CAM explains the logit, which the offset does change.
    logits = [CalibratedMap(LayerGradCam(model, net.features)).calibrate(x, TARGETS).falls for model in (net, other)]
    assert not torch.allclose(*logits, atol=1e-2)


def test_a_manipulated_map_is_put_right(net, x):
    """What an attacker adds to a map within the span of the windows is taken out again."""
    maps, covers, _ = _random()
    right = calibrate_map(maps, covers, maps @ covers.T, ridge=0)[0]
    lie = torch.randn(2, 5, dtype=torch.float64) @ covers
    torch.testing.assert_close(calibrate_map(maps + lie, covers, maps @ covers.T, ridge=0)[0], right)


def test_the_ridge_grows_with_the_noise():
    """The true map is known; the ridge that the method chooses does better than none and than a very large one."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(200, 16, generator=generator, dtype=torch.float64)
    covers = (torch.rand(12, 16, generator=generator, dtype=torch.float64) > 0.5).double()
    exact = truth @ covers.T
    noisy = exact[:, :, None] + 1.5 * torch.randn(200, 12, 2, generator=generator, dtype=torch.float64)

    def error(ridge, falls):
        return (calibrate_map(torch.zeros_like(truth), covers, falls, ridge)[0] - truth).square().mean()

    for falls in (noisy, noisy.mean(dim=2)):
        assert error(None, falls) < 0.9 * error(0.0, falls)
        assert error(None, falls) < error(1e4, falls)
    # Two equal measurements have no noise.
    torch.testing.assert_close(error(None, exact[:, :, None].repeat(1, 1, 2)), error(0.0, exact))


def test_the_standard_error_is_that_of_repeated_measurements():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(1, 16, generator=generator, dtype=torch.float64)
    covers = (torch.rand(12, 16, generator=generator, dtype=torch.float64) > 0.5).double()
    noise = 0.5 * torch.randn(4000, 12, 2, generator=generator, dtype=torch.float64)
    corrected, error, _ = calibrate_map(
        torch.zeros(4000, 16), covers, (truth @ covers.T)[:, :, None] + noise, ridge=1.0
    )
    torch.testing.assert_close(error.square().mean(dim=0).sqrt(), corrected.std(dim=0), rtol=0.1, atol=1e-3)


def test_cross_validation_written_out():
    maps, covers, falls = (values.numpy() for values in _random(count=20, windows=7))
    found = calibrate_map(*map(torch.from_numpy, (maps, covers, falls)))
    ridges = set()
    for i in range(20):
        residual = falls[i] - covers @ maps[i]
        ridge = cross_validated_ridge(residual, covers)
        ridges.add(ridge)
        np.testing.assert_allclose(found[0][i], calibrated(maps[i : i + 1], covers, falls[i : i + 1], ridge)[0])
        left = left_over(covers, ridge)
        noise = np.square(left @ residual).sum() / np.trace(left)
        np.testing.assert_allclose(found[1][i], standard_error(covers, ridge, noise))
    assert len(ridges) > 3


def test_the_ridge_from_several_fills_written_out():
    """It is the variance of a mean fall over that of a correction, each estimated from the measurements."""
    maps, covers, _ = (values.numpy() for values in _random(count=4, windows=7))
    falls = (maps @ covers.T)[:, :, None] + np.random.default_rng(0).normal(size=(4, 7, 3)) + 2
    found = calibrate_map(*map(torch.from_numpy, (maps, covers, falls)))
    for i in range(4):
        residual = falls[i].mean(axis=1) - covers @ maps[i]
        noise = falls[i].var(axis=1, ddof=1).mean() / 3
        signal = (np.square(residual).sum() - 7 * noise) / np.trace(covers @ covers.T)
        mean_falls = falls[i : i + 1].mean(axis=2)
        expected = calibrated(maps[i : i + 1], covers, mean_falls, noise / signal)[0]
        np.testing.assert_allclose(found[0][i], expected)
        np.testing.assert_allclose(found[1][i], standard_error(covers, noise / signal, noise))


def test_fills_that_differ_by_more_than_the_correction_leave_the_map():
    """Then the measurements say nothing."""
    maps, covers, _ = _random()
    falls = (maps @ covers.T)[:, :, None] + torch.tensor([5.1, -4.9], dtype=torch.float64)
    torch.testing.assert_close(calibrate_map(maps, covers, falls)[0], maps)


def test_windows_that_are_sums_of_others():
    """Measurements that contradict each other are met as well as they can be, instead of by a map without bounds."""
    maps, covers, _ = _random()
    more = torch.cat([covers, covers[:1] + covers[1:2]])
    falls = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    corrected, error, residual = calibrate_map(maps, more, falls, ridge=0)
    torch.testing.assert_close(corrected, maps + residual @ torch.linalg.pinv(more).T)
    assert error.isfinite().all()
    assert calibrate_map(maps, more, falls)[0].isfinite().all()


def test_without_the_map_it_is_the_reconstruction_from_zero(net, x):
    cam = LayerDiffGradCam(net, net.features)
    alone = CalibratedMap(cam, use_map=False).calibrate(x, TARGETS)
    size, grid = x.shape[2:], alone.maps.shape[2:]
    covers = cover(in_pixels(alone.windows, size), size, grid)
    falls = CalibratedMap(cam).calibrate(x, TARGETS).falls
    torch.testing.assert_close(alone.maps.flatten(1), calibrate_map(torch.zeros(3, grid.numel()), covers, falls)[0])
    torch.testing.assert_close(alone.residual, alone.falls)
    # By default 9 windows, as wide as 3 of 7 positions.
    torch.testing.assert_close(alone.windows, grid_windows(2, 3, [3 / 7]))


def test_windows_per_forward_pass_do_not_matter(net, x):
    cam = CalibratedMap(LayerDiffGradCam(net, net.features), fill=["blur", "mean"])
    one, many = (cam.attribute(x, predicted, contrast=top_rivals(2), windows_per_eval=n) for n in (1, 18))
    torch.testing.assert_close(one, many)


def test_each_image_by_itself(net, x):
    cam = CalibratedMap(LayerDiffGradCam(net, net.features))
    alone = torch.cat([cam.attribute(x[i : i + 1], TARGETS[i]) for i in range(3)])
    torch.testing.assert_close(cam.attribute(x, TARGETS), alone, atol=1e-5, rtol=1e-4)
    rivals = torch.tensor([[2], [1], [0]])
    alone = torch.cat([cam.attribute(x[i : i + 1], TARGETS[i], contrast=rivals[i].tolist()) for i in range(3)])
    torch.testing.assert_close(cam.attribute(x, TARGETS, contrast=rivals), alone, atol=1e-5, rtol=1e-4)


def test_several_layers_and_other_attributions(net, x):
    several = CalibratedMap(LayerDiffGradCam(net, [net.features, net.features]))
    maps = several.attribute(x, TARGETS)
    assert isinstance(maps, list)
    single = CalibratedMap(LayerDiffGradCam(net, net.features)).attribute(x, TARGETS)
    torch.testing.assert_close(maps, [single, single])
    for inner in (
        LayerDiffHiResCam(net, net.features),
        LayerGradCam(net, net.features),
        EquivariantPart(LayerDiffGradCam(net, net.features), shifts=1),
    ):
        assert CalibratedMap(inner).attribute(x, TARGETS).shape == single.shape
    assert InputAttribution(CalibratedMap(LayerDiffGradCam(net, net.features))).attribute(x, TARGETS).shape == x.shape


def test_the_score_is_that_of_the_attribution(net, x):
    ours = LayerDiffGradCam(net, net.features)
    result = CalibratedMap(ours).calibrate(x, TARGETS, reduction="mean")
    torch.testing.assert_close(result.score, ours.explain(x, TARGETS, reduction="mean").score)
    captums = CalibratedMap(LayerGradCam(net, net.features)).calibrate(x, TARGETS)
    torch.testing.assert_close(captums.score, net(x).detach()[range(3), TARGETS])


def test_one_logit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)).eval()
    x = torch.rand(6, 3, 12, 12)
    with torch.no_grad():
        model[4].bias -= model(x).mean()
    cam = CalibratedMap(LayerDiffGradCam(model, "0"))
    sign = model(x).detach().sign()
    torch.testing.assert_close(cam.attribute(x, predicted), sign[:, :, None, None] * cam.attribute(x, 0))
    captums = CalibratedMap(LayerGradCam(model, model[0])).attribute(x, predicted)
    torch.testing.assert_close(captums, cam.attribute(x, predicted))


@pytest.mark.parametrize(("dims", "conv"), [(1, nn.Conv1d), (3, nn.Conv3d)])
def test_lines_and_volumes(dims, conv):
    model = nn.Sequential(conv(2, 4, 3), nn.ReLU(), nn.Flatten(2))
    pooled = _Pooled(model, 4)
    x = torch.rand(2, 2, *[9] * dims)
    result = CalibratedMap(LayerDiffGradCam(pooled, pooled.body[1]), windows=2, sizes=[0.5]).calibrate(x, 1)
    assert result.maps.shape == (2, 1, *[7] * dims)
    assert result.falls.shape == (2, 2**dims)


class _Pooled(nn.Module):
    def __init__(self, body, channels):
        super().__init__()
        self.body, self.head = body, nn.Linear(channels, 3)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=2))


def test_token_ids_need_a_fill():
    model = nn.Sequential(nn.Embedding(20, 8), _Transposed(), nn.Conv1d(8, 4, 3, padding=1), nn.ReLU(), _Mean())
    ids = torch.randint(1, 20, (2, 10), generator=torch.Generator().manual_seed(0))
    cam = LayerDiffGradCam(model, model[3])
    with pytest.raises(ValueError, match="`fill`"):
        CalibratedMap(cam, windows=5, sizes=[0.2], channel_dim=None).attribute(ids, 1)
    masked = CalibratedMap(cam, windows=5, sizes=[0.2], channel_dim=None, fill=torch.tensor(0), ridge=0).calibrate(
        ids, 1
    )
    hidden = ids.clone()
    hidden[:, :2] = 0
    scores = [cam.explain(tokens, 1).score for tokens in (ids, hidden)]
    torch.testing.assert_close(masked.falls[:, 0], scores[0] - scores[1])


class _Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class _Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=2)


def test_nothing_of_the_callers_is_changed(net, x):
    net.train()
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    state, kept = torch.get_rng_state(), x.clone()
    fill = torch.rand(3, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    kept_fill = fill.clone()
    CalibratedMap(LayerDiffGradCam(net, net.features), fill=fill).attribute(x, TARGETS)
    assert net.training
    assert torch.get_rng_state().equal(state)
    assert x.equal(kept)
    assert fill.equal(kept_fill)
    assert all(value.equal(buffers[name]) for name, value in net.named_buffers())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_rectified_at_the_end_and_differentiable(net, x):
    cam = CalibratedMap(LayerDiffGradCam(net, net.features))
    torch.testing.assert_close(cam.attribute(x, 1, relu_attributions=True), cam.attribute(x, 1).relu())
    assert not cam.attribute(x, 1).requires_grad
    maps = cam.attribute(x, 1, grad_kwargs={"create_graph": True})
    assert torch.autograd.grad(maps.square().sum(), net.head[-1].weight)[0].any()


@pytest.mark.parametrize("use_map", [True, False])
@pytest.mark.parametrize("fill", ["mean", ["mean", "blur"]])
def test_the_gradient_leads_through_the_measured_falls(net, x, use_map, fill):
    net, x = net.double(), x.double()
    cam = CalibratedMap(LayerDiffGradCam(net, net.features), fill=fill, ridge=0.5, use_map=use_map)
    weight = net.head[-1].weight
    maps = cam.attribute(x, 1, grad_kwargs={"create_graph": True})
    (gradient,) = torch.autograd.grad(maps.square().sum(), weight)
    step = 1e-4 * torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    changed = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step
            changed.append(cam.attribute(x, 1).square().sum().item())
            weight -= sign * step
    assert (gradient * step).sum().item() == pytest.approx((changed[0] - changed[1]) / 2, rel=1e-4)


def test_it_can_be_attacked(net, x):
    method = CamMethod(lambda model, layer: CalibratedMap(LayerDiffGradCam(model, layer), use_map=False))
    hoax = torch.eye(method.maps(net, net.features, x, torch.tensor(TARGETS)).shape[1])
    manipulated = fool(net, net.features, [x], hoax, methods=method, steps=20, learning_rate=1e-2)
    assert manipulated.history[-1][1] < 0.9 * manipulated.history[0][1]


def test_windows_and_covers():
    windows = grid_windows(2, 3, [0.5, 1 / 3])
    assert windows.shape == (18, 2, 2)
    thirds = cover(in_pixels(windows, (12, 12))[9:], (12, 12), (6, 6))
    torch.testing.assert_close(thirds.sum(dim=0), torch.ones(36, dtype=torch.float64))
    assert thirds[0].reshape(6, 6)[:2, :2].eq(1).all()
    assert thirds[0].sum() == 4
    # Pixels are whole, so a window of an image of 8 pixels does not end within one.
    assert in_pixels(torch.tensor([[[0.0, 0.3]]]), (8,)).tolist() == [[[0, 2]]]
    assert in_pixels(torch.tensor([[[0.99, 1.0]]]), (8,)).tolist() == [[[7, 8]]]
    assert in_pixels(torch.tensor([[[0.26, 0.3]]]), (8,)).tolist() == [[[2, 3]]]
    torch.testing.assert_close(
        cover(torch.tensor([[[0, 3]]]), (8,), (4,)), torch.tensor([[1.0, 0.5, 0.0, 0.0]], dtype=torch.float64)
    )


def test_fills_and_hiding():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    filled = fill_of(images, "mean")
    hidden = hide(images, filled, torch.tensor([[[0, 4], [0, 8]], [[2, 3], [1, 2]]]))
    assert hidden.shape == (4, 3, 8, 8)
    torch.testing.assert_close(hidden[2, :, 0, 0], images[1].mean(dim=(1, 2)))
    assert hidden[0, :, 4:].equal(images[0, :, 4:])
    assert (hidden[1] != images[0]).any(dim=0).nonzero().tolist() == [[2, 1]]
    blurred = fill_of(images, "blur")
    assert blurred.var(dim=(2, 3)).lt(images.var(dim=(2, 3))).all()
    torch.testing.assert_close(blurred.mean(dim=(2, 3)), images.mean(dim=(2, 3)), atol=0.05, rtol=0)
    assert fill_of(images, lambda given: given.flip(0))[0].equal(images[1])
    assert fill_of(images, 0.25).eq(0.25).all()


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"windows": 0}, ValueError, "windows"),
        ({"windows": 1.5}, TypeError, "windows"),
        ({"windows": torch.zeros(3, 2)}, ValueError, "windows"),
        ({"windows": torch.tensor([[[0.5, 0.2], [0.0, 1.0]]])}, ValueError, "windows"),
        ({"windows": torch.tensor([[[0.0, 1.2], [0.0, 1.0]]])}, ValueError, "windows"),
        ({"sizes": []}, ValueError, "sizes"),
        ({"sizes": [1.5]}, ValueError, "sizes"),
        ({"sizes": [0]}, ValueError, "sizes"),
        ({"ridge": -1}, ValueError, "ridge"),
        ({"ridge": "auto"}, ValueError, "ridge"),
        ({"ridge": True}, ValueError, "ridge"),
        ({"fill": []}, ValueError, "fill"),
        ({"channel_dim": "last"}, ValueError, "channel_dim"),
    ],
)
def test_arguments_that_are_refused(net, arguments, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        CalibratedMap(LayerDiffGradCam(net, net.features), **arguments)


def test_calls_that_are_refused(net, x):
    with pytest.raises(TypeError, match="`attribution`"):
        CalibratedMap(InputXGradient(net))
    cam = LayerDiffGradCam(net, net.features)
    for fill in ("noise", True, torch.zeros(5, 5), lambda images: None):
        with pytest.raises(ValueError, match="`fill`"):
            CalibratedMap(cam, fill=fill).attribute(x, 1)
    with pytest.raises(ValueError, match="`windows`"):
        CalibratedMap(cam, torch.tensor([[[0.0, 0.5]]])).attribute(x, 1)
    with pytest.raises(ValueError, match="`windows_per_eval`"):
        CalibratedMap(cam).attribute(x, 1, windows_per_eval=0)
    with pytest.raises(ValueError, match="`target`"):
        CalibratedMap(cam).attribute(x)
