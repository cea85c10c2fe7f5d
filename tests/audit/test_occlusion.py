"""Occlusion maps with random windows: what the windows cover, what hides them, and what the maps show."""

from __future__ import annotations

import pytest
import torch

from captum_diffcam.audit.occlusion import random_window_occlusion


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def additive(weights):
    """A score that is a sum over pixels."""
    return lambda images, originals: (images * weights).flatten(1).sum(dim=1)


def occlusion_maps(images, grid, *, score, fills=("mean",), seed=0):
    return occlusions(images, grid, score=score, fills=fills, seed=seed).maps()[:, 0]


def occlusions(images, grid, *, score, fills=("mean",), seed=0, tilings=1):
    clean_scores = score(images, torch.arange(len(images)))
    others = {"clean_scores": clean_scores, "other_images": images, "fills": fills}
    return random_window_occlusion(score, images, grid, generator(seed), tilings=tilings, **others)


def occluded_images(images, *, fills, other_images=None, seed=0):
    """The occluded images, as the score gets them, and the index of the original of each."""
    calls = []

    def score(occluded, originals):
        calls.append((occluded.clone(), originals))
        return torch.zeros(len(occluded))

    others = images if other_images is None else other_images
    zeros, grid = torch.zeros(len(images)), images.shape[2:]
    keywords = {"clean_scores": zeros, "other_images": others, "fills": fills}
    random_window_occlusion(score, images, grid, generator(seed), tilings=1, **keywords)
    occluded, originals = (torch.cat(parts) for parts in zip(*calls, strict=True))
    return occluded, originals


@pytest.mark.parametrize(("size", "grid"), [((12,), (4,)), ((12, 18), (4, 6)), ((4, 6, 8), (2, 3, 4))])
def test_cells_sum_to_the_fall_when_everything_is_hidden(size, grid):
    """Windows cover the image once, and the score is additive."""
    images = torch.rand(3, 2, *size)
    score = additive(torch.rand(2, *size))
    maps = occlusion_maps(images, grid, score=score)
    mean_colour = images.flatten(2).mean(dim=2).reshape(3, 2, *[1] * len(size)).expand_as(images)
    assert maps.shape == (3, *grid)
    expected = score(images, None) - score(mean_colour, None)
    torch.testing.assert_close(maps.flatten(1).sum(dim=1), expected, atol=1e-3, rtol=1e-4)


def test_maps_show_where_the_evidence_is():
    images = torch.zeros(1, 3, 28, 28)
    images[0, 0, 4:12, 16:24] = 1.0
    score = additive(torch.ones(3, 28, 28))
    maps = sum(occlusion_maps(images, (7, 7), score=score, seed=seed)[0] for seed in range(20))
    truth = torch.zeros(7, 7)
    truth[1:3, 4:6] = 1.0
    assert torch.corrcoef(torch.stack([maps.flatten(), truth.flatten()]))[0, 1] > 0.45


def test_each_image_has_twelve_windows_of_its_own():
    images = torch.rand(10, 3, 20, 20)
    occluded, originals = occluded_images(images, fills=("other",), other_images=2 + images)
    assert torch.bincount(originals).tolist() == [12] * 10
    windows = (occluded != images[originals]).any(dim=1)
    assert len({tuple(window.flatten().tolist()) for window in windows}) > 50
    assert torch.equal(windows.reshape(10, 12, 20, 20).sum(dim=1), torch.ones(10, 20, 20, dtype=torch.long))


def test_windows_are_three_by_four_of_random_sizes():
    """No window is longer than three times another of its image; the lengths vary, so nobody knows them in advance."""
    images = torch.rand(40, 1, 120, 120)
    occluded, originals = occluded_images(images, fills=("mean",))
    windows = (occluded != images[originals]).any(dim=1)
    counts, shares = set(), []
    for index in range(40):
        by_dimension = [
            {tuple(line.nonzero()[[0, -1], 0].tolist()) for line in windows[originals == index].any(dim=d)}
            for d in (2, 1)
        ]
        counts.add(tuple(map(len, by_dimension)))
        for intervals in by_dimension:
            lengths = [last + 1 - first for first, last in intervals]
            assert sum(lengths) == 120
            assert max(lengths) <= 3 * (min(lengths) + 1)
            shares += [length * len(lengths) / 120 for length in lengths]
    assert counts == {(3, 4), (4, 3)}
    assert min(shares) < 0.65
    assert max(shares) > 1.4


@pytest.mark.parametrize(("size", "count"), [((24,), 12), ((6, 6, 6), 8)])
def test_number_of_windows_in_other_dimensions(size, count):
    _, originals = occluded_images(torch.rand(3, 1, *size), fills=("mean",))
    assert torch.bincount(originals).tolist() == [count] * 3


def test_the_mean_fill_is_the_mean_colour():
    images = torch.rand(2, 3, 16, 16)
    occluded, originals = occluded_images(images, fills=("mean",))
    hidden = (occluded != images[originals]).any(dim=1, keepdim=True)
    expected = images.mean(dim=(2, 3), keepdim=True).expand_as(images)[originals]
    torch.testing.assert_close(occluded, torch.where(hidden, expected, images[originals]))


def test_the_blur_fill_has_four_by_four_pixels_of_detail():
    images = torch.rand(2, 3, 16, 16)
    occluded, originals = occluded_images(images, fills=("blur",))
    hidden = (occluded != images[originals]).any(dim=1, keepdim=True)
    reduced = images.reshape(2, 3, 4, 4, 4, 4).mean(dim=(3, 5))
    expected = torch.nn.functional.interpolate(reduced, size=(16, 16), mode="bilinear")[originals]
    torch.testing.assert_close(occluded, torch.where(hidden, expected, images[originals]))


def test_the_other_fill_is_flipped_and_shifted_in_every_way():
    """The fill of a window is a random image, flipped along any of its dimensions and shifted circularly."""
    side = 8
    others = (1 + torch.arange(2.0 * side * side)).reshape(2, 1, side, side)
    occluded, _ = occluded_images(torch.zeros(60, 1, side, side), fills=("other",), other_images=others)
    flips, shifts, chosen = set(), set(), set()
    for image in occluded[:, 0]:
        row, column = image.nonzero()[0].tolist()
        # Values are unique, so one pixel tells the image, and for each flip the shift.
        other = int(image[row, column] > side * side)
        candidates = []
        for flip in ((), (0,), (1,), (0, 1)):
            flipped = others[other, 0].flip(flip)
            source_row, source_column = (flipped == image[row, column]).nonzero()[0].tolist()
            shift = ((row - source_row) % side, (column - source_column) % side)
            if torch.equal(torch.where(image != 0, flipped.roll(shift, (0, 1)), 0), image):
                candidates.append((flip, shift))
        assert candidates
        chosen.add(other)
        if len(candidates) == 1:  # a narrow window may fit several flips
            flips.add(candidates[0][0])
            shifts.add(candidates[0][1])
    assert flips == {(), (0,), (1,), (0, 1)}
    assert chosen == {0, 1}
    assert {shift[0] for shift in shifts} == {shift[1] for shift in shifts} == set(range(side))


def test_every_fill_is_used():
    images = torch.rand(4, 3, 16, 16)
    others = 5 + torch.rand(1, 3, 16, 16)
    occluded, originals = occluded_images(images, fills=("mean", "blur", "other"), other_images=others)
    changed = (occluded != images[originals]).any(dim=1)
    values = [image[:, window] for image, window in zip(occluded, changed, strict=True)]
    of_others = [bool((value > 4).all()) for value in values]
    constant = [bool((value.amax(dim=1) - value.amin(dim=1) < 1e-6).all()) for value in values]
    assert 0 < sum(of_others) < len(values)
    assert 0 < sum(constant) < len(values) - sum(of_others)


def test_scores_that_are_not_finite_count_as_no_fall():
    images = torch.rand(2, 3, 8, 8)

    def infinite(occluded, originals):
        return torch.full((len(occluded),), torch.inf)

    found = random_window_occlusion(
        infinite, images, (2, 2), generator(), tilings=2, clean_scores=torch.zeros(2), other_images=images
    )
    assert not found.falls.any()


def test_a_seed_gives_the_same_maps():
    images, score = torch.rand(2, 3, 12, 12), additive(torch.rand(3, 12, 12))
    first, again, other = (occlusion_maps(images, (4, 4), score=score, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_tilings_cover_every_cell_once_and_falls_are_those_of_their_windows():
    """The score is additive and the fill constant, so a fall is the sum of the hidden pixels less the fill."""
    images, weights = torch.rand(2, 1, 12, 12), torch.ones(1, 12, 12)
    found = occlusions(images, (12, 12), score=additive(weights), tilings=3)
    assert found.covers.shape == (2, 3, 12, 12, 12)
    torch.testing.assert_close(found.covers.sum(dim=2), torch.ones(2, 3, 12, 12))
    above_mean = images[:, 0] - images.mean(dim=(1, 2, 3))[:, None, None]
    expected = torch.einsum("ntkij,nij->ntk", found.covers, above_mean)
    torch.testing.assert_close(found.falls, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.per_cell(), expected / found.covers.sum(dim=(3, 4)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(3, 3), (3, 5), (2, 9)])
def test_windows_of_small_images_have_at_least_a_pixel(size):
    found = occlusions(torch.rand(30, 1, *size), size, score=additive(torch.ones(1, *size)), tilings=2)
    assert found.covers.flatten(3).sum(dim=3).min() >= 0.999
