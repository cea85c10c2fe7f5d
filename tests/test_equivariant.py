"""The equivariant and the static part of maps, and the shifts of images that they are made from."""

from __future__ import annotations

import numpy as np
import pytest
import replicas
import torch
from captum.attr import LayerAttribution, LayerGradCam, NoiseTunnel
from captum.metrics import sensitivity_max
from nets import conv_net
from torch import nn

from captum_diffcam import (
    EquivariantPart,
    InputAttribution,
    LayerDiffGradCam,
    last_spatial_layer,
    predicted,
    top_rivals,
)
from captum_diffcam.equivariant import all_shifts, decompose_maps, rounded_shift, shift_images

CROSS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -2)]
TARGETS = [2, 0, 5]
PER_EXAMPLE = [[0, 1], [5], [0, 2, 3]]


def reference_parts(cam, x, target, reach=1, numpy_mode="reflect", **kwargs):
    """One image and one shift at a time; x is 9 x 9 and the map 7 x 7, so that a cell is not a whole pixel."""
    shifts = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    shifts.sort(key=lambda shift: shift != (0, 0))
    around = np.pad(x.numpy(), ((0, 0), (0, 0), (8, 8), (8, 8)), mode=numpy_mode)
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
        parts.append([part * size for part in replicas.equivariant_and_static(scaled, cells)])
    equivariant, static = (np.stack(part)[:, None] for part in zip(*parts, strict=True))
    shares = [s.var() / (s.var() + e.var()) for e, s in zip(equivariant, static, strict=True)]
    return equivariant, static, shares


@pytest.mark.parametrize("method", [LayerGradCam, LayerDiffGradCam])
@pytest.mark.parametrize(("padding", "numpy_mode"), [("reflect", "reflect"), ("circular", "wrap")])
def test_parts_equal_the_replica(net, x, method, padding, numpy_mode):
    cam = method(net, net.features)
    parts = EquivariantPart(cam, shifts=1, padding=padding).decompose(x, TARGETS)
    equivariant, static, shares = reference_parts(cam, x, TARGETS, numpy_mode=numpy_mode)
    np.testing.assert_allclose(parts.equivariant, equivariant, atol=1e-5)
    np.testing.assert_allclose(parts.static, static, atol=1e-5)
    np.testing.assert_allclose(parts.static_share, shares, rtol=1e-4)


@pytest.mark.parametrize("per_eval", [2, 100])
@pytest.mark.parametrize("target", [4, TARGETS, torch.tensor(TARGETS), torch.tensor([4]), np.array(TARGETS)], ids=str)
@pytest.mark.parametrize("contrast", [None, PER_EXAMPLE, top_rivals(2)], ids=str)
def test_several_shifts_at_once(net, x, per_eval, target, contrast):
    contrast = None if isinstance(target, int) or len(target) == 1 else contrast
    cam = EquivariantPart(LayerDiffGradCam(net, net.features), shifts=1)
    expected = cam.attribute(x, target, contrast=contrast)
    torch.testing.assert_close(cam.attribute(x, target, contrast=contrast, shifts_per_eval=per_eval), expected)


def test_callables_are_called_once_for_the_unshifted_image(net, x):
    """A prediction or a set of rivals that changed with the shift would be another question."""
    classes = net(x).argmax(dim=1)
    calls = []

    def rivals(logits, target):
        calls.append(logits)
        return top_rivals(2)(logits, target)

    cam = EquivariantPart(LayerDiffGradCam(net, net.features), shifts=1)
    maps = cam.attribute(x, predicted, contrast=rivals)
    (logits,) = calls
    torch.testing.assert_close(logits, net(x))
    torch.testing.assert_close(maps, cam.attribute(x, classes, contrast=top_rivals(2)(net(x), classes)))
    captums = EquivariantPart(LayerGradCam(net, net.features), shifts=1)
    torch.testing.assert_close(captums.attribute(x, predicted), captums.attribute(x, classes))


def test_a_pattern_on_every_map_is_removed(net, x):
    drawn = torch.randn(7, 7)

    class Drawn(LayerAttribution):
        def attribute(self, inputs, target=None, **kwargs):
            maps = LayerDiffGradCam(net, net.features).attribute(inputs, target, **kwargs)
            maps = maps / maps.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
            return (maps + 3 * drawn) if self.layer is net.features else maps

    shifts = [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)]
    clean = EquivariantPart(Drawn(net, net.head), shifts).decompose(x, TARGETS)
    manipulated = EquivariantPart(Drawn(net, net.features), shifts).decompose(x, TARGETS)
    assert (manipulated.static_share > clean.static_share).all()
    correlation = torch.corrcoef(torch.stack([manipulated.static[0].flatten(), drawn.flatten()]))[0, 1]
    assert correlation > 0.95


def test_other_inputs_are_not_shifted(x):
    """A table beside an image, a second image of another size, and further arguments."""
    net = conv_net()

    def forward(image, table, larger, scale, twice=1):
        return twice * scale[:, None] * net(image) + table + larger.mean((2, 3)) @ torch.ones(1, 6)

    table, larger, scale = torch.rand(3, 6), torch.rand(3, 1, 18, 18), torch.tensor([1.0, 2.0, 3.0])
    cam = EquivariantPart(LayerDiffGradCam(forward, net.features), shifts=1)
    three = (x, table, larger)
    one_by_one = cam.attribute(three, TARGETS, (scale, 2))
    assert one_by_one.shape == (3, 1, 7, 7)
    torch.testing.assert_close(cam.attribute(three, TARGETS, (scale, 2), shifts_per_eval=4), one_by_one)
    flat = LayerDiffGradCam(lambda x: net(x.reshape(-1, 3, 9, 9)), net.features)
    with pytest.raises(ValueError, match="`inputs`"):
        EquivariantPart(flat).attribute(x.flatten(1), 1)


def test_a_table_beside_audio_is_not_shifted():
    net, audio, table, mix = conv_net(1), torch.rand(3, 27), torch.rand(3, 9), nn.Linear(9, 6)
    seen = []

    def forward(audio, table):
        seen.append(table)
        return net(audio.reshape(-1, 3, 9)) + mix(table)

    EquivariantPart(LayerDiffGradCam(forward, net.features), shifts=1).attribute((audio, table), 1)
    assert len(seen) == 3
    assert all(torch.equal(other, table) for other in seen)


@pytest.mark.parametrize("channel_dim", ["auto", -1])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_channels_last(dims, channel_dim):
    net, x = conv_net(dims), torch.rand(2, 3, *[9] * dims)
    expected = EquivariantPart(LayerDiffGradCam(net, net.features[0]), shifts=1).decompose(x, 1)
    last = LayerDiffGradCam(lambda x: net(x.movedim(-1, 1)), net.features[0])
    parts = EquivariantPart(last, shifts=1, channel_dim=channel_dim).decompose(x.movedim(1, -1), 1, shifts_per_eval=2)
    for part, right in zip(parts, expected, strict=True):
        torch.testing.assert_close(part, right)


def test_frames_before_channels_and_images_without_channels():
    net, clips = conv_net(3), torch.rand(2, 9, 3, 9, 9)
    expected = EquivariantPart(LayerDiffGradCam(net, net.features), 1).attribute(clips.transpose(1, 2), 1)
    frames_first = LayerDiffGradCam(lambda x: net(x.transpose(1, 2)), net.features)
    torch.testing.assert_close(EquivariantPart(frames_first, 1).attribute(clips, 1), expected)
    gray, maps = torch.rand(2, 9, 9), conv_net(2)
    expected = EquivariantPart(LayerDiffGradCam(maps, maps.features), 1).attribute(gray[:, None].expand(2, 3, 9, 9), 1)
    cam = LayerDiffGradCam(lambda x: maps(x[:, None].expand(-1, 3, 9, 9)), maps.features)
    for dim in ("auto", None):
        torch.testing.assert_close(EquivariantPart(cam, 1, channel_dim=dim).attribute(gray, 1), expected)


def test_one_channel_dimension_for_an_image_and_a_table(x):
    net, mix, table = conv_net(), nn.Linear(4, 6), torch.rand(3, 4)
    expected = EquivariantPart(LayerDiffGradCam(net, net.features), 1).attribute(x, 1, contrast=[])
    cam = LayerDiffGradCam(lambda images, table: net(images.movedim(-1, 1)) + mix(table), net.features)
    part = EquivariantPart(cam, 1, channel_dim=3).attribute((x.movedim(1, -1), table), 1, contrast=[])
    torch.testing.assert_close(part, expected)


def test_an_ambiguous_channel_dimension_is_refused():
    net = conv_net()
    cam = LayerDiffGradCam(lambda x: net(torch.einsum("nijc->ncij", x[..., :3])), net.features)
    x = torch.rand(2, 9, 9, 9)
    with pytest.raises(ValueError, match="`channel_dim`"):
        EquivariantPart(cam, 1).attribute(x, 1)
    expected = EquivariantPart(LayerDiffGradCam(net, net.features), 1).attribute(x[..., :3].movedim(-1, 1), 1)
    torch.testing.assert_close(EquivariantPart(cam, 1, channel_dim=3).attribute(x, 1), expected)


@pytest.mark.parametrize("dims", [1, 3])
def test_sequences_and_volumes(dims):
    net, x = conv_net(dims), torch.rand(2, 3, *[9] * dims)
    assert EquivariantPart(LayerDiffGradCam(net, net.features), 1).attribute(x, 1).shape == (2, 1, *[7] * dims)


def test_raw_audio_moves():
    net, audio = conv_net(1), torch.rand(3, 27)
    cam = EquivariantPart(LayerDiffGradCam(lambda x: net(x.reshape(-1, 3, 9)), net.features), 1)
    assert InputAttribution(cam).attribute(audio, target=1).shape == (3, 27)


def test_layers_by_name_and_as_found(net, x):
    expected = EquivariantPart(LayerDiffGradCam(net, net.features), 1).attribute(x, TARGETS)
    by_name = EquivariantPart(LayerDiffGradCam(net, "features"), 1)
    torch.testing.assert_close(by_name.attribute(x, TARGETS), expected)
    layer = last_spatial_layer(net, x)
    at_input = layer._replace(layer=net.head[1], attribute_to_layer_input=True, layout=None)
    for chosen in (layer, at_input):
        cam = LayerDiffGradCam(net, chosen)
        plain = LayerDiffGradCam(net, chosen.layer, layout=chosen.layout)
        side = {"attribute_to_layer_input": chosen.attribute_to_layer_input}
        expected = EquivariantPart(plain, 1).attribute(x, TARGETS, **side)
        torch.testing.assert_close(EquivariantPart(cam, 1).attribute(x, TARGETS), expected)
        upsampled = InputAttribution(EquivariantPart(cam, 1)).attribute(x, TARGETS)
        torch.testing.assert_close(upsampled, InputAttribution(EquivariantPart(plain, 1)).attribute(x, TARGETS, **side))


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


def test_differentiable_where_it_is_calls_for(net, x):
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
    with torch.no_grad():
        model[4].bias -= model(x).mean()
    cam = EquivariantPart(LayerDiffGradCam(model, model[1]), shifts=1)
    sign = model(x).detach().sign()[:, :, None, None]  # class 0 is the negative of the logit
    assert sign.unique().tolist() == [-1, 1]
    torch.testing.assert_close(cam.attribute(x, predicted), sign * cam.attribute(x))
    captums = EquivariantPart(LayerGradCam(model, model[1]), shifts=1)
    torch.testing.assert_close(captums.attribute(x, predicted, shifts_per_eval=4), cam.attribute(x, predicted))
    with torch.no_grad():
        model[4].weight.zero_()
    parts = cam.decompose(x)
    assert not parts.equivariant.any()
    assert not parts.static_share.any()


def test_the_progress_bar_and_the_count_of_forwards(net, x, capsys):
    runs = []
    handle = net.features.register_forward_hook(lambda *args: runs.append(1))
    EquivariantPart(LayerDiffGradCam(net, net.features)).attribute(x, 1, show_progress=True)
    handle.remove()
    assert len(runs) == 25
    assert "shift" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shifts", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        ([], ValueError),
        ([(0, 1), 3], ValueError),
        ("all", TypeError),
        (1.5, TypeError),
    ],
)
def test_shifts_are_checked(net, shifts, error):
    with pytest.raises(error, match="shifts"):
        EquivariantPart(LayerDiffGradCam(net, net.features), shifts)


def test_errors_name_the_argument(net, x):
    cam = LayerDiffGradCam(net, net.features)
    with pytest.raises(TypeError, match="`attribution`"):
        EquivariantPart(net)
    with pytest.raises(ValueError, match="`padding`"):
        EquivariantPart(cam, 1, "zeros")
    for per_eval in (0, -2):
        with pytest.raises(ValueError, match="`shifts_per_eval`"):
            EquivariantPart(cam).attribute(x, 1, shifts_per_eval=per_eval)
    with pytest.raises(ValueError, match=r"`attribution` .* \(3, 5, 7, 7\)"):
        EquivariantPart(cam).attribute(x, 1, attr_dim_summation=False)
    with pytest.raises(ValueError, match=r"`attribution` .* 2 maps"):
        EquivariantPart(LayerDiffGradCam(net, [net.features, net.head[1]])).attribute(x, 1)
    with pytest.raises(ValueError, match=r"`shift` .* \(1,\)"):
        EquivariantPart(cam, [(1,)]).attribute(x, 1)


def test_the_state_of_a_model_in_train_mode_is_left(x):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    model = nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    with pytest.warns(UserWarning, match="train mode"):
        EquivariantPart(LayerDiffGradCam(model, net), 1).attribute(x, predicted, contrast=top_rivals(2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_numpy_integers(net, x):
    cam = LayerDiffGradCam(net, net.features)
    expected = EquivariantPart(cam, 1).attribute(x, TARGETS)
    assert torch.equal(EquivariantPart(cam, np.int64(1)).attribute(x, TARGETS), expected)


@pytest.mark.parametrize(
    ("padding", "numpy_mode"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
@pytest.mark.parametrize("shift", [(0, 0), (1, -2), (-1, 0), (0.5, 1.75)])
def test_a_shifted_image_is_a_crop_of_a_padded_one(padding, numpy_mode, shift):
    images = torch.rand(2, 3, 12, 20)
    down, right = round(3 * shift[0]), round(4 * shift[1])
    around = np.pad(images.numpy(), ((0, 0), (0, 0), (11, 11), (19, 19)), mode=numpy_mode)
    expected = around[:, :, 11 - down : 23 - down, 19 - right : 39 - right]
    np.testing.assert_array_equal(shift_images(images, shift, (4, 5), padding), expected)


def test_shifts_of_lines_and_volumes():
    line = torch.arange(6.0)
    assert shift_images(line, (1,), (3,), "replicate").tolist() == [0, 0, 0, 1, 2, 3]
    assert shift_images(torch.rand(2, 1, 4, 4, 4), (1, 0, -1), (4, 4, 4)).shape == (2, 1, 4, 4, 4)


def test_a_rounded_shift_is_in_whole_pixels():
    assert rounded_shift((1, -1), (7, 3), (30, 10)) == pytest.approx((4 * 7 / 30, -3 * 3 / 10))


def test_all_shifts():
    shifts = all_shifts(2, 3)
    assert shifts[0] == (0, 0, 0)
    assert len(set(shifts)) == 125
    assert {abs(by) for shift in shifts for by in shift} == {0, 1, 2}


@pytest.mark.parametrize(
    ("positions", "shifts"),
    [
        ((5, 4), all_shifts(1)),
        ((4, 5), CROSS),
        ((6,), [(0,), (1,), (-2,)]),
        ((5, 5), [(0, 0), (0.5, 0), (0, -0.25), (-1, 1.5)]),
    ],
)
def test_decomposition_equals_the_replica(positions, shifts):
    maps = torch.randn(len(shifts), 2, *positions, dtype=torch.float64)
    equivariant, static = decompose_maps(maps, shifts)
    for example in range(2):
        expected = replicas.equivariant_and_static(maps[:, example].numpy(), shifts)
        np.testing.assert_allclose(equivariant[example], expected[0], atol=1e-8)
        np.testing.assert_allclose(static[example], expected[1], atol=1e-8)


@pytest.mark.parametrize("by", [np.nextafter(1.0, 2.0), np.nextafter(1.0, 0.0)])
def test_rounding_errors_of_a_shift_lose_no_cells(by):
    maps = torch.randn(3, 1, 5, 5, dtype=torch.float64)
    expected = decompose_maps(maps, [(0, 0), (1, 0), (0, -1)])
    for part, right in zip(decompose_maps(maps, [(0, 0), (by, 0), (0, -by)]), expected, strict=True):
        torch.testing.assert_close(part, right)


def test_both_parts_are_recovered():
    """Cells whose origin is beyond the border do not count, so any border gives the same parts."""
    evidence, hoax = torch.randn(1, 6, 6), torch.randn(1, 6, 6)
    maps = torch.stack([evidence.roll(shift, (1, 2)) + hoax for shift in CROSS])
    equivariant, static = decompose_maps(maps, CROSS)
    torch.testing.assert_close(static, hoax - hoax.mean(), atol=1e-5, rtol=0)
    torch.testing.assert_close(equivariant, evidence + hoax.mean(), atol=1e-5, rtol=0)


def test_a_pattern_on_every_map_is_static():
    maps, pattern = torch.randn(9, 3, 5, 5), torch.randn(5, 5)
    before = decompose_maps(maps, all_shifts(1))
    after = decompose_maps(maps + pattern, all_shifts(1))
    torch.testing.assert_close(after[0], before[0] + pattern.mean(), atol=1e-5, rtol=0)
    torch.testing.assert_close(after[1], before[1] + pattern - pattern.mean(), atol=1e-5, rtol=0)


def test_the_decomposition_is_differentiable():
    maps = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda maps: decompose_maps(maps, [(0, 0), (1, 0), (0, 1)]), maps)


def test_errors_of_shifts_name_the_argument():
    image = torch.rand(1, 1, 4, 4)
    with pytest.raises(ValueError, match="`padding`"):
        shift_images(image, (0, 1), (2, 2), "zeros")
    for shift in [(1,), (0, 2), (-2, 0)]:
        with pytest.raises(ValueError, match="`shift`"):
            shift_images(image, shift, (2, 2))
    for shifts in ([(0, 0)], [(0, 0), (2, 0), (0, 2)], [(0, 0), (1, 0)]):
        with pytest.raises(ValueError, match="`shifts`"):
            decompose_maps(torch.randn(len(shifts), 1, 5, 5), shifts)
