"""The layer that is found in models of every kind, and its grid: right, or refused with the layer's name."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from captum_diffcam import LayerDiffGradCam, last_spatial_layer, spatial_layers, vit_layout

D = 16


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()


def block(**kwargs) -> nn.Module:
    return nn.TransformerEncoderLayer(D, 2, 32, batch_first=True, **kwargs)


class Vit(nn.Module):
    """A ViT of two blocks, with tokens of its own before and behind the patches."""

    def __init__(self, embed, *, before=1, behind=0, pool="first", middle=False) -> None:
        super().__init__()
        self.embed, self.pool, self.middle = embed, pool, middle
        self.before, self.behind = nn.Parameter(torch.randn(1, before, D)), nn.Parameter(torch.randn(1, behind, D))
        self.blocks, self.norm, self.head = nn.ModuleList([block(), block()]), nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(x)
        before, behind = self.before.expand(len(x), -1, -1), self.behind.expand(len(x), -1, -1)
        half = t.shape[1] // 2
        t = torch.cat([t[:, :half], before, t[:, half:]] if self.middle else [before, t, behind], 1)
        for module in self.blocks:
            t = module(t)
        t = self.norm(t)
        return self.head(t[:, 0] if self.pool == "first" else t.mean(1))


class Patches(nn.Module):
    def __init__(self, kind="conv", patch=(8, 8), stride=None, pad=False, size=None) -> None:
        super().__init__()
        self.kind, self.patch, self.pad, self.size = kind, patch, pad, size
        if kind == "conv":
            self.proj = nn.Conv2d(3, D, patch, stride or patch)
        elif kind == "stem":
            self.proj = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, D, 3, 4, 1))
        else:
            self.unfold, self.proj = nn.Unfold(patch, stride=patch), nn.Linear(3 * patch[0] * patch[1], D)

    def forward(self, x: Tensor) -> Tensor:
        (p, q), (n, c, height, width) = self.patch, x.shape
        if self.pad:
            x = F.pad(x, (0, -width % q, 0, -height % p))
        if self.size:
            x = F.interpolate(x, self.size, mode="bilinear")
        if self.kind == "unfold":
            return self.proj(self.unfold(x).mT)
        if self.kind == "rearrange":
            x = x.reshape(n, c, height // p, p, width // q, q).permute(0, 2, 4, 3, 5, 1)
            return self.proj(x.reshape(n, -1, p * q * c))
        return self.proj(x).flatten(2).mT


def found(model, x):
    """The layer by name, its layout and the shape of its map, which is drawn without a warning."""
    layer = last_spatial_layer(model, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps = LayerDiffGradCam(model, layer).attribute(x, 1)
    assert maps.any()
    assert layer in spatial_layers(model, x)
    return layer.name, layer.layout, tuple(maps.shape[2:])


@pytest.mark.parametrize("examples", [1, 2])
@pytest.mark.parametrize(
    ("model", "size", "name", "grid"),
    [
        (lambda: Vit(Patches()), (32, 48), "blocks.0", (4, 6)),
        (lambda: Vit(Patches(), pool="mean"), (32, 48), "norm", (4, 6)),
        (lambda: Vit(Patches(), before=5), (32, 32), "blocks.0", (4, 4)),
        (lambda: Vit(Patches(), behind=3, pool="mean"), (32, 48), "norm", (4, 6)),
        (lambda: Vit(Patches(), behind=20), (32, 48), "blocks.0", (4, 6)),
        (lambda: Vit(Patches(), before=0, pool="mean"), (32, 32), "norm", (4, 4)),
        (lambda: Vit(Patches(patch=(16, 8))), (32, 48), "blocks.0", (2, 6)),
        (lambda: Vit(Patches(stride=(4, 6))), (32, 48), "blocks.0", (7, 7)),
        (lambda: Vit(Patches(pad=True)), (30, 45), "blocks.0", (4, 6)),
        (lambda: Vit(Patches(size=(32, 32))), (48, 64), "blocks.0", (4, 4)),
        (lambda: Vit(Patches()), (36, 36), "blocks.0", (4, 4)),  # what is left over is cut off
        (lambda: Vit(Patches("unfold")), (32, 48), "blocks.0", (4, 6)),
        (lambda: Vit(Patches("rearrange")), (32, 48), "blocks.0", (4, 6)),
        (lambda: Vit(Patches("stem")), (32, 48), "blocks.0", (4, 6)),
    ],
)
def test_vision_transformers(model, size, name, grid, examples):
    assert found(seeded(model), torch.rand(examples, 3, *size)) == (name, "vit", grid)


def test_the_grid_follows_every_input():
    model = seeded(lambda: Vit(Patches(), behind=2, pool="mean"))
    layer = last_spatial_layer(model, torch.rand(1, 3, 32, 32))
    for size, grid in (((32, 32), (4, 4)), ((16, 64), (2, 8)), ((64, 16), (8, 2)), ((56, 40), (7, 5))):
        x = torch.rand(2, 3, *size)
        maps = LayerDiffGradCam(model, layer).attribute(x, 1)
        assert maps.shape == (2, 1, *grid)
        tokens = torch.Size(grid).numel()
        own = LayerDiffGradCam(model, layer.layer, layout=lambda t, n=tokens, g=grid: vit_layout(g)(t[:, 1 : 1 + n]))
        torch.testing.assert_close(maps, own.attribute(x, 1))


class Mixer(nn.Module):
    """Sixteen tokens of sixteen channels, mixed along either."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = Patches(), nn.Sequential(nn.Linear(16, D), nn.GELU(), nn.Linear(D, 16))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(x)
        t = t + self.mix(t.mT).mT
        return self.head(self.norm(t).mean(1))


class Pyramid(nn.Module):
    """Overlapping patches, twice, as in PVT and SegFormer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, D, 7, 4, 3), nn.Conv2d(D, D, 3, 2, 1)
        self.block, self.norm, self.head = block(), nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        t = self.block(x.flatten(2).mT)
        x = self.two(t.mT.reshape(x.shape))
        return self.head(self.norm(x.flatten(2).mT).mean(1))


class Windows(nn.Module):
    """Attention within shifted windows of 4 x 4, padded where they do not fit, and a merging of 2 x 2, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.before = nn.Conv2d(3, D, 4, 4), block(), nn.LayerNorm(D)
        self.merge, self.norm, self.head = nn.Linear(4 * D, D), nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        n, h, w, d = x.shape
        a = F.pad(self.before(x), (0, 0, 0, -w % 4, 0, -h % 4)).roll((-1, -1), (1, 2))
        high, wide = a.shape[1] // 4, a.shape[2] // 4
        a = a.view(n, high, 4, wide, 4, d).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, d)
        a = self.block(a).view(n, high, wide, 4, 4, d).permute(0, 1, 3, 2, 4, 5).reshape(n, 4 * high, 4 * wide, d)
        x = x + a.roll((1, 1), (1, 2))[:, :h, :w]
        x = torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1).view(n, -1, 4 * d)
        return self.head(self.norm(self.merge(x)).mean(1))


class AttentionPool(nn.Module):
    """Patches that one learned query reads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.query = Patches(), nn.LayerNorm(D), nn.Parameter(torch.randn(1, 1, D))
        self.pool, self.last, self.head = (
            nn.MultiheadAttention(D, 2, batch_first=True),
            nn.LayerNorm(D),
            nn.Linear(D, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        t = self.norm(self.embed(x))
        return self.head(self.last(self.pool(self.query.expand(len(x), -1, -1), t, t)[0])[:, 0])


class HalfRead(nn.Module):
    """Reads two tokens, and of each every second channel: still two tokens, not a map."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.norm, self.head = Patches(), block(), nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.block(self.embed(x)))[:, :2, ::2].flatten(1))


class MaxPool(nn.Sequential):
    """Few positions are read, but by different channels."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, D, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(D, 5))


class Gated(nn.Module):
    """A channel attention of 1-d convolutions over channels, as in ECA-Net, within a class of that name."""

    class ChannelAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv1d(1, 1, 3, padding=1), nn.Sigmoid()

        def forward(self, x: Tensor) -> Tensor:
            return x * self.act(self.conv(x.mean((2, 3))[:, None])).transpose(1, 2)[..., None]

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(3, D, 3), Gated.ChannelAttention(), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gate(self.conv(x)).mean((2, 3)))


class PooledVector(nn.Module):
    """As in a Swin of transformers: the pooled vector has as many channels as a square has positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.pool = Patches(), nn.LayerNorm(D), nn.AdaptiveAvgPool1d(1)
        self.drop, self.head = nn.Dropout(0.0), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(self.norm(self.embed(x)).transpose(1, 2))
        return self.head(self.drop(pooled).flatten(1))


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (Mixer, (3, 32, 32), ("norm", "vit", (4, 4))),
        (Pyramid, (3, 32, 48), ("norm", "vit", (4, 6))),
        (Windows, (3, 40, 56), ("norm", "vit", (5, 7))),
        (AttentionPool, (3, 32, 48), ("norm", "vit", (4, 6))),
        (HalfRead, (3, 56, 64), ("embed", "vit", (7, 8))),
        (MaxPool, (3, 32, 48), ("1", None, (30, 46))),
        (Gated, (3, 8, 9), ("gate", None, (6, 7))),
        (PooledVector, (3, 32, 48), ("norm", "vit", (4, 6))),
    ],
)
def test_images(model, shape, expected):
    assert found(seeded(model), torch.rand(2, *shape)) == expected


class Frames(nn.Module):
    """A convolution over each frame of a clip (N, T, C, H, W), pooled, and the frames as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, D, 3, 2), nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape[:2]
        frames = self.conv(x.flatten(0, 1)).relu().mean((2, 3)).view(n, t, -1)
        return self.head(self.norm(frames).mean(1))


class Tubelets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Conv3d(3, D, (2, 8, 8), (2, 8, 8)), nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.embed(x.transpose(1, 2)).flatten(2).mT).mean(1))


class Series(nn.Module):
    """A transformer over times (N, T, F) that reads the first one, or the mean."""

    def __init__(self, first: bool = False) -> None:
        super().__init__()
        self.embed, self.blocks = nn.Linear(3, D), nn.Sequential(block(), block())
        self.first, self.norm, self.head = first, nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        t = self.norm(self.blocks(self.embed(x)))
        return self.head(t[:, 0] if self.first else t.mean(1))


class Words(nn.Module):
    """Ids of words and of their places; a recurrent layer of which the last state is read."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(30, D), nn.Embedding(30, D), nn.LayerNorm(D)
        self.lstm, self.last, self.head = nn.LSTM(D, D, batch_first=True), nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, ids: Tensor) -> Tensor:
        t = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])[None]))
        return self.head(self.last(self.lstm(t)[0])[:, -1])


@pytest.mark.parametrize(
    ("model", "x", "expected"),
    [
        (Frames, torch.rand(2, 6, 3, 16, 16), ("norm", "swin", (6,))),
        (Frames, torch.rand(2, 4, 3, 16, 16), ("norm", "swin", (4,))),
        (Tubelets, torch.rand(2, 6, 3, 16, 24), ("norm", "vit", (3, 2, 3))),
        (Series, torch.rand(2, 40, 3), ("norm", "swin", (40,))),
        (lambda: Series(first=True), torch.rand(2, 40, 3), ("blocks.0", "swin", (40,))),
        (lambda: Series(first=True), torch.rand(2, 5, 3), ("blocks.0", "swin", (5,))),
        (Words, torch.randint(0, 30, (2, 12)), ("norm", "swin", (12,))),
    ],
)
def test_sequences(model, x, expected):
    assert found(seeded(model), x) == expected


class Latents(nn.Module):
    """As many learned queries as there are patches, which read all of them, as in Perceiver."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.queries = Patches(), nn.Parameter(torch.randn(1, 16, D))
        self.read, self.block = nn.MultiheadAttention(D, 2, batch_first=True), block()
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        t, q = self.embed(x), self.queries.expand(len(x), -1, -1)
        return self.head(self.norm(self.block(q + self.read(q, t, t)[0])).mean(1))


class TokensFirst(nn.Module):
    """Tokens before examples, as in nn.TransformerEncoder without batch_first."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.head = Patches(), nn.TransformerEncoderLayer(D, 2, 32), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x).transpose(0, 1)).mean(0))


class LastTime(nn.Sequential):
    """Each layer sees three times, and the last time alone is read."""

    def __init__(self) -> None:
        super().__init__(nn.Conv1d(3, D, 3, padding=1), nn.Tanh())

    channels = D

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, : self.channels, -1]


class LastTimeOfTwoChannels(LastTime):
    channels = 2


class Lost(nn.Module):
    """Patches in an order that the run does not show, before the last normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.norm = nn.Conv2d(3, D, 8, 8), nn.Tanh(), nn.LayerNorm(D)
        self.head = nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        t = self.act(self.conv(x)).flatten(2).mT
        return self.head(self.norm(t[:, torch.arange(t.shape[1]).flip(0)]).mean(1))


@pytest.mark.parametrize(
    ("model", "shape", "name", "remedy"),
    [
        (Latents, (3, 32, 32), "norm", "vit_layout"),
        (TokensFirst, (3, 32, 32), "block", "callable"),
        (Lost, (3, 32, 32), "norm", "vit_layout"),
        (lambda: Vit(Patches(), middle=True, pool="mean"), (3, 32, 32), "norm", "vit_layout"),
        (LastTime, (3, 40), "0", ""),
        (LastTimeOfTwoChannels, (3, 40), "0", ""),
    ],
)
@pytest.mark.parametrize("examples", [1, 2])
def test_the_last_layer_is_named_if_its_grid_is_not_known(model, shape, name, remedy, examples):
    with pytest.raises(ValueError, match=rf"`forward_func`.*\b{name}\b.*{remedy}"):
        last_spatial_layer(seeded(model), torch.rand(examples, *shape))


class Scripted(nn.Module):
    """An activation that TorchScript runs, which cannot be followed."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.function = torch.jit.script(twice)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def twice(x: Tensor) -> Tensor:
    return x * 2


def test_a_later_layer_that_cannot_be_followed_is_named():
    model = nn.Sequential(nn.Conv2d(3, D, 3), Scripted(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(D, 5))
    with pytest.raises(ValueError, match=r"`forward_func`.*'1'"):
        last_spatial_layer(model, torch.rand(2, 3, 8, 9))


class Inference(nn.Module):
    """A backbone that runs in inference mode, activations without weights included."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, D, 3), nn.Tanh(), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            x = self.act(self.conv(x))
        return self.head(x.clone().mean((2, 3)))


def test_a_backbone_in_inference_mode():
    assert last_spatial_layer(seeded(Inference), torch.rand(2, 3, 8, 9)).name == "act"


def test_a_program_of_torch_export():
    x = torch.rand(2, 3, 8, 9)
    model = nn.Sequential(nn.Conv2d(3, D, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(D, 5)).eval()
    program = torch.export.unflatten(torch.export.export(model, (x,)))
    assert last_spatial_layer(program, x).name == "1"


class Pair(nn.Module):
    """One tower for an image and one for words; their product, as in CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Sequential(nn.Conv2d(3, D, 8, 8), nn.ReLU()), nn.Embedding(30, D)
        self.of_text = nn.LayerNorm(D)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        features, texts = self.image(x).mean((2, 3)), self.of_text(self.text(ids)).mean(1)
        return features @ texts.T


def test_the_layer_depends_on_the_images_and_not_on_prompts():
    model, x, prompts = seeded(Pair), torch.rand(2, 3, 32, 48), torch.randint(0, 30, (2, 7))
    for layer in (
        last_spatial_layer(lambda x: model(x, prompts), x),
        last_spatial_layer(model, x, prompts),
        last_spatial_layer(model, (x, prompts)),
    ):
        assert layer.name == "image"
    assert last_spatial_layer(lambda ids, x: model(x, ids), (prompts, x)).name == "of_text"
    assert last_spatial_layer(lambda ids: model(x, ids), prompts).name == "of_text"


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Linear(16, 4)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = (self.features(x).mean((2, 3)) for x in (a, b))
        return self.head(torch.cat([a, a * b], 1))


def test_layers_that_run_twice_are_named_with_the_remedy():
    with pytest.raises(ValueError, match=r"`forward_func`.*features.*run="):
        last_spatial_layer(seeded(Siamese), (torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)))


class Prompt(nn.Module):
    """Returns a frozen weight, which is none of the run's tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, 4, D), requires_grad=False)

    def forward(self) -> Tensor:
        return self.weight


def test_frozen_weights_stay_frozen():
    model = seeded(lambda: Vit(Patches(), pool="mean"))
    model.prompt = Prompt()
    model.requires_grad_(False)
    x = torch.rand(2, 3, 32, 32)
    layer = last_spatial_layer(lambda x: model(x) + model.prompt().mean(), x)
    assert layer.name == "norm"
    assert not any(weight.requires_grad for weight in model.parameters())


def test_a_readable_layer():
    model = seeded(lambda: Vit(Patches()))
    layer = last_spatial_layer(model, torch.rand(1, 3, 32, 32))
    assert repr(layer) == "SpatialLayer('blocks.0': TransformerEncoderLayer, layout='vit')"


class Keyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, *, pixel_values: Tensor) -> Tensor:
        return self.head(self.conv(pixel_values).mean((2, 3)))


def test_inputs_by_name_are_answered_with_the_remedy():
    model, x = Keyword(), torch.rand(2, 3, 8, 8)
    for call in (last_spatial_layer, lambda *args: LayerDiffGradCam(model, model.conv).attribute(args[1], 1)):
        with pytest.raises(TypeError, match=r"`forward_func`.*lambda"):
            call(model, x)
        with pytest.raises(TypeError, match=r"`inputs`.*lambda"):
            call(model, {"pixel_values": x})
    assert last_spatial_layer(lambda x: model(pixel_values=x), x).name == "conv"


def test_a_module_that_returns_a_pooled_vector_does_not_hide_what_is_unknown_inside_of_it():
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flip(3)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.turned, self.pool = nn.Conv2d(3, D, 3), Turned(), nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.conv(x)
            return self.pool(x), self.turned(x).mean((2, 3))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = Block(), nn.Linear(D, 5)

        def forward(self, x: Tensor) -> Tensor:
            pooled, turned = self.block(x)
            return self.head(pooled.flatten(1) + turned)

    with pytest.raises(ValueError, match=r"block\.turned"):
        last_spatial_layer(seeded(Model), torch.rand(2, 3, 8, 9))


class OpenAttention(nn.Module):
    """Attention that is written out in the model itself, with a module for its matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.qkv = nn.Conv2d(3, D, 4, 4), nn.LayerNorm(D), nn.Linear(D, 3 * D)
        self.softmax, self.head = nn.Softmax(dim=-1), nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(self.conv(x).flatten(2).mT)).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        return self.head((self.softmax(q @ k.mT) @ v).transpose(1, 2).flatten(2).mean(1))


class RolledVector(nn.Module):
    """Behind the pooling, a module that moves the entries of its vector, and keeps two axes without entries."""

    class Roll(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.roll(1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.roll = nn.Conv2d(3, D, 3), nn.AdaptiveAvgPool2d(1), self.Roll()
        self.head = nn.Linear(D, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.roll(self.pool(self.conv(x))).flatten(1))


@pytest.mark.parametrize(("model", "name"), [(OpenAttention, "norm"), (RolledVector, "conv")])
def test_what_has_no_positions_of_its_own_is_passed_over(model, name):
    assert last_spatial_layer(seeded(model), torch.rand(2, 3, 16, 24)).name == name
