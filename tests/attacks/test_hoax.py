"""Hoax maps: which cells they highlight, and with which entropy."""

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
def test_the_number_of_cells_follows_the_entropy(shape, size):
    for count in range(10, math.prod(size) + 1):
        hoax = hoax_map(size, entropy=math.log(count), shape=shape)
        assert (hoax.shape, len(cells(hoax))) == (torch.Size(size), count)
        assert hoax.sum().item() == pytest.approx(1, abs=1e-5)


def test_other_shapes():
    nine = math.log(9)
    assert cells(hoax_map((7, 7), nine, "centre")) == {(i, j) for i in (2, 3, 4) for j in (2, 3, 4)}
    assert cells(hoax_map((7, 7), math.log(3), "corner")) == {(0, 0), (0, 1), (1, 0)}
    assert cells(hoax_map((7, 7), math.log(4), "corner")) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert cells(hoax_map((4, 4), math.log(8), "checkerboard")) == {
        (i, j) for i in range(4) for j in range(4) if (i + j) % 2 == 0
    }
    # The rings of an oblong border follow its outline.
    assert cells(hoax_map((3, 5), math.log(12))) == {
        (i, j) for i in range(3) for j in range(5) if i != 1 or j in (0, 4)
    }


def test_an_oblong_centre_follows_the_outline():
    assert cells(hoax_map((3, 9), math.log(3), "centre")) == {(1, 3), (1, 4), (1, 5)}


def test_rings_come_one_after_the_other():
    """The centre of a side of the outer ring comes before the corners of the next ring."""
    outer = {(i, j) for i in range(31) for j in range(31) if 0 in (i, j) or 30 in (i, j)}
    assert cells(hoax_map((31, 31), math.log(len(outer)))) == outer
    # In three dimensions the corners of the next ring are further from the centre than the centre of a side.
    shell = {(i, j, k) for i in range(20) for j in range(20) for k in range(20) if {i, j, k} & {0, 19}}
    assert cells(hoax_map((20, 20, 20), math.log(len(shell)))) == shell
    even = {(i, j) for i in range(9) for j in range(9) if (i + j) % 2 == 0}
    assert cells(hoax_map((9, 9), math.log(len(even)), "checkerboard")) == even


def test_a_map_of_your_own_is_divided_by_its_sum():
    own = torch.tensor([[0.0, 2.0], [6.0, 0.0]])
    assert hoax_map((2, 2), shape=own).tolist() == [[0, 0.25], [0.75, 0]]
    assert own.sum() == 8


@pytest.mark.parametrize(("size", "entropy", "count"), [((3, 3), 0.9, 3), ((7, 7), 5.0, 49), ((3, 3), 1.04, 3)])
def test_the_closest_possible_entropy_with_a_warning(size, entropy, count):
    with pytest.warns(UserWarning, match="entropy"):
        assert len(cells(hoax_map(size, entropy))) == count


def test_no_warning_within_five_hundredths_of_a_nat():
    assert len(cells(hoax_map((3, 3), 1.06))) == 3


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"size": (0, 7), "entropy": 1.0}, "size"),
        ({"size": 7, "entropy": 1.0}, "size"),
        ({"size": (), "entropy": 1.0}, "size"),
        ({"size": (7.0, 7), "entropy": 1.0}, "size"),
        ({"size": (7, 7)}, "entropy"),
        ({"size": (7, 7), "entropy": -1.0}, "entropy"),
        ({"size": (7, 7), "entropy": math.nan}, "entropy"),
        ({"size": (7, 7), "entropy": math.inf}, "entropy"),
        ({"size": (7, 7), "entropy": "3.3"}, "entropy"),
        ({"size": (7, 7), "entropy": 3.3, "shape": "ring"}, "shape"),
        ({"size": (2, 2), "entropy": 1.0, "shape": torch.ones(2, 2)}, "entropy"),
        ({"size": (2, 2), "shape": torch.ones(2, 3)}, "shape"),
        ({"size": (2, 2), "shape": -torch.ones(2, 2)}, "shape"),
        ({"size": (2, 2), "shape": torch.full((2, 2), math.inf)}, "shape"),
        ({"size": (2, 2), "shape": torch.zeros(2, 2)}, "shape"),
    ],
)
def test_errors_name_the_argument(arguments, wrong):
    with pytest.raises(ValueError, match=f"`{wrong}`"):
        hoax_map(**arguments)


def test_a_hoax_like_clean_maps():
    """Maps of 9 and of 25 cells have the mean entropy of 15; one without a positive value does not count."""
    maps = torch.full((3, 7, 7), -1.0)
    maps[0, :3, :3] = 2.0
    maps[1, :5, :5] = 0.5
    assert cells(hoax_like(maps)) == cells(hoax_map((7, 7), entropy=math.log(15)))
    with pytest.raises(ValueError, match="maps"):
        hoax_like(maps[2:])
