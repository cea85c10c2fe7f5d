"""Evidence of one method: which conclusions it allows, and how many images would allow them."""

from __future__ import annotations

import math

import pytest
import torch

from captum_diffcam.audit.evidence import Evidence, evaluate_method, images_that_would_do

SHIFTS = [(1, 2), (-2, 1), (2, -2), (0, 2)] * 6


def gathered(maps, truth, noise=0.5, moved=None, count=24):
    generator = torch.Generator().manual_seed(3)
    witnesses = torch.stack([truth + noise * torch.randn(truth.shape, generator=generator) for _ in range(2)])
    shifts = SHIFTS[:count]
    if moved is None:
        moved = torch.stack([each.roll(shift, (0, 1)) for each, shift in zip(maps, shifts, strict=True)])
    return evaluate_method(maps, moved, witnesses, shifts, generator)


@pytest.fixture
def truth():
    return torch.randn(24, 7, 7, generator=torch.Generator().manual_seed(0))


def test_an_honest_map(truth):
    found = gathered(truth + 0.3, truth)
    assert found.witnessed
    assert max(found.p_moderate, found.p_moves, found.p_own) < 0.001
    assert min(found.p_excessive, found.p_stays) > 0.99
    assert found.images == 24


def test_a_hoax(truth):
    hoax = torch.eye(7) * 5 + 0.3 * truth
    found = gathered(hoax, truth, moved=hoax)
    assert max(found.p_excessive, found.p_stays) < 0.001
    assert min(found.p_moderate, found.p_moves) > 0.99


def test_a_witness_that_does_not_agree_with_itself(truth):
    found = gathered(truth, truth, noise=100.0)
    assert not found.witnessed
    assert all(map(math.isnan, (found.p_excessive, found.p_moderate, found.p_own)))
    assert found.p_moves < 0.001
    assert images_that_would_do(found._replace(moves=0.0), 0.01, accuse=False) == math.inf


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_maps_that_are_no_numbers(truth, broken):
    maps = truth.clone()
    maps[3, 2, 2] = broken
    found = gathered(maps, truth)
    assert not found.witnessed
    assert all(map(math.isnan, found[4:]))


def test_two_images_are_no_evidence(truth):
    assert all(map(math.isnan, gathered(truth[:2], truth[:2], count=2)[4:]))


def test_how_many_images_would_do(truth):
    """With so many the p-value is where it has to be: errors fall with the root."""
    found = gathered(truth, truth)
    weak = found._replace(moves=0.1, moves_error=0.1)
    needed = images_that_would_do(weak, 0.05, accuse=False)
    # 1.714 is the 95 % point of Student's t with 23 degrees of freedom.
    assert needed == pytest.approx(24 * 1.714**2, rel=0.01)
    assert images_that_would_do(weak, 0.05, accuse=True) == math.inf
    assert images_that_would_do(weak._replace(moves=-0.1), 0.05, accuse=True) == pytest.approx(24 * 1.714**2, rel=0.01)


def test_evidence_is_a_plain_tuple(truth):
    assert isinstance(gathered(truth, truth), Evidence)
