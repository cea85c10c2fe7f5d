"""The tests of the audit: against replicas in float64, and against what p-values mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import replicas
import torch
from scipy import stats

from captum_diffcam.audit import EXCESS_LIMIT
from captum_diffcam.audit.statistics import equivariance, evaluate_method, excess, permutation_p

SHIFTS = [(1, 2), (-2, 1), (2, -2), (0, 2)] * 6


def random_maps(count, seed, size=(5, 5)):
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(seed))


def noisy_pair(truth, noise, seed):
    """Two occlusion maps of each image: the truth with independent noise."""
    return torch.stack([truth + noise * random_maps(len(truth), 2 * seed + i, truth.shape[1:]) for i in range(2)])


def shifted(maps, shifts):
    return torch.stack([single.roll(shift, (0, 1)) for single, shift in zip(maps, shifts, strict=True)])


def evaluate(maps, occlusion_maps, shifted_maps=None):
    shifts = SHIFTS[: len(maps)]
    moved = shifted(maps, shifts) if shifted_maps is None else shifted_maps
    return evaluate_method(maps, moved, occlusion_maps, shifts, torch.Generator().manual_seed(3))


class TestExcess:
    @pytest.mark.parametrize("static", [0.0, 0.5, 2.0])
    def test_value_and_error_match_the_replica(self, static):
        truth = random_maps(7, 0)
        maps = truth + static * torch.arange(25.0).reshape(5, 5) / 12 + 0.3 * random_maps(7, 1)
        occlusion_maps = noisy_pair(truth, 0.8, 2)
        result = excess(maps, occlusion_maps)
        value, error = replicas.excess(maps.flatten(1).numpy(), occlusion_maps.flatten(2).numpy())
        assert result.value == pytest.approx(value, abs=1e-6)
        assert result.value_error == pytest.approx(error, abs=1e-6)
        assert result.value == pytest.approx(result.common - result.shared - result.own)

    def test_reliability_is_the_mean_correlation_with_its_jackknife_error(self):
        pair = noisy_pair(random_maps(7, 0), 0.8, 2)
        correlations = np.array([np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(*pair, strict=True)])
        result = excess(random_maps(7, 1), pair)
        assert result.reliability == pytest.approx(correlations.mean(), abs=1e-6)
        # The jackknife error of a mean is its standard error.
        assert result.reliability_error == pytest.approx(stats.sem(correlations), abs=1e-6)

    def test_noise_of_the_occlusion_maps_is_corrected_for(self):
        truth = random_maps(200, 3)
        maps = truth + torch.eye(5)
        precise, noisy = (excess(maps, noisy_pair(truth, noise, 4)).value for noise in (0.1, 2.0))
        assert noisy == pytest.approx(precise, abs=0.08)

    def test_a_low_reliability_is_limited_to_one_percent(self):
        """Opposite occlusion maps have the reliability -1, so the agreement is divided by a tenth."""
        truth = random_maps(9, 5)
        pair = torch.stack([truth, -0.5 * truth + 0.1 * random_maps(9, 6)])
        maps = random_maps(9, 7)
        units = [(m.flatten(1) - m.flatten(1).mean(1, keepdim=True)).double() for m in (maps, *pair)]
        units = [unit / unit.norm(dim=1, keepdim=True) for unit in units]
        agreement = (units[1] + units[2]) / 2 @ units[0].T
        others = (agreement.sum() - agreement.trace()) / (9 * 8)
        assert excess(maps, pair).own == pytest.approx(((agreement.trace() / 9 - others) / 0.1).item(), abs=1e-6)

    def test_hoax_and_clean_maps(self):
        truth = random_maps(24, 5)
        occlusion_maps = noisy_pair(truth, 0.5, 6)
        hoax = torch.eye(5) + 0.05 * truth
        assert excess(hoax, occlusion_maps).value > 0.7
        assert excess(truth, occlusion_maps).value < -0.7
        # Maps that are alike because predictions depend on the same cells of every image.
        alike = torch.eye(5) + 0.1 * truth
        assert excess(alike, noisy_pair(alike, 0.05, 7)).value < 0.1

    def test_scale_and_level_of_maps_do_not_matter(self):
        truth = random_maps(9, 8)
        pair = noisy_pair(truth, 0.5, 9)
        assert excess(1e-9 * truth + 5e-9, 1e6 * pair).value == pytest.approx(excess(truth, pair).value, abs=1e-5)

    @pytest.mark.parametrize("rounding", [0.0, 1e-6])
    def test_constant_maps_have_none(self, rounding):
        """Variation of a millionth is rounding."""
        maps = 1 + rounding * random_maps(9, 1)
        assert excess(maps, noisy_pair(random_maps(9, 8), 0.5, 9)).value == 0

    def test_small_variation_counts(self):
        truth = random_maps(9, 8)
        pair = noisy_pair(truth, 0.5, 9)
        assert excess(1 + 3e-5 * truth, pair).value == pytest.approx(excess(truth, pair).value, abs=0.02)


class TestEquivariance:
    def test_by_hand(self):
        """The correlation with the shifted map minus that with the unshifted one, over the cells that both have."""
        old = random_maps(3, 0, (6, 7))
        shifts = [(1, 2), (-2, 0), (0, -1)]
        moving, static = equivariance(shifted(old, shifts), old, shifts), equivariance(old, old, shifts)
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


class TestPermutations:
    @pytest.mark.parametrize("kind", ["random", "constant", "hoax", "shuffled"])
    def test_p_values_are_uniform_for_maps_that_do_not_depend_on_the_image(self, kind):
        """Whatever the shape of the map: 120 batches of ten images, Kolmogorov-Smirnov test."""
        p_values = []
        for seed in range(120):
            truth = random_maps(10, seed) + torch.arange(5.0)
            maps = {
                "random": random_maps(10, 1000 + seed),
                "constant": torch.ones(10, 5, 5),
                "hoax": torch.eye(5).expand(10, 5, 5),
                "shuffled": truth[torch.randperm(10, generator=torch.Generator().manual_seed(seed))],
            }[kind]
            p_values.append(permutation_p(maps, noisy_pair(truth, 1.0, seed), torch.Generator().manual_seed(seed)))
        assert stats.kstest(p_values, "uniform").pvalue > 0.01

    def test_against_scipy(self):
        truth = random_maps(8, 0)
        maps, pair = 0.1 * truth + random_maps(8, 1), noisy_pair(truth, 1.0, 2)
        units = [m.flatten(1) - m.flatten(1).mean(dim=1, keepdim=True) for m in (maps, *pair)]
        units = [(unit / unit.norm(dim=1, keepdim=True)).numpy() for unit in units]
        agreement = (units[1] + units[2]) @ units[0].T

        def statistic(order):
            return agreement[np.arange(8), order.astype(int)].sum()

        exact = stats.permutation_test(
            (np.arange(8),), statistic, permutation_type="pairings", n_resamples=np.inf, alternative="greater"
        )
        assert 0.01 < exact.pvalue < 0.5
        # Three standard errors of 2000 permutations.
        error = math.sqrt(exact.pvalue * (1 - exact.pvalue) / 2000)
        assert permutation_p(maps, pair, torch.Generator().manual_seed(0)) == pytest.approx(exact.pvalue, abs=3 * error)

    def test_two_thousand_permutations(self):
        """The smallest p-values are random numbers below one in 2001."""
        maps = random_maps(12, 0)
        pair = maps.expand(2, -1, -1, -1)
        p_values = [permutation_p(maps, pair, torch.Generator().manual_seed(seed)) for seed in range(30)]
        assert 0.9 / 2001 < max(p_values) <= 1 / 2001


class TestEvidence:
    @pytest.fixture
    def truth(self):
        return random_maps(24, 0, (7, 7))

    def test_clean_maps(self, truth):
        evidence = evaluate(truth + 0.3, noisy_pair(truth, 0.5, 1))
        assert evidence.occlusion_is_reliable
        assert max(evidence.p_not_excessive, evidence.p_equivariant, evidence.p_own_image) < 0.001
        assert min(evidence.p_excessive, evidence.p_static) > 0.99
        assert evidence.images == 24

    def test_hoax_maps(self, truth):
        hoax = torch.eye(7) * 5 + 0.3 * truth
        evidence = evaluate(hoax, noisy_pair(truth, 0.5, 1), shifted_maps=hoax)
        assert max(evidence.p_excessive, evidence.p_static) < 0.001
        assert min(evidence.p_not_excessive, evidence.p_equivariant) > 0.99

    def test_p_values_are_those_of_t_tests(self, truth):
        """The excess against 0.3, the equivariance against 0; both one-sided, with 23 degrees of freedom."""
        maps = truth + 1.2 * torch.eye(7)
        moved = shifted(maps, SHIFTS) + 4 * random_maps(24, 9, (7, 7))
        pair = noisy_pair(truth, 0.5, 1)
        evidence = evaluate(maps, pair, shifted_maps=moved)
        value, error = replicas.excess(maps.flatten(1).double().numpy(), pair.flatten(2).double().numpy())
        expected = stats.t.sf((value - 0.3) / error, 23)
        assert evidence.p_excessive == pytest.approx(expected, rel=1e-4)
        assert evidence.p_not_excessive == pytest.approx(1 - expected, rel=1e-4)
        moves = equivariance(moved, maps, SHIFTS).numpy()
        assert evidence.equivariance == pytest.approx(moves.mean())
        assert evidence.equivariance_error == pytest.approx(stats.sem(moves))
        assert evidence.p_equivariant == pytest.approx(stats.ttest_1samp(moves, 0, alternative="greater").pvalue)
        assert evidence.p_static == pytest.approx(stats.ttest_1samp(moves, 0, alternative="less").pvalue)

    def test_the_limit_lies_between_clean_and_manipulated_models(self):
        assert EXCESS_LIMIT == 0.3

    def test_values_without_any_error_are_certain(self):
        """Four identical images have the same equivariance; constant maps have none."""
        maps = torch.arange(49.0).reshape(1, 7, 7).expand(4, 7, 7).clone()
        maps[:, 2, 2] = 60.0
        pair = noisy_pair(random_maps(4, 0, (7, 7)), 0.5, 1)
        evidence = evaluate_method(maps, maps.roll(2, 2), pair, [(0, 2)] * 4, torch.Generator())
        assert evidence.equivariance_error == 0
        assert evidence.equivariance > 0
        assert (evidence.p_equivariant, evidence.p_static) == (0.0, 1.0)
        constant = evaluate(torch.ones(24, 7, 7), noisy_pair(random_maps(24, 0, (7, 7)), 0.5, 1))
        assert (constant.p_equivariant, constant.p_static) == (0.5, 0.5)

    def test_unreliable_occlusion_maps_allow_no_tests_of_the_excess(self, truth):
        evidence = evaluate(truth, noisy_pair(truth, 100.0, 1))
        assert not evidence.occlusion_is_reliable
        assert all(map(math.isnan, (evidence.p_excessive, evidence.p_not_excessive, evidence.p_own_image)))
        assert evidence.p_equivariant < 0.001

    @pytest.mark.parametrize(("reliability", "reliable"), [(0.21, True), (0.19, False)])
    def test_reliable_means_two_standard_errors_above_zero(self, truth, reliability, reliable):
        evidence = evaluate(truth, noisy_pair(truth, 0.5, 1))
        changed = evidence.excess._replace(reliability=reliability, reliability_error=0.1)
        assert evidence._replace(excess=changed).occlusion_is_reliable == reliable

    @pytest.mark.parametrize("broken", [math.nan, math.inf])
    @pytest.mark.parametrize("which", ["maps", "shifted_maps"])
    def test_maps_that_are_not_finite(self, truth, broken, which):
        changed = truth.clone()
        changed[3, 2, 2] = broken
        maps, moved = (changed, shifted(truth, SHIFTS)) if which == "maps" else (truth, changed)
        evidence = evaluate(maps, noisy_pair(truth, 0.5, 1), shifted_maps=moved)
        assert not evidence.occlusion_is_reliable
        p_values = (evidence.p_excessive, evidence.p_static, evidence.p_not_excessive, evidence.p_equivariant)
        assert all(map(math.isnan, (*p_values, evidence.p_own_image, evidence.equivariance, evidence.excess.value)))

    @pytest.mark.parametrize(("count", "tested"), [(2, False), (3, True)])
    def test_three_images_are_needed(self, truth, count, tested):
        evidence = evaluate(truth[:count], noisy_pair(truth[:count], 0.5, 1))
        assert math.isnan(evidence.p_equivariant) != tested

    def test_the_level_is_kept_at_the_limit(self):
        """t-tests against the true excess, which many batches tell, err no more often than their level."""
        results = []
        for seed in range(200):
            truth = random_maps(16, 10_000 + seed)
            results.append(excess(truth + 3 * torch.eye(5), noisy_pair(truth, 1.0, 20_000 + seed)))
        true_excess = np.mean([result.value for result in results])
        p_values = [stats.t.sf((result.value - true_excess) / result.value_error, 15) for result in results]
        assert np.sum(np.array(p_values) <= 0.05) <= stats.binom.ppf(0.995, 200, 0.05)
