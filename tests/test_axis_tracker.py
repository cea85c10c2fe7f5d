"""What the axes of a run's tensors stand for, against tensors whose entries say where they come from."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from captum_diffcam.axis_tracker import AxisTracker
from captum_diffcam.layouts import find_placement, vit_layout

H, W = 6, 10


def patches(x):
    """A patch embedding of one channel that keeps what is in the patch: each patch is one number, its own."""
    return F.avg_pool2d(x, 2)


def cls(t):
    return torch.full((len(t), 1, 1), -1.0)


PATHS = {
    "flatten": lambda p: p.flatten(2).transpose(1, 2),
    "reshape": lambda p: p.permute(0, 2, 3, 1).reshape(len(p), -1, p.shape[1]),
    "class token": lambda p: torch.cat([cls(p), p.flatten(2).mT], 1),
    "behind": lambda p: torch.cat([p.flatten(2).mT, cls(p)], 1),
    "registers": lambda p: (lambda t: torch.cat([t[:, :1], cls(p), cls(p), t[:, 1:]], 1))(PATHS["class token"](p)),
    "two tokens apart": lambda p: (lambda t: torch.cat([t[:, :2], cls(p), t[:, 2:]], 1))(
        torch.cat([cls(p), cls(p), p.flatten(2).mT], 1)
    ),
    "class token left out": lambda p: PATHS["registers"](p)[:, 1:],
    "narrow": lambda p: PATHS["class token"](p).narrow(1, 1, p[0, 0].numel()),
    "split": lambda p: PATHS["class token"](p).split([1, p[0, 0].numel()], 1)[1],
    "pad": lambda p: F.pad(p.flatten(2).mT, (0, 0, 2, 1)),
    "pad behind": lambda p: F.pad(p.flatten(2).mT, (0, 0, 0, 3)),
    "heads": lambda p: p.flatten(2).mT.reshape(len(p), -1, 1, 1).transpose(1, 2).transpose(1, 2).flatten(2),
    "windows": lambda p: (
        p.unflatten(3, (2, 5)).unflatten(2, (3, 2)).permute(0, 2, 4, 3, 5, 1).permute(0, 1, 3, 2, 4, 5).flatten(1, 4)
    ),
    "subsampled": lambda p: p[:, :, ::2, ::2].flatten(2).mT,
    "merged": lambda p: p.unflatten(3, (5, 2)).flatten(3, 4).flatten(2).mT,
    "repeated": lambda p: p.expand(-1, 4, -1, -1).flatten(2).mT,
    "residual": lambda p: (lambda t: t + F.softmax(t @ t.mT, -1) @ t * 0)(p.flatten(2).mT),
    "norm": lambda p: F.linear(p.flatten(2).mT, torch.eye(1)),
    "stacked and unbound": lambda p: torch.stack([p, p]).unbind(0)[0].flatten(2).mT,
    "interleaved": lambda p: p.unflatten(2, (3, 2)).transpose(2, 3).flatten(2).mT,
    "shifted": lambda p: p.roll(1, 2).flatten(2).mT,
    "flipped": lambda p: p.flip(3).flatten(2).mT,
    "two images": lambda p: torch.cat([p.flatten(2).mT, p.flatten(2).mT], 1),
    "part": lambda p: p.flatten(2).mT[:, 3:],
    "every second": lambda p: p.flatten(2).mT[:, ::2],
    "unrolled": lambda p: p[:, :, :2, :4].unflatten(3, (2, 2)).permute(0, 3, 2, 4, 1).flatten(1, 3),
    "middle": lambda p: (lambda t: torch.cat([t[:, :7], cls(p), t[:, 7:]], 1))(p.flatten(2).mT),
    "by index": lambda p: p.flatten(2).mT[:, torch.randperm(p[0, 0].numel())],
    "queries": lambda p: F.softmax(torch.rand(1, 15, 1) @ p.flatten(2), -1) @ p.flatten(2).mT,
    "written": lambda p: torch.zeros(len(p), 60, 1).index_copy(1, torch.arange(60), p.flatten(2).mT),
}
SCRAMBLED = {
    "interleaved",
    "shifted",
    "flipped",
    "two images",
    "part",
    "every second",
    "unrolled",
    "middle",
    "by index",
    "queries",
}


@pytest.mark.parametrize("path", PATHS)
def test_tokens_are_the_patches_of_their_grid_or_nothing_is_known(path):
    """Each patch carries its own number, so the tokens themselves tell where they come from."""
    x = torch.arange(2.0 * H * W * 4).reshape(2, 1, 2 * H, 2 * W)
    with AxisTracker() as tracker:
        tracker.start([x])
        grid = patches(x)
        tokens = PATHS[path](grid)
    placement = find_placement(tracker.axes_of(tokens))
    if path in SCRAMBLED:
        assert placement is None
        with pytest.raises(ValueError, match="`layout`"):
            vit_layout()(tokens, tracker.axes_of(tokens))
    elif path == "written":
        assert placement is None  # that is as it should be, but cannot be seen
    else:
        expected = grid[:, :, ::2, ::2] if path == "subsampled" else grid
        placed = vit_layout()(tokens, tracker.axes_of(tokens))
        assert placed[:, :1].tolist() == expected.tolist()


@pytest.mark.parametrize(
    "embed",
    [
        lambda x: F.conv2d(x, torch.rand(4, 3, 8, 4), stride=(8, 4)).flatten(2).mT,
        lambda x: F.unfold(x, (8, 4), stride=(8, 4)).mT,
        lambda x: F.unfold(x, 3, stride=2).mT,
        lambda x: F.unfold(x, (4, 3), padding=1, stride=(2, 4), dilation=(1, 2)).mT,
        lambda x: (
            x.unfold(2, 8, 8).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2) @ torch.rand(96, 4)
        ),
        lambda x: F.linear(
            x.reshape(2, 3, 4, 8, 12, 4).permute(0, 2, 4, 3, 5, 1).reshape(2, 48, 96), torch.rand(4, 96)
        ),
        lambda x: F.conv2d(F.interpolate(x, (16, 64)), torch.rand(4, 3, 4, 4), stride=4).flatten(2).mT,
        lambda x: F.conv2d(F.pad(x, (1, 2, 3, 4)), torch.rand(4, 3, 5, 7), stride=4).flatten(2).mT,
        lambda x: F.pixel_unshuffle(x, 4).flatten(2).mT,
        lambda x: F.conv2d(x.movedim(1, -1).movedim(-1, 1), torch.rand(4, 3, 4, 4), stride=4).flatten(2).mT,
    ],
    ids=[
        "conv",
        "unfold",
        "overlapping",
        "dilated",
        "Tensor.unfold",
        "rearranged",
        "resized",
        "padded",
        "unshuffled",
        "moved",
    ],
)
def test_every_patch_embedding(embed):
    """The gradient of a token is at its patch: row by row, so a token to the right has its patch to the right."""
    x = torch.rand(2, 3, 32, 48, requires_grad=True)
    with AxisTracker() as tracker:
        tracker.start([x])
        tokens = embed(x)
    placed = vit_layout()(tokens, tracker.axes_of(tokens))[0].square().sum(0)
    h, w = placed.shape
    assert h * w == tokens.shape[1]
    for i, j in ((0, 0), (0, w - 1), (h - 1, 0), (h // 2, w // 2)):
        (gradient,) = torch.autograd.grad(placed[i, j], x, retain_graph=True)
        rows, columns = (gradient[0] != 0).any(0).nonzero().float().mean(0).tolist()
        assert rows == pytest.approx((i + 0.5) * 32 / h, abs=32 / h)
        assert columns == pytest.approx((j + 0.5) * 48 / w, abs=48 / w)


@pytest.mark.parametrize(
    ("run", "layout", "grid"),
    [
        (lambda x: nn.Conv2d(3, 4, 3)(x), None, (30, 46)),
        (lambda x: nn.Conv2d(3, 16, 2, 2)(x).relu().permute(0, 2, 3, 1), "swin", (16, 24)),
        (lambda x: nn.Conv2d(3, 16, 2, 2)(x).movedim(1, -1).flatten(1, 2).unflatten(1, (16, 24)), "swin", (16, 24)),
        (lambda x: nn.Conv1d(4, 4, 3, padding=1)(nn.Conv2d(3, 4, 8, 8)(x).flatten(2)), None, (24,)),
        (lambda x: nn.Conv3d(1, 4, 1)(x[:, None]), None, (3, 32, 48)),
        (lambda x: nn.MaxPool2d(2, return_indices=True)(x)[0], None, (16, 24)),
        (lambda x: nn.Conv2d(3, 4, 1)(x) * nn.Conv2d(3, 4, 1)(x).mean((2, 3), keepdim=True), None, (32, 48)),
        (lambda x: x.mean((2, 3), keepdim=True).expand_as(x) * x, None, (32, 48)),
        # Slices as one axis and their pixels as another, rows by fours, and a class token behind channels.
        (lambda x: nn.Conv3d(1, 4, 1)(x[:, None]).flatten(3).movedim(1, -1), None, None),
        (lambda x: nn.Conv2d(3, 4, 1)(x).mean(3).mT.unflatten(1, (8, 4)), None, None),
        (lambda x: torch.cat([torch.zeros(2, 4, 1), nn.Conv2d(3, 4, 8, 8)(x).flatten(2)], 2), None, None),
        (lambda x: x.amax((2, 3)).unsqueeze(1), None, None),
        (lambda x: nn.AdaptiveAvgPool1d(1)(nn.Conv2d(3, 64, 8, 8)(x).flatten(2)), None, None),
        (lambda x: nn.Linear(32 * 48, 9)(x.flatten(2)), None, None),
        (lambda x: nn.Conv2d(3, 8, 8, 8)(x).flatten(2).mT.unflatten(2, (2, 4)).transpose(1, 2), None, None),
        (lambda x: (lambda t: (t @ t.mT).softmax(-1)[:, None])(nn.Conv2d(3, 8, 8, 8)(x).flatten(2).mT), None, None),
        (lambda x: nn.Embedding(24, 8)(torch.arange(24))[None].expand(2, -1, -1) * 1, None, None),
        (lambda x: torch.zeros_like(nn.Conv2d(3, 8, 8, 8)(x).flatten(2).mT), None, None),
    ],
)
def test_layouts(run, layout, grid):
    x = torch.rand(2, 3, 32, 48)
    with torch.no_grad(), AxisTracker() as tracker:
        tracker.start([x])
        tensor = run(x)
    axes = tracker.axes_of(tensor)
    placement = find_placement(axes) if axes else None
    assert (placement and (placement.layout, placement.grid)) == (grid and (layout, grid))


def test_what_does_not_depend_on_the_inputs_has_no_axes():
    ids, table = torch.arange(6)[None], nn.Embedding(9, 4)
    with torch.no_grad(), AxisTracker() as tracker:
        tracker.start([ids])
        words, places = table(ids), table(torch.arange(6)[None])
        of_shape = places.expand_as(words)
    assert find_placement(tracker.axes_of(words)).layout == "swin"
    assert tracker.axes_of(places) is None
    assert tracker.axes_of(of_shape) is None


def test_channels_last_and_flat_inputs():
    """What a convolution moves along are positions, wherever they are in the input."""
    for shape, prepare in (
        ((2, 12, 16, 5), lambda x: x.permute(0, 3, 1, 2)),
        ((2, 12, 16, 3), lambda x: x.permute(0, 3, 1, 2)),
        ((2, 5 * 12 * 16), lambda x: x.reshape(-1, 5, 12, 16)),
        ((2, 12, 16), lambda x: x.unsqueeze(1)),
    ):
        x = torch.rand(shape)
        with torch.no_grad(), AxisTracker() as tracker:
            tracker.start([x])
            image = prepare(x)
            maps = F.conv2d(image, torch.rand(4, image.shape[1], 3, 3))
        assert find_placement(tracker.axes_of(maps)).grid == (10, 14)
