"""Curves, infidelity and sensitivity, by hand and by slow re-derivations."""

from __future__ import annotations

import pytest
import torch
from nets import images

from benchmarks.faithfulness import perturbation
from captum_diffcam import ContrastScore


def test_ranks_go_from_the_highest_down():
    maps = torch.tensor([[[3.0, 9.0], [-1.0, 4.0]]])
    assert perturbation.pixel_ranks(maps, 0).tolist() == [[[2, 0], [3, 1]]]


def test_ties_fall_anywhere_but_the_same_for_all():
    maps = torch.zeros(2, 6, 6)
    maps[:, 5, 5] = 1
    ranks = perturbation.pixel_ranks(maps, 7)
    assert ranks[:, 5, 5].tolist() == [0, 0]
    assert torch.equal(ranks[0], ranks[1])
    assert ranks[0].flatten().sort().values.tolist() == list(range(36))
    assert not torch.equal(ranks, perturbation.pixel_ranks(maps, 8))
    # Not from the upper left corner.
    assert ranks[0].flatten().tolist() != [*range(1, 36), 0]


def brightness(inputs: torch.Tensor) -> torch.Tensor:
    total = inputs.flatten(1).sum(dim=1)
    return torch.stack([total, total - 6], dim=1)


def test_curves_by_hand():
    """Four pixels of one channel; two steps: after a quarter of the pixels, after all."""
    before, after = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.zeros(1, 1, 2, 2)
    ranks = torch.tensor([[[[3, 2], [1, 0]]], [[[0, 1], [2, 3]]]])
    curves = perturbation.replacement_curves(brightness, before, after, ranks, steps=2)
    assert perturbation.shares(2).tolist() == [0, 0.25, 1]
    assert curves[:, 0, :, 0].tolist() == [[10, 6, 0], [10, 9, 0]]
    # Trapezoids: a quarter of the way from 10 to 6, then three quarters from 6 to 0.
    torch.testing.assert_close(perturbation.area(curves)[:, 0, 0], torch.tensor([2 + 2.25, 2.375 + 3.375]))
    # The second score is 6 below: 4, 0, -6 falls below zero at once after a quarter, 4, 3, -6 a third of the way on.
    torch.testing.assert_close(perturbation.crossing(curves[..., 1])[:, 0], torch.tensor([0.25, 0.25 + 0.75 / 3]))


def test_crossing_at_the_ends():
    curves = torch.tensor([[1.0, 2, 3], [-1, 2, 3], [0, 0, 0], [2, -2, 5]])
    torch.testing.assert_close(perturbation.crossing(curves), torch.tensor([1, 0, 1, 0.125]))


def test_replacing_everything_is_the_other_image():
    before, after = images()[:2], torch.zeros_like(images()[:2])
    ranks = torch.stack([perturbation.pixel_ranks(torch.rand(2, 9, 9), seed) for seed in range(3)])
    curves = perturbation.replacement_curves(brightness, before, after, ranks, steps=5)
    back = perturbation.replacement_curves(brightness, after, before, ranks, steps=5)
    assert curves.shape == (3, 2, 6, 2)
    torch.testing.assert_close(curves[:, :, 0], brightness(before).expand(3, -1, -1))
    torch.testing.assert_close(curves[:, :, -1], brightness(after).expand(3, -1, -1))
    # For a sum, what one way removes the other puts in.
    torch.testing.assert_close(curves[..., 0] + back[..., 0], brightness(before)[:, 0][None, :, None].expand(3, 2, 6))


@pytest.mark.filterwarnings("ignore")  # Quantus and what it imports warn a great deal
def test_the_deletion_curve_is_that_of_quantus(net, x):
    quantus = pytest.importorskip("quantus", exc_type=ImportError)
    # On a grid of every pixel, with the score of our choice.
    maps = torch.rand(len(x), *x.shape[2:], generator=torch.Generator().manual_seed(5))
    score, target = ContrastScore(net), torch.tensor([0, 1, 2])
    metric = quantus.RegionPerturbation(
        patch_size=1, regions_evaluation=81, perturb_baseline=0.0, abs=False, normalise=False, display_progressbar=False
    )
    theirs = metric(score, x.numpy(), target.numpy(), maps[:, None].numpy(), softmax=False, device="cpu")

    def ours(inputs):
        return score(inputs).gather(1, target[:, None])

    ranks = perturbation.pixel_ranks(maps, 0)[None]
    curves = perturbation.replacement_curves(ours, x, torch.zeros_like(x), ranks, steps=9)[0, :, :, 0]
    for step in range(1, 10):
        # Theirs is what is lost when step * step of 81 pixels are gone.
        lost = [curve[step * step - 1] for curve in theirs]
        assert (curves[:, 0] - curves[:, step]).tolist() == pytest.approx(lost, abs=1e-5)


def linear_score(weights: torch.Tensor):
    return lambda inputs: (inputs * weights).flatten(1).sum(dim=1)


def test_a_map_that_adds_up_leaves_nothing_unexplained(x):
    weights, blank = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(2)), torch.full((3, 1, 1), 0.3)
    exact = (weights * (x - blank)).sum(dim=1)
    score = linear_score(weights)
    # Whatever its scale; an empty map explains nothing.
    for maps, expected in ((exact, 0.0), (50 * exact, 0.0), (0 * exact, 1.0)):
        found = perturbation.unexplained(score, x, maps, blank, samples=12, seed=3)
        torch.testing.assert_close(found, torch.full((3,), expected), atol=1e-5, rtol=0)


def test_what_is_unexplained_is_what_regression_leaves(net, x):
    """1 minus the squared cosine between what a square holds of the map and what the score loses with it."""
    maps, blank = torch.randn(3, 9, 9, generator=torch.Generator().manual_seed(4)), torch.zeros(3, 1, 1)

    def score(inputs):
        return net(inputs)[:, 2]

    found = perturbation.unexplained(score, x, maps, blank, samples=6, seed=11)
    repeated = x.repeat_interleave(6, dim=0)
    squares = perturbation._squares(repeated, torch.Generator().manual_seed(11))
    with torch.no_grad():
        lost = (score(repeated) - score(torch.where(squares, blank, repeated))).reshape(3, 6).double()
    held = (squares[:, 0] * maps.repeat_interleave(6, dim=0)).sum(dim=(1, 2)).reshape(3, 6).double()
    cosine = torch.nn.functional.cosine_similarity(lost, held)
    torch.testing.assert_close(found.double(), 1 - cosine**2, atol=1e-4, rtol=1e-4)


def test_squares_lie_within_the_image():
    squares = perturbation._squares(torch.zeros(200, 3, 30, 40), torch.Generator().manual_seed(0))[:, 0]
    heights, widths = squares.any(dim=2).sum(dim=1), squares.any(dim=1).sum(dim=1)
    assert torch.equal(squares.sum(dim=(1, 2)), heights * widths)
    assert (heights - widths).abs().max() <= 1
    assert heights.min() >= 5
    assert heights.max() <= 16


def test_sensitivity_is_captums():
    x = images()
    assert perturbation.sensitivity(lambda inputs: torch.ones(len(inputs), 9, 9), x, 4, 0).tolist() == [0, 0, 0]
    state = torch.get_rng_state()
    found = [perturbation.sensitivity(lambda inputs: inputs.mean(dim=1), x, 4, seed) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    # The noise is at most 0.02 in each pixel, so it is no more of the map's norm than that.
    bound = 0.02 * 9 / x.mean(dim=1).flatten(1).norm(dim=1)
    assert (found[0] > 0).all()
    assert (found[0] < bound).all()
