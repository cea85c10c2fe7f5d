"""Hoax maps: which cells they light, and at which entropy."""

from __future__ import annotations

import math

import pytest
import torch

from captum_diffcam.attacks import hoax_like, hoax_map
from captum_diffcam.metrics import cam_entropy


def cells(hoax):
    return {tuple(place) for place in hoax.nonzero().tolist()}


def test_the_border_of_28_cells():
    """The outermost ring has 24 cells; the four that are missing are the corners of the next one."""
    hoax = hoax_map((7, 7), entropy=3.33)
    ring = {(i, j) for i in range(7) for j in range(7) if 0 in (i, j) or 6 in (i, j)}
    assert cells(hoax) == ring | {(1, 1), (1, 5), (5, 1), (5, 5)}
    assert hoax[hoax > 0].tolist() == pytest.approx([1 / 28] * 28)
    assert cam_entropy(hoax[None]).item() == pytest.approx(math.log(28))


@pytest.mark.parametrize("shape", ["border", "centre", "corner", "checkerboard"])
@pytest.mark.parametrize("size", [(7, 7), (5, 8), (16,), (3, 4, 5)])
def test_as_many_cells_as_the_entropy_asks_for(shape, size):
    for lit in range(10, math.prod(size) + 1):
        hoax = hoax_map(size, entropy=math.log(lit), shape=shape)
        assert (hoax.shape, len(cells(hoax))) == (torch.Size(size), lit)
        assert hoax.sum().item() == pytest.approx(1, abs=1e-5)


def test_other_shapes():
    nine = math.log(9)
    assert cells(hoax_map((7, 7), nine, "centre")) == {(i, j) for i in (2, 3, 4) for j in (2, 3, 4)}
    assert cells(hoax_map((7, 7), math.log(3), "corner")) == {(0, 0), (0, 1), (1, 0)}
    assert cells(hoax_map((4, 4), math.log(8), "checkerboard")) == {
        (i, j) for i in range(4) for j in range(4) if (i + j) % 2 == 0
    }
    # The rings of an oblong border follow its outline.
    assert cells(hoax_map((3, 5), math.log(12))) == {
        (i, j) for i in range(3) for j in range(5) if i != 1 or j in (0, 4)
    }


def test_a_map_of_ones_own_is_normalised():
    own = torch.tensor([[0.0, 2.0], [6.0, 0.0]])
    assert hoax_map((2, 2), shape=own).tolist() == [[0, 0.25], [0.75, 0]]
    assert own.sum() == 8


def test_the_closest_entropy_there_is():
    with pytest.warns(UserWarning, match="entropy: 0.90 nats asked, 1.10 is the closest"):
        hoax = hoax_map((3, 3), entropy=0.9)
    assert len(cells(hoax)) == 3
    with pytest.warns(UserWarning, match="5.00 nats asked, 3.89 is the closest"):
        assert len(cells(hoax_map((7, 7), entropy=5.0))) == 49


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": (0, 7), "entropy": 1.0}, r"size: got \(0, 7\)"),
        ({"size": 7, "entropy": 1.0}, r"size: got 7; allowed are positive integers"),
        ({"size": (), "entropy": 1.0}, r"size: got \(\)"),
        ({"size": (7.0, 7), "entropy": 1.0}, r"size: got \(7.0, 7\)"),
        ({"size": (7, 7)}, r"entropy: got None; allowed is a number of nats from 0 to 3.89"),
        ({"size": (7, 7), "entropy": -1.0}, r"entropy: got -1.0"),
        ({"size": (7, 7), "entropy": math.nan}, r"entropy: got nan"),
        ({"size": (7, 7), "entropy": 3.3, "shape": "ring"}, r"shape: got 'ring'; allowed are 'border', 'centre'"),
        (
            {"size": (2, 2), "entropy": 1.0, "shape": torch.ones(2, 2)},
            r"entropy: got 1.0; allowed with a map of one's own",
        ),
        ({"size": (2, 2), "shape": torch.ones(2, 3)}, r"shape: got a tensor of shape \(2, 3\); allowed is \(2, 2\)"),
        ({"size": (2, 2), "shape": -torch.ones(2, 2)}, r"shape: got a tensor with negative"),
        (
            {"size": (2, 2), "shape": torch.zeros(2, 2)},
            r"shape: got a tensor with negative or infinite values, or all zero",
        ),
    ],
)
def test_bad_arguments(arguments, said):
    with pytest.raises(ValueError, match=said):
        hoax_map(**arguments)


def test_a_hoax_like_honest_maps():
    """Maps of 9 and of 25 cells have the entropy of 15; one that lights nothing does not count."""
    maps = torch.full((3, 7, 7), -1.0)
    maps[0, :3, :3] = 2.0
    maps[1, :5, :5] = 0.5
    assert cells(hoax_like(maps)) == cells(hoax_map((7, 7), entropy=math.log(15)))
    with pytest.raises(ValueError, match="maps: none of them lights anything"):
        hoax_like(maps[2:])


def test_an_oblong_centre_follows_the_outline():
    assert cells(hoax_map((3, 9), math.log(3), "centre")) == {(1, 3), (1, 4), (1, 5)}
