"""The dimensions of the input along which a map is drawn: images, clips, series, embeddings, audio and volumes."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from captum.attr import LayerGradCam, NoiseTunnel
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from captum_diffcam import ContrastScore, InputAttribution, LayerDiffGradCam, vit_layout

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Reader(nn.Module):
    """A model that prepares its input, runs one layer and classifies the mean over its positions."""

    def __init__(self, prepare, layer, width=6, pool=None) -> None:
        super().__init__()
        self.prepare, self.layer, self.head = prepare, layer, nn.Linear(width, 4)
        self.pool = pool or (lambda a: a.flatten(2).mean(2))

    def forward(self, x: Tensor) -> Tensor:
        a = self.layer(self.prepare(x))
        return self.head(self.pool(a[0] if isinstance(a, tuple) else a))


def convolution(dims, channels, stride=1, size=3, **kwargs):
    return [nn.Conv1d, nn.Conv2d, nn.Conv3d][dims - 1](channels, 6, size, stride=stride, **kwargs)


def convolve(prepare, dims, channels, stride=1, size=3, **kwargs):
    return Reader(prepare, nn.Sequential(convolution(dims, channels, stride, size, **kwargs), nn.ReLU())), {}


def tokens(prepare, layer, width=6):
    """A layer of tokens (N, T, D)."""
    return Reader(prepare, layer, width, lambda a: a.tanh().flatten(1, -2).mean(1)), {"layout": "swin"}


def recur(prepare, features):
    net, kwargs = tokens(prepare, nn.LSTM(features, 6, batch_first=True))
    return net, {**kwargs, "tensor_index": 0}


class Frames(nn.Module):
    """A convolution over each frame of (N, T, C, H, W), for all frames at once or one after the other."""

    def __init__(self, at_once: bool, channels: int = 3) -> None:
        super().__init__()
        self.conv, self.at_once = nn.Conv2d(channels, 6, 3, stride=2), at_once

    def forward(self, x):
        if self.at_once:
            return self.conv(x.flatten(0, 1)).relu().unflatten(0, x.shape[:2]).transpose(1, 2)
        return torch.stack([self.conv(x[:, t]).relu() for t in range(x.shape[1])], dim=2)


class Electrodes(nn.Module):
    """A series read as an image with one channel, whose rows become one."""

    def __init__(self, channels) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, (channels, 3))

    def forward(self, x):
        return self.conv(x[:, None]).relu()[:, :, 0]


class Times(nn.Module):
    """A recurrent cell for one time after the other, or a recurrent layer that has the times first."""

    def __init__(self, features, in_turn) -> None:
        super().__init__()
        self.in_turn = in_turn
        self.layer = nn.GRUCell(features, 6) if in_turn else nn.GRU(features, 6)

    def forward(self, x):
        if not self.in_turn:
            return self.layer(x.transpose(0, 1))[0].transpose(0, 1)
        states = [self.layer(x[:, 0])]
        for t in range(1, x.shape[1]):
            states.append(self.layer(x[:, t], states[-1]))
        return torch.stack(states, dim=1)


def cnn_lstm():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frames, self.lstm, self.head = Frames(True), nn.LSTM(6, 6, batch_first=True), nn.Linear(6, 4)

        def forward(self, x):
            return self.head(self.lstm(self.frames(x).mean((3, 4)).transpose(1, 2))[0].mean(1))

    return Net()


class PatchEmbedding(nn.Module):
    """Patches of an image or tubelets of a clip as tokens."""

    def __init__(self, dims, channels, patch) -> None:
        super().__init__()
        self.conv = [None, nn.Conv2d, nn.Conv3d][dims - 1](channels, 6, patch, stride=patch)

    def forward(self, x):
        return self.conv(x).flatten(2).transpose(1, 2)


def tubelets(prepare=lambda x: x.transpose(1, 2)):
    net = Reader(prepare, PatchEmbedding(3, 3, (2, 4, 4)), pool=lambda a: a.tanh().mean(1))
    return net, {"layout": vit_layout(grid=(3, 4, 4))}


def same(x):
    return x


def channels_first(x):
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


def normalized_channels_first(x):
    return (channels_first(x) - 0.5) / 0.25


def widen(x):
    return x @ torch.linspace(-1, 1, 8 * 16).sin().reshape(8, 16)


def transformer(width):
    return nn.TransformerEncoderLayer(width, 2, 8, dropout=0.0, batch_first=True)


CASES = {
    # images
    "channels first": (lambda: convolve(same, 2, 3), (2, 3, 12, 16), 1),
    "many channels": (lambda: convolve(same, 2, 20), (2, 20, 12, 16), 1),
    "as many channels as rows": (lambda: convolve(same, 2, 12), (2, 12, 12, 12), 1),
    "channels last": (lambda: convolve(channels_first, 2, 3), (2, 12, 16, 3), 3),
    "many channels last": (lambda: convolve(channels_first, 2, 20, 2), (2, 12, 16, 20), 3),
    "as many channels last as rows": (lambda: convolve(channels_first, 2, 12), (2, 12, 12, 12), 3),
    "normalized, last": (lambda: convolve(normalized_channels_first, 2, 5), (2, 12, 16, 5), 3),
    "padded before, last": (lambda: convolve(lambda x: pad(channels_first(x), (1, 2)), 2, 3), (2, 12, 12, 3), 3),
    "resized before, last": (
        lambda: convolve(lambda x: interpolate(channels_first(x), (24, 24)), 2, 3, 2),
        (2, 30, 30, 3),
        3,
    ),
    "gray, repeated": (lambda: convolve(lambda x: x.repeat(1, 3, 1, 1), 2, 3), (2, 1, 12, 12), 1),
    "without channels": (lambda: convolve(lambda x: x[:, None], 2, 1), (2, 12, 16), None),
    "a spectrogram": (lambda: convolve(same, 2, 1, (1, 4)), (2, 1, 16, 40), 1),
    "bytes, last": (lambda: convolve(lambda x: channels_first(x).float() / 255, 2, 12), (2, 12, 16, 12), 3),
    # clips and volumes
    "a volume": (lambda: convolve(same, 3, 2), (2, 2, 8, 9, 10), 1),
    "a cube": (lambda: convolve(same, 3, 6), (2, 6, 6, 6, 6), 1),
    "a volume, last": (lambda: convolve(channels_first, 3, 2), (2, 8, 9, 10, 2), 4),
    "slices of a volume": (
        lambda: (
            Reader(lambda x: x.transpose(1, 2), Frames(True)),
            {},
        ),
        (2, 3, 7, 9, 11),
        1,
    ),
    "a clip, colours first": (lambda: convolve(same, 3, 3), (2, 3, 6, 9, 9), 1),
    "tubelets, frames first": (tubelets, (2, 6, 3, 16, 16), 2),
    "tubelets, normalized": (lambda: tubelets(lambda x: x.transpose(1, 2) / 2 - 1), (2, 6, 3, 16, 16), 2),
    "three frames of three colours": (lambda: convolve(lambda x: x.transpose(1, 2), 3, 3), (2, 3, 3, 9, 9), 2),
    "three frames of three colours, normalized": (
        lambda: convolve(lambda x: x.transpose(1, 2) / 2 - 1, 3, 3),
        (2, 3, 3, 9, 9),
        2,
    ),
    "three colours of three frames": (lambda: convolve(same, 3, 3), (2, 3, 3, 9, 9), 1),
    "frames at once": (lambda: (Reader(same, Frames(True)), {}), (2, 5, 3, 9, 11), 2),
    "frames in turn": (lambda: (Reader(same, Frames(False)), {}), (2, 5, 3, 9, 11), 2),
    # series
    "a series": (lambda: convolve(same, 1, 3), (2, 3, 20), 1),
    "a short series": (lambda: convolve(same, 1, 30), (2, 30, 12), 1),
    "half as long as it has channels": (lambda: convolve(same, 1, 8, 2, 2), (2, 8, 16), 1),
    "a series, last": (lambda: convolve(channels_first, 1, 3), (2, 20, 3), 2),
    "many features, last": (lambda: convolve(channels_first, 1, 30), (2, 20, 30), 2),
    "as many features as times": (lambda: convolve(channels_first, 1, 20), (2, 20, 20), 2),
    "half as long, last": (lambda: convolve(channels_first, 1, 12, 2, 2), (2, 24, 12), 2),
    "electrodes": (lambda: (Reader(same, Electrodes(30)), {}), (2, 30, 20), 1),
    "recurrent": (lambda: recur(same, 3), (2, 20, 3), 2),
    "recurrent, many features": (lambda: recur(same, 25), (2, 20, 25), 2),
    "recurrent, times first": (lambda: tokens(lambda x: x / 2 - 1, Times(25, False)), (2, 20, 25), 2),
    "recurrent, times in turn": (lambda: tokens(lambda x: x / 2 - 1, Times(5, True)), (2, 20, 5), 2),
    "recurrent, half as long": (lambda: recur(lambda x: x[:, ::2], 12), (2, 24, 12), 2),
    "recurrent, channels first": (lambda: recur(channels_first, 3), (2, 3, 20), 1),
    "recurrent, normalized": (lambda: recur(lambda x: x / 2 - 1, 7), (2, 20, 7), 2),
    # what no convolution or recurrent layer reads, but can be followed
    "a linear layer, last": (lambda: tokens(lambda x: x[:, ::2, ::2], nn.Linear(12, 6)), (2, 12, 12, 12), 3),
    "a linear layer, first": (lambda: tokens(channels_last, nn.Linear(12, 6)), (2, 12, 12, 12), 1),
    "half as long as it has features": (lambda: tokens(lambda x: x[:, ::2], nn.Linear(12, 6)), (2, 24, 12), 2),
    "embedded, as wide as long": (
        lambda: convolve(lambda x: widen(x).transpose(1, 2), 1, 16, padding=1),
        (2, 16, 8),
        2,
    ),
    "embedded, as wide as long, strided": (
        lambda: convolve(lambda x: widen(x).transpose(1, 2)[:, :, ::2], 1, 16, padding=1),
        (2, 16, 8),
        2,
    ),
    "upsampled to the number of channels": (
        lambda: convolve(lambda x: interpolate(x / 2, 24, mode="linear"), 1, 24, padding=1),
        (2, 24, 6),
        1,
    ),
    # embeddings
    "a transformer": (lambda: tokens(same, transformer(8), 8), (2, 5, 8), 2),
    "a transformer, long": (lambda: tokens(same, transformer(8), 8), (2, 12, 8), 2),
    "a transformer, square": (lambda: tokens(same, transformer(8), 8), (2, 8, 8), 2),
    "a linear embedding": (lambda: tokens(same, nn.Linear(7, 6)), (2, 5, 7), 2),
    "features as tokens": (lambda: tokens(lambda x: x.transpose(1, 2), nn.Linear(9, 6)), (2, 9, 4), 1),
}


def expected_attribution(maps: Tensor, x: Tensor, dim: int | None) -> Tensor:
    """The map upsampled to the sizes of the input without its channels, and repeated for each channel."""
    sizes = tuple(size for d, size in enumerate(x.shape) if d not in (0, dim))
    upsampled = interpolate(maps, sizes, mode=MODES[len(sizes)])[:, 0]
    return upsampled if dim is None else torch.stack([upsampled] * x.shape[dim], dim=dim)


def build(name):
    torch.manual_seed(0)
    make, shape, dim = CASES[name]
    net, kwargs = make()
    x = torch.rand(shape)
    return net.eval(), kwargs, (255 * x).byte() if name.startswith("bytes") else x, dim


@pytest.mark.parametrize("name", CASES)
def test_the_map_lies_along_the_positions_of_the_input(name):
    net, kwargs, x, dim = build(name)
    cam = LayerDiffGradCam(net, net.layer, **kwargs)
    expected = expected_attribution(cam.attribute(x, 1), x, dim)
    with pytest.warns(UserWarning, match="`channel_dim`") if name == "recurrent, times in turn" else nullcontext():
        torch.testing.assert_close(InputAttribution(cam).attribute(x, 1), expected)
    torch.testing.assert_close(InputAttribution(cam, channel_dim=dim).attribute(x, 1), expected)
    if dim is not None:
        from_the_end = InputAttribution(cam, channel_dim=dim - x.ndim)
        torch.testing.assert_close(from_the_end.attribute(x, 1), expected)


@pytest.mark.parametrize("name", ["channels last", "tubelets, frames first", "a series, last"])
def test_through_a_function_and_with_captums_grad_cam(name):
    net, kwargs, x, dim = build(name)
    cam = LayerDiffGradCam(lambda x: net(x), net.layer, **kwargs)
    expected = expected_attribution(cam.attribute(x, 1), x, dim)
    torch.testing.assert_close(InputAttribution(cam).attribute(x, 1), expected)
    if not kwargs:
        captums = LayerGradCam(net, net.layer)
        expected = expected_attribution(captums.attribute(x, 1).detach(), x, dim)
        torch.testing.assert_close(InputAttribution(captums).attribute(x, 1).detach(), expected)


class Unseen(nn.Module):
    """Read an input (N, C, *size) by an einsum, of which nothing tells what was a channel."""

    def __init__(self, channels: int, is_last: bool) -> None:
        super().__init__()
        self.weight, self.is_last = nn.Parameter(torch.randn(channels, 6)), is_last

    def forward(self, x):
        return torch.einsum("nc...,cd->n...d" if self.is_last else "nc...,cd->nd...", x, self.weight)


def unseen(x, channel_dim, step, is_last=True):
    """A map of a model that does not tell how it reads its input, and reads each ``step``-th position of it."""

    def prepare(a):
        a = a.movedim(channel_dim, 1)
        return a[(..., *[slice(None, None, step)] * (a.ndim - 2))]

    layer = Unseen(x.shape[channel_dim], is_last)
    pool = (lambda a: a.tanh().flatten(1, -2).mean(1)) if is_last else (lambda a: a.tanh().flatten(2).mean(2))
    return LayerDiffGradCam(Reader(prepare, layer, pool=pool), layer, layout="swin" if is_last else None)


@pytest.mark.parametrize(
    ("shape", "dim", "step"),
    [
        ((2, 3, 12, 16), 1, 1),
        ((2, 3, 12, 16), 1, 4),
        ((2, 12, 16, 3), 3, 1),
        ((2, 12, 16, 3), 3, 2),
        ((2, 30, 12, 16), 1, 1),
        ((2, 36, 40, 30), 1, 4),
        ((2, 40, 30, 36), 3, 4),
        ((2, 13, 14, 12), 1, 3),
        ((2, 6, 3, 12, 12), 2, 1),
        ((2, 20, 3), 2, 1),
        ((2, 3, 20), 1, 1),
        ((2, 20, 3), 2, 2),
    ],
)
def test_sizes_tell_where_the_reading_does_not(shape, dim, step):
    torch.manual_seed(0)
    x = torch.rand(shape)
    cam = unseen(x, dim, step)
    expected = expected_attribution(cam.attribute(x, 1), x, dim)
    with nullcontext() if shape[dim] <= 4 and len(shape) > 3 else pytest.warns(UserWarning, match="`channel_dim`"):
        torch.testing.assert_close(InputAttribution(cam).attribute(x, 1), expected)


@pytest.mark.parametrize(
    ("shape", "dim", "step", "is_last"),
    [
        ((2, 12, 12, 12), 1, 1, True),
        ((2, 12, 12, 12), 3, 1, False),
        ((2, 20, 24), 2, 2, True),
        ((2, 24, 20), 1, 2, True),
        ((2, 20, 20), 2, 1, True),
        ((2, 20, 30), 2, 1, True),
        ((2, 30, 20), 1, 1, True),
        ((2, 8, 16), 1, 2, False),  # as long as it has channels by chance
        ((2, 16, 8), 2, 2, False),
    ],
)
@pytest.mark.filterwarnings("ignore:`layer`:UserWarning")
def test_an_ambiguous_input_is_refused(shape, dim, step, is_last):
    torch.manual_seed(0)
    x = torch.rand(shape)
    cam = unseen(x, dim, step, is_last)
    with pytest.raises(ValueError, match=r"`channel_dim`.*channel_dim=1"):
        InputAttribution(cam).attribute(x, 1)
    expected = expected_attribution(cam.attribute(x, 1), x, dim)
    torch.testing.assert_close(InputAttribution(cam, channel_dim=dim).attribute(x, 1), expected)


def test_a_map_with_a_position_for_a_class_token_is_refused():
    torch.manual_seed(0)
    token, embed = torch.randn(1, 1, 6), nn.Linear(30, 6)
    net, kwargs = tokens(lambda x: torch.cat([token.expand(len(x), 1, 6), embed(x)], 1), nn.Linear(6, 6))
    cam = LayerDiffGradCam(net, net.layer, **kwargs)
    with pytest.raises(ValueError, match="`channel_dim`"):
        InputAttribution(cam).attribute(torch.rand(2, 20, 30), 1)


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        (lambda: (Reader(same, Frames(False, 6)), {}), (2, 4, 6, 24, 24)),
        (lambda: tokens(lambda x: x / 2 - 1, Times(25, True)), (2, 20, 25)),
    ],
)
def test_frames_and_times_in_turn_may_be_ambiguous(case, shape):
    torch.manual_seed(0)
    (net, kwargs), x = case(), torch.rand(shape)
    cam = LayerDiffGradCam(net, net.layer, **kwargs)
    with pytest.raises(ValueError, match="`channel_dim`"):
        InputAttribution(cam).attribute(x, 1)
    expected = expected_attribution(cam.attribute(x, 1), x, 2)
    torch.testing.assert_close(InputAttribution(cam, channel_dim=2).attribute(x, 1), expected)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_cube(value):
    """Its values do not tell in which order its dimensions are read."""
    torch.manual_seed(0)
    net, kwargs = convolve(channels_first, 2, 12, padding=1)
    cam, x = LayerDiffGradCam(net, net.layer, **kwargs), torch.full((2, 12, 12, 12), value)
    x[:, 3] += 1  # symmetric in the other two
    expected = expected_attribution(cam.attribute(x, 1), x, 3)
    torch.testing.assert_close(InputAttribution(cam).attribute(x, 1), expected)


def test_a_linear_layer_along_time_is_no_proof():
    """As in models that mix times before features: behind it nothing is known of the positions."""
    torch.manual_seed(0)
    mix = nn.Sequential(nn.Linear(20, 20), nn.ReLU())
    net, kwargs = tokens(lambda x: mix(x.transpose(1, 2)).transpose(1, 2), nn.Linear(30, 6))
    x = torch.rand(2, 20, 30)
    cam = LayerDiffGradCam(net, net.layer, **kwargs)
    with pytest.raises(ValueError, match="`channel_dim`"):
        InputAttribution(cam).attribute(x, 1)
    expected = expected_attribution(cam.attribute(x, 1), x, 2)
    torch.testing.assert_close(InputAttribution(cam, channel_dim=-1).attribute(x, 1), expected)


def test_tokens_of_a_transposed_image_are_refused():
    torch.manual_seed(0)
    net, kwargs = tokens(lambda x: x.transpose(1, 2), nn.Linear(12, 6))
    with pytest.raises(ValueError, match="`channel_dim`"):
        InputAttribution(LayerDiffGradCam(net, net.layer, **kwargs)).attribute(torch.rand(2, 12, 12, 12), 1)


def test_a_map_over_frames_alone_does_not_fit_a_clip():
    torch.manual_seed(0)
    net, x = cnn_lstm().eval(), torch.rand(2, 5, 3, 9, 11)
    cam = LayerDiffGradCam(net, net.lstm, layout="swin", tensor_index=0)
    for dim in ("auto", 2, None):
        with pytest.raises(ValueError, match=r"channel_dim.*\(2, 5, 3, 9, 11\)"):
            InputAttribution(cam, channel_dim=dim).attribute(x, 1)
    frames = LayerDiffGradCam(net, net.frames)
    expected = expected_attribution(frames.attribute(x, 1), x, 2)
    torch.testing.assert_close(InputAttribution(frames).attribute(x, 1), expected)


@pytest.mark.parametrize("channel_dim", [None, 1])
def test_a_transposed_spectrogram(channel_dim):
    """(N, time, frequency), or one with a channel, that the model reads as (N, 1, frequency, time)."""
    torch.manual_seed(0)
    net, _ = convolve(lambda x: x.transpose(-1, -2).reshape(-1, 1, 12, 30), 2, 1, 2)
    x = torch.rand(2, 30, 12) if channel_dim is None else torch.rand(2, 1, 30, 12)
    transposed = LayerDiffGradCam(net, net.layer)
    for dim in ("auto", channel_dim):
        with pytest.raises(ValueError, match=r"`layout`.*12 x 30.*`channel_dim`"):
            InputAttribution(transposed, channel_dim=dim).attribute(x, 1)
    cam = LayerDiffGradCam(net, net.layer, layout=lambda a: a.transpose(-1, -2))
    expected = expected_attribution(cam.attribute(x, 1), x, channel_dim)
    for dim in ("auto", channel_dim):
        torch.testing.assert_close(InputAttribution(cam, channel_dim=dim).attribute(x, 1), expected)


def test_frames_read_last_are_refused():
    torch.manual_seed(0)
    net, _ = convolve(lambda x: x.permute(0, 2, 3, 4, 1), 3, 3)
    with pytest.raises(ValueError, match="`layout`"):
        InputAttribution(LayerDiffGradCam(net, net.layer)).attribute(torch.rand(2, 6, 3, 9, 11), 1)


def test_features_are_no_positions():
    """A table (N, F), which an MLP widens to something with positions."""
    torch.manual_seed(0)
    widen, x = nn.Linear(7, 40), torch.rand(2, 7)
    net, kwargs = convolve(lambda x: widen(x).unflatten(1, (4, 10)), 1, 4)
    cam = LayerDiffGradCam(net, net.layer, **kwargs)
    with pytest.raises(ValueError, match="channel_dim"):
        InputAttribution(cam).attribute(x, 1)


def test_ids_as_long_as_a_later_layer_is_wide():
    torch.manual_seed(0)
    embedding = nn.Embedding(9, 6)
    net, kwargs = tokens(embedding, nn.Linear(6, 6))
    for ids in (torch.randint(9, (2, 6)), torch.randint(9, (2, 5))):
        cam = LayerDiffGradCam(net, net.layer, **kwargs)
        expected = expected_attribution(cam.attribute(ids, 1), ids, None)
        torch.testing.assert_close(InputAttribution(cam).attribute(ids, 1), expected)


def test_one_dimension_for_each_input():
    """An image with its channels first, and one with its channels last, joined before the layer."""
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(5, 6, 3), nn.ReLU())
    head = nn.Linear(6, 4)
    a, b = torch.rand(2, 2, 12, 12), torch.rand(2, 12, 12, 3)

    def forward(a, b):
        return head(conv(torch.cat([a, b.movedim(-1, 1)], dim=1)).mean((2, 3)))

    cam = LayerDiffGradCam(forward, conv)
    maps = cam.attribute((a, b), 1)
    expected = [expected_attribution(maps, a, 1), expected_attribution(maps, b, 3)]
    for dims in ((1, -1), [1, 3], ("auto", 3), "auto"):
        for attribution, right in zip(
            InputAttribution(cam, channel_dim=dims).attribute((a, b), 1), expected, strict=True
        ):
            torch.testing.assert_close(attribution, right)


def test_layers_of_different_layouts():
    """A list of layers of one series, features last: one of tokens and one convolution."""
    torch.manual_seed(0)
    embed, conv, head = nn.Linear(24, 6), nn.Conv1d(6, 6, 3), nn.Linear(6, 4)

    def forward(x):
        return head(conv(embed(x / 2).transpose(1, 2)).tanh().mean(2))

    x, layers, layouts = torch.rand(2, 20, 24), [embed, conv], ["swin", None]
    expected = 0
    for layer, layout in zip(layers, layouts, strict=True):
        maps = LayerDiffGradCam(forward, layer, layout=layout).attribute(x, 1)
        expected = expected + expected_attribution(maps / maps.abs().amax((1, 2), keepdim=True), x, 2) / 2
    cam = InputAttribution(LayerDiffGradCam(forward, layers, layout=layouts))
    torch.testing.assert_close(cam.attribute(x, 1), expected)


def test_positions_of_another_input_tell_nothing():
    """Of two images that are joined, the run shows the positions of one."""
    torch.manual_seed(0)
    conv, head = nn.Conv2d(26, 6, 3), nn.Linear(6, 4)
    a, b = torch.rand(2, 6, 12, 12), torch.rand(2, 12, 12, 20)

    def forward(a, b):
        return head(conv(torch.cat([a / 2, b.movedim(-1, 1) / 2], dim=1)).tanh().mean((2, 3)))

    cam = LayerDiffGradCam(forward, conv)
    maps = cam.attribute((a, b), 1)
    with pytest.warns(UserWarning, match="`channel_dim`"):
        on_a, on_b = InputAttribution(cam).attribute((a, b), 1)
    torch.testing.assert_close(on_a, expected_attribution(maps, a, 1))
    torch.testing.assert_close(on_b, expected_attribution(maps, b, 3))


def test_a_map_with_one_row():
    torch.manual_seed(0)
    net, kwargs = convolve(lambda x: x / 2, 2, 6, size=(12, 3))
    x = torch.rand(2, 6, 12, 20)
    cam = LayerDiffGradCam(net, net.layer, **kwargs)
    maps = cam.attribute(x, 1)
    assert maps.shape == (2, 1, 1, 18)
    torch.testing.assert_close(InputAttribution(cam).attribute(x, 1), expected_attribution(maps, x, 1))


@pytest.mark.parametrize(
    ("channel_dim", "error"),
    [
        (0, ValueError),
        (4, ValueError),
        (-4, ValueError),
        (-5, ValueError),
        ("last", ValueError),
        ((1, 1), ValueError),
        (True, TypeError),
        (1.0, TypeError),
    ],
)
def test_channel_dim_is_checked(channel_dim, error):
    net, kwargs, x, _ = build("channels first")
    with pytest.raises(error, match="channel_dim"):
        InputAttribution(LayerDiffGradCam(net, net.layer, **kwargs), channel_dim=channel_dim).attribute(x, 1)


def test_captums_tools_with_channels_last():
    net, kwargs, x, dim = build("channels last")
    cam = InputAttribution(LayerDiffGradCam(net, net.layer, **kwargs))
    right = cam.attribute(x, target=1)
    torch.testing.assert_close(right, expected_attribution(cam.attribution.attribute(x, 1), x, dim))
    torch.testing.assert_close(NoiseTunnel(cam).attribute(x, nt_samples=3, stdevs=0.0, target=1), right)
    assert sensitivity_max(cam.attribute, x, n_perturb_samples=2, target=1).shape == (2,)

    def perturb(inputs):
        noise = torch.rand_like(inputs) / 10
        return noise, inputs - noise

    assert infidelity(ContrastScore(net), perturb, x, right, target=1).shape == (2,)


def test_the_model_runs_as_often_as_without():
    net, kwargs, x, _ = build("channels last")
    runs = []
    net.register_forward_hook(lambda *args: runs.append(1))
    cam = LayerDiffGradCam(net, net.layer, **kwargs)
    cam.attribute(x, 1)
    alone = len(runs)
    InputAttribution(cam).attribute(x, 1)
    assert len(runs) == 2 * alone
