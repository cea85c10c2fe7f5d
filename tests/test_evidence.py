"""How many nats lie in a region: numbers by hand, partitions, shapes and errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import conv_net
from torch.nn.functional import one_hot

from captum_diffcam import LayerDiffHiResCam, evidence_in, predicted, top_rivals

MAP = torch.tensor([[[[1.0, 2.0, 4.0], [8.0, 16.0, -32.0]]]])
"""Two rows and three columns: on an image of 4 x 6 pixels each position has 2 x 2 of them."""
SIZE = (4, 6)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 6, 4), -1.0),  # the whole image
        ((2, 0, 4, 2), 2.0),  # one position
        ((0, 2, 6, 4), -8.0),  # the second row
        ((1, 0, 2, 2), 0.5),  # half of a position
        ((1, 1, 3, 3), (1 + 2 + 8 + 16) / 4),  # a quarter of four
        ((3.5, 0, 4.5, 4), (2 + 16) / 4 + (4 - 32) / 4),  # half a pixel of two columns
        ((-5, -5, 2, 2), 1.0),  # what lies outside does not count
        ((7, 0, 9, 4), 0.0),
    ],
)
def test_boxes_by_hand(box, expected):
    assert evidence_in(MAP, boxes=box, image_size=SIZE).tolist() == [[pytest.approx(expected)]]
    assert evidence_in(MAP, boxes=[box, box], image_size=SIZE).tolist() == [[pytest.approx(expected)] * 2]


def test_masks_by_hand():
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[1:3, 1] = True  # a quarter of the two positions on the left
    assert evidence_in(MAP, mask).tolist() == [[(1 + 8) / 4]]
    assert evidence_in(MAP, mask.numpy()).tolist() == [[(1 + 8) / 4]]
    assert evidence_in(MAP, mask.int()).tolist() == [[(1 + 8) / 4]]
    assert evidence_in(MAP, mask / 2).tolist() == [[(1 + 8) / 8]]
    coarse = torch.tensor([[True, False]])  # a mask may have fewer pixels than the map has positions
    assert evidence_in(MAP, coarse).tolist() == [[1 + 8 + (2 + 16) / 2]]


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1), (13, 11)])
def test_regions_that_partition_the_image_sum_to_the_map(size):
    """Also where pixels do not fit into positions."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 1, 2, 3, generator=generator)
    masks = one_hot(torch.randint(0, 4, size, generator=generator), 4).movedim(-1, 0)
    evidence = evidence_in(maps, masks)
    assert evidence.shape == (2, 4)
    torch.testing.assert_close(evidence.sum(dim=1), maps.sum(dim=(1, 2, 3)))
    # Each pixel's part is the integral of the map over it, here by fine squares.
    fine = maps.repeat_interleave(size[0] * 8, dim=2).repeat_interleave(size[1] * 8, dim=3)
    cells = masks.repeat_interleave(2 * 8, dim=1).repeat_interleave(3 * 8, dim=2)
    expected = (fine * cells).sum(dim=(2, 3)) / (size[0] * size[1] * 64)
    torch.testing.assert_close(evidence, expected, atol=1e-5, rtol=1e-5)


def test_a_box_is_its_mask():
    maps = torch.randn(1, 1, 7, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(24, 31)
    mask[5:17, 3:30] = 1
    torch.testing.assert_close(evidence_in(maps, boxes=(3, 5, 30, 17), image_size=(24, 31)), evidence_in(maps, mask))


def test_one_and_three_dimensions():
    line = torch.tensor([[[1.0, 2.0, 4.0]]])
    assert evidence_in(line, boxes=(1, 4), image_size=(6,)).tolist() == [[0.5 + 2.0]]
    assert evidence_in(line, torch.tensor([0, 1, 1, 1, 0, 0])).tolist() == [[0.5 + 2.0]]
    clip = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    # x is the last dimension, which is the fastest: the right half of the lower half of the first frame is 3.
    assert evidence_in(clip, boxes=(5, 5, 0, 10, 10, 1), image_size=(2, 10, 10)).tolist() == [[3.0]]
    mask = torch.zeros(2, 10, 10)
    mask[0, 5:, 5:] = 1
    assert evidence_in(clip, mask).tolist() == [[3.0]]


def test_shapes():
    maps = torch.cat([MAP, 2 * MAP])
    left = torch.zeros(4, 6)
    left[:, :2] = 1
    right = torch.zeros(4, 6)
    right[:, 4:] = 1
    assert evidence_in(maps, left).tolist() == [[9], [18]]
    three = torch.stack([left, right, left])
    assert evidence_in(maps, three).tolist() == [[9, -28, 9], [18, -56, 18]]
    assert evidence_in(maps, torch.stack([left, right])[None]).tolist() == [[9, -28], [18, -56]]
    assert evidence_in(maps, torch.stack([left, right])[:, None]).tolist() == [[9], [-56]]
    boxes = torch.tensor([[0, 0, 2, 4], [4, 0, 6, 4]])
    assert evidence_in(maps, boxes=boxes[:, None], image_size=SIZE).tolist() == [[9], [-56]]
    assert evidence_in(maps, boxes=np.array([[0, 0, 2, 4]]), image_size=SIZE).tolist() == [[9], [18]]
    assert evidence_in(maps, [left, right.numpy(), left]).tolist() == [[9, -28, 9], [18, -56, 18]]
    channels = torch.cat([MAP, MAP], dim=1)
    assert evidence_in(channels, left).tolist() == [[18]]
    assert evidence_in(maps[:0], three).shape == (0, 3)
    assert evidence_in(maps.half(), left).dtype == torch.float32
    assert evidence_in(maps.double(), left).dtype == torch.float64


def test_what_methods_return(x):
    net = conv_net()
    cam = LayerDiffHiResCam(net, net.features)
    halves = [(0, 0, 4.5, 9), (4.5, 0, 9, 9)]
    explanation = cam.explain(x)
    evidence = evidence_in(explanation, boxes=halves, image_size=x.shape[2:])
    assert evidence.shape == (3, 2)
    torch.testing.assert_close(evidence.sum(dim=1) + explanation.remainder, explanation.score)
    rivals = cam.attribute_rivals(x, predicted, top_rivals(4))
    evidence = evidence_in(rivals, boxes=halves, image_size=x.shape[2:])
    assert evidence.shape == (3, 4, 2)
    for k in range(4):
        torch.testing.assert_close(evidence[:, k], evidence_in(rivals.maps[:, k], boxes=halves, image_size=x.shape[2:]))


@pytest.mark.parametrize(
    ("kwargs", "error", "argument"),
    [
        ({}, ValueError, "masks"),
        ({"masks": torch.ones(4, 6), "boxes": (0, 0, 1, 1), "image_size": SIZE}, ValueError, "masks"),
        ({"masks": torch.full((4, 6), 2)}, ValueError, "masks"),
        ({"masks": -torch.ones(4, 6)}, ValueError, "masks"),
        ({"masks": torch.full((4, 6), torch.nan)}, ValueError, "masks"),
        ({"masks": torch.ones(6)}, ValueError, "masks"),
        ({"masks": torch.ones(1, 1, 1, 4, 6)}, ValueError, "masks"),
        ({"masks": torch.ones(0, 6)}, ValueError, "masks"),
        ({"masks": torch.ones(2, 4, 6)}, ValueError, r"masks\[None\]"),
        ({"masks": torch.ones(3, 1, 4, 6)}, ValueError, "masks"),
        ({"masks": "left"}, TypeError, "masks"),
        ({"masks": [torch.ones(4, 6), torch.ones(4, 5)]}, TypeError, "masks"),
        ({"masks": []}, ValueError, "masks"),
        ({"boxes": (0, 0, 1, 1)}, ValueError, "image_size"),
        ({"boxes": (0, 0, 1, 1), "image_size": (4,)}, ValueError, "image_size"),
        ({"boxes": (0, 0, 1, 1), "image_size": (0, 6)}, ValueError, "image_size"),
        ({"boxes": (0, 0, 1, 1), "image_size": 4}, TypeError, "image_size"),
        ({"boxes": (0, 0, 1), "image_size": SIZE}, ValueError, "boxes"),
        ({"boxes": (2, 0, 1, 1), "image_size": SIZE}, ValueError, "boxes"),
        ({"boxes": (0, 1, 1, 1), "image_size": SIZE}, ValueError, "boxes"),
        ({"boxes": (0, 0, float("inf"), 1), "image_size": SIZE}, ValueError, "boxes"),
        ({"boxes": [(0, 0, 1, 1)] * 2, "image_size": SIZE}, ValueError, r"boxes\[None\]"),
        ({"boxes": [["a", 0, 1, 1]], "image_size": SIZE}, TypeError, "boxes"),
    ],
    ids=str,
)
def test_bad_regions(kwargs, error, argument):
    with pytest.raises(error, match=argument):
        evidence_in(torch.cat([MAP, MAP]), **kwargs)


def test_bad_maps():
    with pytest.raises(ValueError, match="maps"):
        evidence_in(MAP[0, 0], torch.ones(4, 6))
    with pytest.raises(TypeError, match="maps"):
        evidence_in([MAP, MAP], torch.ones(4, 6))
    with pytest.raises(TypeError, match="maps"):
        evidence_in(MAP.numpy(), torch.ones(4, 6))
