"""The report of an audit: what its verdicts follow from, what it says, and what it writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from nets import Spotter, conv_net, images
from torch import nn

from benchmarks.audit.simulated import measurements, random_maps
from captum_diffcam.audit import Estimate, MethodResult, audit
from captum_diffcam.audit.statistics import measure


@pytest.fixture(scope="module")
def clean():
    truth = random_maps(32, torch.Generator().manual_seed(0)) + 0.3
    return measure(measurements(truth, truth, 1))


def result(measures, *, comparisons=6, several=True, decidable=True, by_class=None):
    return MethodResult(measures, by_class or {}, 0.05, comparisons, several, decidable)


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
            ("excess", 0.34, 0.36),
            ("deficit", 0.49, 0.51),
            ("equivariance", -0.24, -0.26),
        ],
    )
    def test_each_measure_is_needed_with_its_limit(self, clean, name, good, bad):
        base = clean._replace(prediction=sure(0.55))
        assert result(base._replace(**{name: sure(good)})).verdict == "supported"
        assert result(base._replace(**{name: sure(bad)})).verdict == "undecided"

    @pytest.mark.parametrize(("gain", "verdict"), [(0.11, "supported"), (0.13, "undecided")])
    def test_maps_must_be_in_register(self, clean, gain, verdict):
        assert result(clean._replace(gains={**clean.gains, (1, 0): sure(gain)})).verdict == verdict

    @pytest.mark.parametrize(("prediction", "verdict"), [(0.61, "supported"), (0.59, "undecided")])
    def test_a_high_prediction_makes_up_for_shared_parts_and_equivariance(self, clean, prediction, verdict):
        worse = {"excess": sure(0.9), "deficit": sure(0.9), "equivariance": sure(-1.0)}
        assert result(clean._replace(prediction=sure(prediction), **worse)).verdict == verdict

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"prediction": sure(0.19)}, "predict"),
            ({"excess": sure(0.36)}, "common"),
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

    @pytest.mark.parametrize(("reliability", "verdict"), [(0.21, "supported"), (0.19, "undecided")])
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

    def test_a_class_that_disagrees_prevents_support(self, clean):
        classes = {0: Estimate(0.7, 0.05, 5), 3: Estimate(-0.3, 0.05, 3)}
        assert result(clean, by_class=classes).verdict == "undecided"
        assert result(clean, by_class=classes).scope == [0]
        assert result(clean, by_class={0: classes[0]}).verdict == "supported"

    def test_p_values_grow_with_comparisons(self, clean):
        few, many = (result(clean, comparisons=count) for count in (1, 1000))
        assert many.p_supported == pytest.approx(min(1, 1000 * few.p_supported))

    def test_the_unnoticed_share_is_the_exact_bound(self, clean):
        """None of 32 images disagrees: 1 - 0.05 ** (1 / 32)."""
        agreeing = clean._replace(agreement_of_images=torch.ones(32))
        assert result(agreeing).unnoticed_share == pytest.approx(1 - 0.05 ** (1 / 32))
        assert result(agreeing._replace(agreement_of_images=-torch.ones(32))).unnoticed_share == 1


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
        assert text.count("<img") == 2
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
