"""The statistics of the audit: against replicas, and p-values that are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import replicas
import torch
from scipy import stats

from captum_diffcam.audit.statistics import excess, moves_along, permutation_p, t_tail, unit_maps


def noisy(truth, noise, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([truth + noise * torch.randn(truth.shape, generator=generator) for _ in range(2)])


def random_maps(count, seed, size=(5, 5)):
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("static", [0.0, 0.5, 2.0])
def test_the_excess_and_its_error(static):
    truth = random_maps(7, 0)
    maps = truth + static * torch.arange(25.0).reshape(5, 5) / 12 + 0.3 * random_maps(7, 1)
    witnesses = noisy(truth, 0.8, 2)
    found = excess(maps, witnesses)
    value, error = replicas.excess(maps.flatten(1).numpy(), witnesses.flatten(2).numpy())
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.value_error == pytest.approx(error, abs=1e-6)
    assert found.value == pytest.approx(found.common - found.shared - found.own)


def test_the_noise_of_the_witness_moves_it_little():
    """An honest map stays one when the witness has few windows."""
    truth = random_maps(200, 3)
    maps = truth + torch.eye(5)
    clear, vague = (excess(maps, noisy(truth, noise, 4)).value for noise in (0.1, 2.0))
    assert vague == pytest.approx(clear, abs=0.08)


def test_what_a_hoax_and_an_honest_map_have():
    truth = random_maps(24, 5)
    witnesses = noisy(truth, 0.5, 6)
    hoax = torch.eye(5) + 0.05 * truth
    assert excess(hoax, witnesses).value > 0.7
    assert excess(truth, witnesses).value < -0.7
    # A map that is honest, and the same on all images because the evidence is.
    same = torch.eye(5) + 0.1 * truth
    assert excess(same, noisy(same, 0.05, 7)).value < 0.1


def test_maps_without_a_scale():
    truth = random_maps(9, 8)
    witnesses = noisy(truth, 0.5, 9)
    assert excess(1e-9 * truth + 5e-9, 1e6 * witnesses).value == pytest.approx(excess(truth, witnesses).value, abs=1e-5)
    assert not unit_maps(torch.ones(2, 3, 3)).any()
    assert excess(torch.ones(9, 5, 5), witnesses).value == 0


@pytest.mark.parametrize("kind", ["random", "constant", "hoax", "shuffled"])
def test_maps_that_know_nothing_have_uniform_p_values(kind):
    """Whatever the shape of the map: 120 batches of ten images, Kolmogorov and Smirnov's test."""
    found = []
    for seed in range(120):
        truth = random_maps(10, seed) + torch.arange(5.0)
        maps = {
            "random": random_maps(10, 1000 + seed),
            "constant": torch.ones(10, 5, 5),
            "hoax": torch.eye(5).expand(10, 5, 5),
            "shuffled": truth[torch.randperm(10, generator=torch.Generator().manual_seed(seed))],
        }[kind]
        generator = torch.Generator().manual_seed(seed)
        found.append(permutation_p(maps, noisy(truth, 1.0, seed), generator, draws=200))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_maps_that_know_their_image_have_small_p_values():
    truth = random_maps(10, 0)
    assert permutation_p(truth + random_maps(10, 1), noisy(truth, 1.0, 2), torch.Generator()) < 0.01


def test_at_the_limit_the_error_is_held():
    """t-tests against the excess that there is, which many batches tell, are wrong no more often than they say."""
    found = []
    for seed in range(200):
        truth = random_maps(16, 10_000 + seed)
        found.append(excess(truth + 3 * torch.eye(5), noisy(truth, 1.0, 20_000 + seed)))
    limit = np.mean([each.value for each in found])
    wrong = sum(t_tail((each.value - limit) / each.value_error, 15) <= 0.05 for each in found)
    assert wrong <= stats.binom.ppf(0.995, 200, 0.05)


def test_maps_that_move_and_maps_that_stay():
    old = random_maps(3, 0, (6, 7))
    shifts = [(1, 2), (-2, 0), (0, -1)]
    moved = torch.stack([each.roll(shift, (0, 1)) for each, shift in zip(old, shifts, strict=True)])
    along, stayed = moves_along(moved, old, shifts), moves_along(old, old, shifts)
    for index, (down, right) in enumerate(shifts):
        seen = [(r, c) for r in range(6) for c in range(7) if 0 <= r - down < 6 and 0 <= c - right < 7]
        here = np.array([old[index, r, c] for r, c in seen])
        origin = np.array([old[index, r - down, c - right] for r, c in seen])
        expected = 1 - np.corrcoef(here, origin)[0, 1]
        assert along[index].item() == pytest.approx(expected, abs=1e-5)
        assert stayed[index].item() == pytest.approx(-expected, abs=1e-5)


def test_too_few_cells_in_common():
    assert moves_along(torch.eye(2)[None], torch.eye(2)[None], [(1, 0)]).tolist() == [0]


@pytest.mark.parametrize("degrees", [1, 2, 7, 31, 200])
@pytest.mark.parametrize("t", [-3.0, 0.0, 0.5, 2.0, 6.0])
def test_students_t(t, degrees):
    assert t_tail(t, degrees) == pytest.approx(stats.t.sf(t, degrees), rel=1e-4, abs=1e-9)


def test_students_t_at_its_ends():
    assert t_tail(float("inf"), 5) == 0
    assert np.isnan(t_tail(float("nan"), 5))
    assert np.isnan(t_tail(1.0, 0))
