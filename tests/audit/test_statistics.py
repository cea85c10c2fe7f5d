"""The measures of the audit: against replicas in float64, by hand, and against what p-values mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import replicas
import torch
from scipy import stats

from benchmarks.audit.simulated import SCENARIOS, measurements, random_maps, simulated_audits, tilings
from captum_diffcam.audit.occlusion import Occlusions
from captum_diffcam.audit.statistics import (
    Estimate,
    Measurements,
    attenuation,
    corrected_prediction,
    equivariance,
    measure,
)


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def clean():
    """Maps that are right up to noise, of nine images."""
    truth = random_maps(9, generator(0)) + 0.3
    return measurements(truth, truth + 0.5 * random_maps(9, generator(1)), 2)


class TestEstimates:
    def test_p_values_are_those_of_students_t(self):
        estimate = Estimate(0.5, 0.2, 15)
        assert estimate.p_above(0.1) == pytest.approx(stats.t.sf(2.0, 15))
        assert estimate.p_below(0.1) == pytest.approx(stats.t.cdf(2.0, 15))

    def test_the_same_value_for_every_image_is_certain(self):
        assert (Estimate(1.0, 0.0, 3).p_above(0), Estimate(1.0, 0.0, 3).p_above(2)) == (0.0, 1.0)
        assert Estimate(1.0, 0.0, 3).p_above(1) == 0.5


@pytest.fixture(scope="module")
def pair(clean):
    arrays = (clean.maps, clean.occlusions.covers, clean.occlusions.falls)
    return measure(clean).estimates, replicas.audit_measures(*(tensor.double().numpy() for tensor in arrays))


class TestAgainstTheReplica:
    @pytest.mark.parametrize("name", ["agreement", "prediction", "slope", "excess", "deficit", "reliability"])
    def test_values_and_errors(self, pair, name):
        found, (values, errors) = pair[0], pair[1]
        assert found[name].value == pytest.approx(values[name], abs=1e-5)
        assert found[name].error == pytest.approx(errors[name], abs=1e-5)
        assert found[name].degrees == 8

    def test_many_images_are_left_out_in_forty_parts(self):
        truth = random_maps(44, generator(3))
        measures = measure(measurements(truth, truth, 4))
        assert measures.agreement.degrees == 39
        of_images = measures.agreement_of_images.numpy()
        assert measures.agreement.error == pytest.approx(stats.sem(of_images), rel=0.4)


class TestMeasures:
    def test_a_map_that_is_right_predicts_the_falls_however_noisy_they_are(self):
        truth = random_maps(300, generator(5)) + 0.3
        for noise in (0.0, 2.0):
            measures = measure(measurements(truth, truth, 6, noise=noise))
            assert measures.prediction.value == pytest.approx(1.0, abs=0.06)
            assert measures.slope.value == pytest.approx(1.0, abs=0.05)

    def test_slope_is_in_units_of_the_map(self, clean):
        doubled = clean._replace(maps=2 * clean.maps)
        assert measure(doubled).slope.value == pytest.approx(measure(clean).slope.value / 2, rel=1e-4)
        assert measure(doubled).prediction.value == pytest.approx(measure(clean).prediction.value, abs=1e-6)

    def test_maps_of_other_images_do_not_agree(self):
        truth = random_maps(200, generator(7))
        measures = measure(measurements(truth, truth.roll(1, 0), 8))
        assert abs(measures.agreement.value) < 0.1
        assert abs(measures.prediction.value) < 0.15

    def test_a_hoax_has_an_excess_and_a_shared_cause_that_is_not_shown_a_deficit(self):
        truth = random_maps(40, generator(9))
        shared = 3 * random_maps(1, generator(10))
        hoax = measure(measurements(truth, shared + 0.2 * truth, 11))
        assert hoax.excess.value > 0.7
        omitted = measure(measurements(truth + shared, truth, 12))
        assert omitted.deficit.value > 0.5
        shown = measure(measurements(truth + shared, truth + shared, 13))
        assert max(shown.excess.value, shown.deficit.value) < 0.25

    @pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-1, 2)])
    def test_registration_finds_the_shift(self, shift):
        truth = random_maps(60, generator(14)) + 0.3
        measures = measure(measurements(truth, truth.roll(shift, (1, 2)), 15))
        back = tuple(-by for by in shift)
        if any(shift):
            assert measures.best_shift == back
            assert measures.registration.value > 0.12
        else:
            assert measures.registration.value < 0
        assert len(measures.gains) == 24

    @pytest.mark.parametrize("shift", [(1, -2), (0, 2), (-2, -1)])
    def test_gains_by_hand(self, clean, shift):
        """Where a shifted map has no values, those at its border are repeated."""
        covers, falls = (tensor.double().numpy() for tensor in clean.occlusions)
        rows, columns = (np.clip(np.arange(7) - by, 0, 6) for by in shift)
        gains = []
        for image, single in enumerate(clean.maps.double().numpy()):
            areas = covers[image].sum((2, 3)).ravel()
            measured = falls[image].ravel() / areas
            predicted = [
                (covers[image] * its).sum((2, 3)).ravel() / areas for its in (single[np.ix_(rows, columns)], single)
            ]
            better, here = (np.corrcoef(measured, its)[0, 1] for its in predicted)
            gains.append(better - here)
        assert measure(clean).gains[shift].value == pytest.approx(np.mean(gains), abs=1e-5)

    def test_a_reliability_of_zero_counts_as_a_hundredth(self):
        zero, one = torch.tensor(0.0), torch.tensor(1.0)
        assert corrected_prediction(torch.tensor(0.1), zero, one).item() == pytest.approx(1.0)
        assert attenuation(zero).item() == pytest.approx(math.sqrt(0.02 / 1.01))

    def test_scale_and_level_of_maps_do_not_matter(self, clean):
        moved = clean._replace(maps=1e-3 * clean.maps + 2e-3)
        for name in ("agreement", "prediction", "excess", "deficit", "registration"):
            assert measure(moved).estimates[name].value == pytest.approx(measure(clean).estimates[name].value, abs=1e-4)

    @pytest.mark.parametrize("rounding", [0.0, 2e-7])
    def test_constant_maps_show_nothing(self, clean, rounding):
        """Variation of less than a millionth is rounding."""
        measures = measure(clean._replace(maps=1 + rounding * clean.maps))
        assert (measures.agreement.value, measures.excess.value) == (0, 0)

    def test_without_shifted_maps_there_is_no_equivariance(self, clean):
        measures = measure(clean._replace(shifted_maps=None))
        assert math.isnan(measures.equivariance.value)
        assert measures.agreement.value == measure(clean).agreement.value

    def test_one_dimension(self):
        truth = torch.randn(20, 12, generator=generator(0))
        covers = torch.zeros(20, 4, 6, 12)
        for window in range(6):
            covers[:, :2, window, 2 * window : 2 * window + 2] = 1
            covers[:, 2:, window, torch.tensor([2 * window - 1, 2 * window])] = 1
        falls = torch.einsum("ntkc,nc->ntk", covers, truth)
        data = Measurements(truth, truth.roll(2, 1), [(2,)] * 20, Occlusions(covers, falls))
        assert measure(data).prediction.value == pytest.approx(1.0, abs=1e-5)
        assert len(measure(data).gains) == 4


class TestEquivariance:
    def test_by_hand(self):
        """The correlation with the shifted map minus that with the unshifted one, over the cells that both have."""
        old = torch.randn(3, 6, 7, generator=generator(0))
        shifts = [(1, 2), (-2, 0), (0, -1)]
        moved = torch.stack([single.roll(shift, (0, 1)) for single, shift in zip(old, shifts, strict=True)])
        moving, static = equivariance(moved, old, shifts), equivariance(old, old, shifts)
        for index, (down, right) in enumerate(shifts):
            cells = [(r, c) for r in range(6) for c in range(7) if 0 <= r - down < 6 and 0 <= c - right < 7]
            here = np.array([old[index, r, c] for r, c in cells])
            origin = np.array([old[index, r - down, c - right] for r, c in cells])
            expected = 1 - np.corrcoef(here, origin)[0, 1]
            assert moving[index].item() == pytest.approx(expected, abs=1e-5)
            assert static[index].item() == pytest.approx(-expected, abs=1e-5)

    def test_at_least_four_common_cells(self):
        """Three of four cells are common for the first map, four of six for the second."""
        short, long = torch.tensor([[0.0, 3, 1, 2]]), torch.tensor([[0.0, 3, 1, 2, 5, 9]])
        assert equivariance(short[None], short[None], [(0, 1)]).tolist() == [0]
        assert equivariance(long[None], long[None], [(0, 2)]).item() < 0


def test_the_simulated_tilings_cover_every_cell_once():
    assert torch.equal(tilings(3, generator(0)).sum(dim=2), torch.ones(3, 2, 7, 7))


STRENGTHS = {"clean mixture": 0.5, "static border": 1.5, "skewed": 3.0}


@pytest.fixture(scope="module", params=SCENARIOS)
def simulated(request):
    """Measures of 60 audits of 16 images, and those of one of 600."""
    make, strength = SCENARIOS[request.param], STRENGTHS[request.param]
    many = measure(measurements(*make(600, 10_000, strength), 10_001))
    return many, [measure(measurements(*make(16, seed, strength), 5000 + seed)) for seed in range(60)]


@pytest.mark.parametrize("name", ["agreement", "prediction", "excess", "deficit", "equivariance"])
def test_errors_are_those_of_repeated_audits(simulated, name):
    """The jackknife error is about the spread of the estimate from audit to audit, and rather too large."""
    _, audits = simulated
    spread = np.std([its.estimates[name].value for its in audits], ddof=1)
    assert 0.65 * spread < np.median([its.estimates[name].error for its in audits]) < 1.6 * spread


@pytest.mark.parametrize("name", ["agreement", "prediction", "excess", "deficit", "equivariance"])
def test_p_values_hold_approximately(simulated, name):
    """Against the true value, a test at 5 % errs in at most a fifth of audits on either side; at 0.5 % in a tenth.

    With skewed values Student's t is approximate only. All measures have to agree before a verdict is given.
    """
    many, audits = simulated
    true = many.estimates[name].value
    for side in ("p_above", "p_below"):
        p_values = np.array([getattr(its.estimates[name], side)(true) for its in audits])
        assert (p_values <= 0.05).mean() <= 0.2
        assert (p_values <= 0.005).mean() <= 0.1


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_whole_verdict_errs_seldom(scenario):
    """Of maps that just do not deserve it, few are supported or contradicted: all measures must agree."""
    assert sum(row["errors"] for row in simulated_audits(7, 10, [scenario])) <= 3
