"""The report of an audit: what its verdicts follow from, what it says, and what it writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from nets import Spotter, conv_net, images
from scipy import stats
from torch import nn

from benchmarks.audit.simulated import measurements, random_maps
from captum_diffcam.audit import Estimate, audit
from captum_diffcam.audit.report import Evidence, decide
from captum_diffcam.audit.statistics import measure


@pytest.fixture(scope="module")
def clean():
    truth = random_maps(32, torch.Generator().manual_seed(0)) + 0.3
    return measure(measurements(truth, truth, 1))


def result(measures, *, share=1.0, several=True, decidable=True, by_class=None):
    return decide({"a": Evidence(measures, by_class or {}, several, decidable)}, 0.05, share)["a"]


class ConvolutionalSpotter(Spotter):
    """The convolution computes what the average pooling of the other model does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 4, stride=4, bias=False, groups=3)
        nn.init.constant_(self.layer.weight, 1 / 16)


def sure(value):
    return Estimate(value, 0.001, 31)


class TestVerdict:
    def test_clean_maps_are_supported(self, clean):
        assert result(clean).verdict == "supported"
        assert result(clean).causes == []

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("agreement", 0.21, 0.19),
            ("prediction", 0.41, 0.39),
            ("excess", 0.29, 0.31),
            ("deficit", 0.49, 0.51),
            ("equivariance", -0.24, -0.26),
        ],
    )
    def test_each_measure_is_needed_with_its_limit(self, clean, name, good, bad):
        base = clean._replace(prediction=sure(0.55))
        assert result(base._replace(**{name: sure(good)})).verdict == "supported"
        assert result(base._replace(**{name: sure(bad)})).verdict == "undecided"

    @pytest.mark.parametrize(
        ("gain", "error", "verdict"),
        [(-0.1, 0.12, "supported"), (-0.1, 0.14, "undecided"), (0.119, 0.001, "undecided"), (0.0, 0.001, "supported")],
    )
    def test_maps_must_be_in_register(self, clean, gain, error, verdict):
        """Every shift is shown to gain less than 0.12."""
        gains = {shift: sure(-0.2) for shift in clean.gains}
        assert result(clean._replace(gains={**gains, (1, 0): Estimate(gain, error, 31)})).verdict == verdict

    @pytest.mark.parametrize(("p", "verdict"), [(0.31, "supported"), (0.29, "undecided")])
    def test_no_shift_may_look_better(self, clean, p, verdict):
        """The level is 0.3, because a shift by one cell gains little."""
        gains = {shift: sure(-0.1) for shift in clean.gains}
        gain = Estimate(stats.t.isf(p, 31) * 0.01, 0.01, 31)
        assert result(clean._replace(gains={**gains, (1, 0): gain})).verdict == verdict

    @pytest.mark.parametrize(("prediction", "verdict"), [(0.61, "supported"), (0.59, "undecided")])
    def test_a_high_prediction_makes_up_for_shared_parts_and_equivariance(self, clean, prediction, verdict):
        worse = {"excess": sure(0.9), "deficit": sure(0.9), "equivariance": sure(-1.0)}
        assert result(clean._replace(prediction=sure(prediction), **worse)).verdict == verdict

    @pytest.mark.parametrize(("p", "verdict"), [(0.024, "supported"), (0.026, "undecided")])
    def test_two_ways_to_be_right_share_the_level(self, clean, p, verdict):
        """Excess, deficit and equivariance, or a high prediction: each has half of the level."""
        excess = Estimate(0.3 - stats.t.isf(p, 31) * 0.1, 0.1, 31)
        assert result(clean._replace(prediction=sure(0.55), excess=excess)).verdict == verdict

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"prediction": sure(0.24)}, "predict"),
            ({"excess": sure(0.31)}, "common"),
            ({"equivariance": sure(-0.01)}, "move"),
            ({"gains": {(0, 1): sure(0.13), (0, -1): sure(0.0)}}, "shifted"),
        ],
    )
    def test_each_cause_contradicts_maps_that_do_not_agree(self, clean, changes, word):
        low = clean._replace(agreement=sure(0.39), prediction=sure(0.3))
        contradicted = result(low._replace(**changes))
        assert contradicted.verdict == "contradicted"
        (cause,) = contradicted.causes
        assert word in cause
        assert result(low).verdict == "undecided"
        assert result(low._replace(**changes, agreement=sure(0.41))).verdict != "contradicted"

    def test_most_images_of_one_class_do_not_contradict_by_equivariance(self, clean):
        static = clean._replace(agreement=sure(0.3), prediction=sure(0.3), equivariance=sure(-1.0))
        assert result(static, several=False).verdict == "undecided"

    @pytest.mark.parametrize(("reliability", "verdict"), [(0.16, "supported"), (0.14, "undecided")])
    def test_no_verdict_where_occlusion_does_not_agree_with_itself(self, clean, reliability, verdict):
        assert result(clean._replace(reliability=sure(reliability))).verdict == verdict

    def test_no_verdict_without_confidence_or_finite_maps(self, clean):
        assert result(clean, decidable=False).verdict == "undecided"
        assert result(None).verdict == "undecided"
        assert (result(None).p_supported, result(None).p_contradicted) == (1.0, 1.0)

    def test_without_equivariance_only_a_high_prediction_supports(self, clean):
        nan = Estimate(math.nan, math.nan, 0)
        assert result(clean._replace(equivariance=nan)).verdict == "supported"
        assert result(clean._replace(equivariance=nan, prediction=sure(0.5))).verdict == "undecided"

    def test_classes_are_corrected_for_each_other(self, clean):
        """Of three classes one alone has to pass at a third of the level."""
        for p, scope in ((0.016, [0]), (0.018, [])):
            classes = {0: Estimate(0.2 + stats.t.isf(p, 5) * 0.1, 0.1, 5)}
            classes |= {number: Estimate(0.2, 0.1, 5) for number in (1, 2)}
            assert result(clean, by_class=classes).scope == scope

    def test_a_class_that_disagrees_prevents_support(self, clean):
        classes = {0: Estimate(0.7, 0.05, 5), 3: Estimate(-0.3, 0.05, 3)}
        assert result(clean, by_class=classes).verdict == "undecided"
        assert result(clean, by_class=classes).scope == [0]
        assert result(clean, by_class={0: classes[0]}).verdict == "supported"

    def test_a_look_that_may_spend_less_needs_more(self, clean):
        """A p-value of 0.03 is enough for all of alpha, and too much for half of it; so it is with classes."""
        borderline = clean._replace(prediction=Estimate(0.4 + stats.t.isf(0.03, 31) * 0.05, 0.05, 31))
        borderline = borderline._replace(excess=sure(0.0), deficit=sure(0.0), equivariance=sure(0.5))
        classes = {0: Estimate(0.2 + stats.t.isf(0.03, 5) * 0.1, 0.1, 5)}
        for share, verdict, scope in ((1.0, "supported", [0]), (0.5, "undecided", [])):
            found = result(borderline, share=share, by_class=classes)
            assert (found.verdict, found.scope) == (verdict, scope)

    def test_methods_are_corrected_for_each_other(self, clean):
        """Of two p-values both pass at 0.04; alone, the smaller one has to pass at half the level."""

        def with_p(p):
            its = clean._replace(prediction=Estimate(0.4 + stats.t.isf(p, 31) * 0.05, 0.05, 31))
            return Evidence(its._replace(excess=sure(0.0), deficit=sure(0.0), equivariance=sure(0.5)), {}, True, True)

        for pair, verdicts in (
            ((0.04, 0.045), ["supported", "supported"]),
            ((0.04, 0.2), ["undecided", "undecided"]),
            ((0.02, 0.2), ["supported", "undecided"]),
        ):
            found = decide(dict(zip("ab", map(with_p, pair), strict=True)), 0.05, 1.0)
            assert [its.verdict for its in found.values()] == verdicts

    @pytest.mark.parametrize(("name", "factor"), [("excess", 2), ("prediction", 6), ("equivariance", 6)])
    def test_causes_share_the_level(self, clean, name, factor):
        """The excess has half of it, each other cause a sixth."""
        limit, sign = {"excess": (0.3, 1), "prediction": (0.25, -1), "equivariance": (0.0, -1)}[name]
        low = clean._replace(agreement=sure(0.0), prediction=sure(0.5), excess=sure(0.0), equivariance=sure(0.5))
        for p, verdict in ((0.045 / factor, "contradicted"), (0.055 / factor, "undecided")):
            bad = Estimate(limit + sign * stats.t.isf(p, 31) * 0.1, 0.1, 31)
            assert result(low._replace(**{name: bad})).verdict == verdict

    def test_all_shifts_share_a_sixth_of_the_level(self, clean):
        low = clean._replace(agreement=sure(0.0), prediction=sure(0.5), excess=sure(0.0), equivariance=sure(0.5))
        for p, verdict in ((0.045 / 6 / 24, "contradicted"), (0.055 / 6 / 24, "undecided")):
            gain = Estimate(0.12 + stats.t.isf(p, 31) * 0.1, 0.1, 31)
            gains = {shift: sure(0.0) for shift in clean.gains}
            assert result(low._replace(gains={**gains, (1, 0): gain})).verdict == verdict

    def test_the_unnoticed_share_is_twice_the_exact_bound(self, clean):
        """None of 32 images is estimated to disagree: 1 - 0.05 ** (1 / 32). Of those that do, half may look fine."""
        agreeing = clean._replace(agreement_of_images=torch.ones(32))
        assert result(agreeing).unnoticed_share == pytest.approx(2 * (1 - 0.05 ** (1 / 32)))
        assert result(agreeing._replace(agreement_of_images=-torch.ones(32))).unnoticed_share == 1

    def test_the_unnoticed_share_bounds_the_true_one(self):
        """In 40 audits, 8 of 32 images have maps that have nothing to do with them."""
        bounds = []
        for seed in range(40):
            truth, other = (random_maps(32, torch.Generator().manual_seed(number)) for number in (seed, 900 + seed))
            maps = torch.cat([other[:8], truth[8:]])
            bounds.append(result(measure(measurements(truth, maps, 2000 + seed, noise=1.5))).unnoticed_share)
        assert sum(bound < 0.25 for bound in bounds) <= 4


@pytest.fixture(scope="module")
def report():
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.rand(24, 3, 28, 28, generator=generator)
    for index in range(24):
        row, column = torch.randint(0, 16, (2,), generator=generator).tolist()
        x[index, index % 3, row : row + 12, column : column + 12] += 0.8
    return audit(ConvolutionalSpotter().eval(), x, seed=0, class_names=["cat", "dog", "hen"])


class TestReport:
    def test_the_verdict_of_all_methods(self, report, clean):
        good, bad = result(clean), result(None)
        wrong = result(clean._replace(agreement=sure(0.0), excess=sure(0.9), prediction=sure(0.0)))
        for results, verdict in (
            ([good, good], "supported"),
            ([wrong, wrong], "contradicted"),
            ([bad, bad], "undecided"),
            ([good, wrong], "mixed"),
            ([good, bad], "mixed"),
        ):
            changed = replace(report, by_method=dict(zip("ab", results, strict=True)))
            assert changed.verdict == verdict
        assert replace(report, by_method={"a": good, "b": wrong}).supported == ["a"]

    def test_three_lines_and_a_text_without_accusations(self, report):
        assert len(repr(report).splitlines()) == 3
        assert "manipul" not in str(report) + repr(report)
        assert all(name in str(report) for name in report.by_method)
        assert "cat (" in str(report)

    def test_advice_for_gradients_that_vary(self, report, clean):
        wrong = result(clean._replace(agreement=sure(0.0), excess=sure(0.9), prediction=sure(0.0)))
        varying = replace(report, by_method={"a": wrong}, gradients_vary=True)
        assert any("LayerDiffHiResCam" in sentence for sentence in varying.advice)
        uniform = replace(varying, gradients_vary=False)
        assert not any("LayerDiffHiResCam" in sentence for sentence in uniform.advice)

    def test_more_images_are_advised_where_they_may_decide(self, report, clean):
        for decidable in (True, False):
            undecided = result(clean._replace(prediction=sure(0.3)), decidable=decidable)
            advice = replace(report, by_method={"a": undecided}).advice
            assert any("More images" in sentence for sentence in advice) == decidable

    def test_advice_for_a_term_common_to_all_logits(self, report, clean):
        wrong = result(clean._replace(agreement=sure(0.0), excess=sure(0.9), prediction=sure(0.0)))
        advice = replace(report, by_method={"a": wrong, "b": result(clean)}).advice
        assert any("common to all logits" in sentence for sentence in advice)

    @pytest.mark.parametrize("which", ["worst", "typical"])
    def test_figures(self, report, which):
        figure = report.figure(which, 2)
        axes = [ax for ax in figure.axes if ax.get_title()]
        assert which in axes[0].get_title()
        lowest = torch.stack(list(report.agreement.values())).amin(dim=0)
        chosen = lowest.argmin() if which == "worst" else (lowest - lowest.median()).abs().argmin()
        assert report.class_names[report.target[chosen]] in axes[0].get_title()

    def test_a_folder_with_a_page_and_json(self, report, tmp_path):
        page = report.save(tmp_path / "new")
        text = page.read_text()
        assert text.count("<img") == 2 * 3 * 5
        assert "Typical" in text
        assert "Worst" in text
        record = json.loads((tmp_path / "new" / "audit.json").read_text())
        assert record["verdict"] == report.verdict
        assert set(record["methods"]) == set(report.by_method)
        assert record["methods"]["LayerDiffGradCam()"]["estimates"]["agreement"]["value"] == pytest.approx(
            report.by_method["LayerDiffGradCam()"].measures.agreement.value
        )

    def test_images_with_many_channels(self, report):
        assert replace(report, images=report.images.repeat(1, 2, 1, 1)).figure().axes

    def test_maps_of_one_dimension(self, tmp_path):
        net = conv_net(dims=1)
        report = audit(net, images(examples=16, dims=1, size=12), layer=net.features, seed=0)
        with pytest.raises(ValueError, match="maps"):
            report.figure()
        assert "<img" not in report.save(tmp_path).read_text()

    @pytest.mark.parametrize("arguments", [{"which": "best"}, {"count": 0}, {"count": 1.5}])
    def test_bad_arguments(self, report, arguments):
        (name,) = arguments
        with pytest.raises((TypeError, ValueError), match=name):
            report.figure(**arguments)
