"""Images moved by cells, and maps of moved images taken apart."""

from __future__ import annotations

import numpy as np
import pytest
import replicas
import torch

from captum_diffcam.shifts import shift_images, shift_in_cells, split_shifted_maps, square_of_shifts

CROSS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -2)]


@pytest.mark.parametrize(("padding", "numpys"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("shift", [(0, 0), (1, -2), (-1, 0), (0.5, 1.75)])
def test_shifted_images_are_a_cut_of_a_padded_one(padding, numpys, shift):
    images = torch.rand(2, 3, 12, 20)
    down, right = round(3 * shift[0]), round(4 * shift[1])
    around = np.pad(images.numpy(), ((0, 0), (0, 0), (11, 11), (19, 19)), mode=numpys)
    expected = around[:, :, 11 - down : 23 - down, 19 - right : 39 - right]
    np.testing.assert_array_equal(shift_images(images, shift, (4, 5), padding), expected)


def test_other_dimensions():
    line = torch.arange(6.0)
    assert shift_images(line, (1,), (3,), "replicate").tolist() == [0, 0, 0, 1, 2, 3]
    assert shift_images(torch.rand(2, 1, 4, 4, 4), (1, 0, -1), (4, 4, 4)).shape == (2, 1, 4, 4, 4)


def test_it_moves_by_whole_pixels():
    assert shift_in_cells((1, -1), (7, 3), (30, 10)) == pytest.approx((4 * 7 / 30, -3 * 3 / 10))


def test_all_shifts():
    shifts = square_of_shifts(2, 3)
    assert shifts[0] == (0, 0, 0)
    assert len(set(shifts)) == 125
    assert {abs(by) for shift in shifts for by in shift} == {0, 1, 2}


@pytest.mark.parametrize(
    ("positions", "shifts"),
    [
        ((5, 4), square_of_shifts(1)),
        ((4, 5), CROSS),
        ((6,), [(0,), (1,), (-2,)]),
        ((5, 5), [(0, 0), (0.5, 0), (0, -0.25), (-1, 1.5)]),
    ],
)
def test_split_as_in_the_replica(positions, shifts):
    maps = torch.randn(len(shifts), 2, *positions, dtype=torch.float64)
    moving, fixed = split_shifted_maps(maps, shifts)
    for example in range(2):
        expected = replicas.moving_and_fixed(maps[:, example].numpy(), shifts)
        np.testing.assert_allclose(moving[example], expected[0], atol=1e-8)
        np.testing.assert_allclose(fixed[example], expected[1], atol=1e-8)


def test_what_moves_and_what_stays_are_found():
    """What comes in at the border is left out, so anything may come in."""
    moving, fixed = torch.randn(1, 6, 6), torch.randn(1, 6, 6)
    maps = torch.stack([moving.roll(shift, (1, 2)) + fixed for shift in CROSS])
    found, stayed = split_shifted_maps(maps, CROSS)
    torch.testing.assert_close(stayed, fixed - fixed.mean(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found, moving + fixed.mean(), atol=1e-5, rtol=0)


def test_what_is_drawn_on_every_map_is_fixed():
    maps, drawn = torch.randn(9, 3, 5, 5), torch.randn(5, 5)
    before, after = (split_shifted_maps(each, square_of_shifts(1)) for each in (maps, maps + drawn))
    torch.testing.assert_close(after[0], before[0] + drawn.mean(), atol=1e-5, rtol=0)
    torch.testing.assert_close(after[1], before[1] + drawn - drawn.mean(), atol=1e-5, rtol=0)


def test_differentiable():
    maps = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda maps: split_shifted_maps(maps, [(0, 0), (1, 0), (0, 1)]), maps)


def test_errors():
    with pytest.raises(ValueError, match=r"padding: got 'zeros'; allowed are 'reflect', 'replicate', 'circular'"):
        shift_images(torch.rand(1, 1, 4, 4), (0, 1), (2, 2), "zeros")
    with pytest.raises(ValueError, match=r"shift: got \(1,\) for a grid of \(2, 2\); allowed is a number for each"):
        shift_images(torch.rand(1, 1, 4, 4), (1,), (2, 2))
    with pytest.raises(ValueError, match=r"shift: got \(0, 2\), which moves the image out of sight; allowed is less"):
        shift_images(torch.rand(1, 1, 4, 4), (0, 2), (2, 2))
    for shifts in ([(0, 0)], [(0, 0), (2, 0), (0, 2)], [(0, 0), (1, 0)]):
        with pytest.raises(ValueError, match=r"shifts: got .* do not tell what moves from what stays; allowed are"):
            split_shifted_maps(torch.randn(len(shifts), 1, 5, 5), shifts)
