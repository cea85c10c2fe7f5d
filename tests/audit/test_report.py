"""What a report computes, says and draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from nets import Spotter, conv_net, images
from torch import nn

from captum_diffcam import CamMethod, LayerDiffGradCam
from captum_diffcam.audit import AuditReport, audit


@pytest.fixture(scope="module")
def report():
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.rand(12, 3, 28, 28, generator=generator)
    for index in range(12):
        row, column = torch.randint(0, 16, (2,), generator=generator).tolist()
        x[index, index % 3, row : row + 12, column : column + 12] += 0.8
    model = Spotter().eval()
    methods = [CamMethod(LayerGradCam), CamMethod(LayerDiffGradCam, reduction="max"), CamMethod(LayerDiffGradCam)]
    return audit(model, model.layer, x, target=[0, 1, 2] * 4, methods=methods, seed=0)


def with_p_values(report, **p_values):
    """The report with other p-values for its first of three methods, and two interim looks; all others are clear."""
    clear = {"p_excessive": 1.0, "p_static": 1.0, "p_not_excessive": 0.0, "p_equivariant": 0.0, "p_own_image": 0.0}
    evidence = {name: item._replace(**clear) for name, item in report.evidence.items()}
    first = next(iter(evidence))
    return replace(report, evidence=evidence | {first: evidence[first]._replace(**p_values)}, interim_looks=2)


class TestVerdict:
    @pytest.mark.parametrize(
        ("p_values", "p", "verdict"),
        [
            # Two tests of three methods at two interim looks: p-values are multiplied by twelve.
            ({"p_excessive": 0.004}, 0.048, "manipulated"),
            ({"p_excessive": 0.0045}, 0.054, "no sign of manipulation"),
            ({"p_static": 0.004}, 0.048, "manipulated"),
            ({"p_static": 0.0045}, 0.054, "no sign of manipulation"),
            ({"p_excessive": math.nan, "p_static": 0.001}, 0.012, "manipulated"),
            ({"p_excessive": 0.9, "p_static": 0.8}, 1.0, "no sign of manipulation"),
        ],
    )
    def test_manipulated(self, report, p_values, p, verdict):
        changed = with_p_values(report, **p_values)
        assert changed.p_manipulated == pytest.approx(p)
        assert changed.verdict == verdict
        assert changed.manipulated == (verdict == "manipulated")

    @pytest.mark.parametrize("test", ["p_not_excessive", "p_equivariant", "p_own_image"])
    @pytest.mark.parametrize(
        ("value", "p", "verdict"),
        # Every test of every method must be significant, so only the interim looks count.
        [
            (0.024, 0.048, "no sign of manipulation"),
            (0.026, 0.052, "undecided"),
            (0.7, 1.0, "undecided"),
            (math.nan, 1.0, "undecided"),
        ],
    )
    def test_no_sign(self, report, test, value, p, verdict):
        changed = with_p_values(report, **{test: value})
        assert changed.p_no_sign == pytest.approx(p)
        assert changed.verdict == verdict

    def test_alpha_is_the_level(self, report):
        assert replace(with_p_values(report, p_static=0.004), alpha=0.047).verdict == "no sign of manipulation"
        assert replace(with_p_values(report, p_own_image=0.026), alpha=0.053).verdict == "no sign of manipulation"

    @pytest.mark.parametrize(("confidence", "verdict"), [(1.38, "undecided"), (1.39, "manipulated")])
    def test_confidence_must_be_log_4(self, report, confidence, verdict):
        changed = replace(with_p_values(report, p_static=0.0), confidence=confidence)
        assert changed.verdict == verdict
        assert changed.decidable == (verdict == "manipulated")

    @pytest.mark.parametrize(("count", "verdict"), [(7, "undecided"), (8, "manipulated")])
    def test_eight_images_are_needed(self, report, count, verdict):
        changed = replace(with_p_values(report, p_static=0.0), images=report.images[:count])
        assert changed.verdict == verdict

    def test_no_method(self, report):
        changed = replace(report, evidence={}, maps={})
        assert (changed.p_manipulated, changed.p_no_sign, changed.verdict) == (1.0, 1.0, "undecided")


class TestMeasures:
    def test_agreement_and_disagreement(self, report):
        flat = [maps.flatten(1).numpy() for maps in (report.occlusion_maps, *report.maps.values())]
        for index in range(len(report.images)):
            table = np.corrcoef([maps[index] for maps in flat])
            assert [r[index].item() for r in report.agreement.values()] == pytest.approx(table[0, 1:], abs=1e-5)
            assert report.disagreement[index].item() == pytest.approx(1 - table[1:, 1:].min(), abs=1e-5)

    def test_one_method_does_not_disagree(self, report):
        name, maps = next(iter(report.maps.items()))
        assert replace(report, maps={name: maps}).disagreement.tolist() == [0] * len(report.images)

    def test_suspicion_is_that_of_the_most_suspicious_method(self, report):
        evidence = dict(report.evidence)
        name, second = list(evidence.items())[1]
        changed = replace(report, evidence=evidence | {name: second._replace(equivariance=-1.5)})
        assert changed.suspicion == pytest.approx(second.excess.value + 1.5)
        assert changed.suspicion > report.suspicion

    def test_methods_without_measurements_are_left_out(self, report):
        for name, item in report.evidence.items():
            unknown = item.excess._replace(value=math.nan, reliability=math.nan)
            changed = replace(report, evidence=report.evidence | {name: item._replace(excess=unknown)})
            others = [other.excess.value - other.equivariance for key, other in report.evidence.items() if key != name]
            assert changed.suspicion == max(others)
            assert changed.reliability == report.reliability
        empty = replace(report, evidence={})
        assert math.isnan(empty.suspicion)
        assert math.isnan(empty.reliability)


class TestText:
    def test_without_evidence(self, report):
        for images_, evidence in ((report.images, {}), (report.images[:4], {}), (report.images[:0], {})):
            text = str(replace(report, images=images_, evidence=evidence))
            assert text.startswith("undecided")

    def test_verdict_p_value_and_a_line_for_each_method(self, report):
        lines = str(report).splitlines()
        assert lines[0].startswith("no sign of manipulation (p = ")
        assert [line.split("  ")[0] for line in lines[-3:]] == list(report.evidence)
        for line, item in zip(lines[-3:], report.evidence.values(), strict=True):
            assert f"{item.excess.value:.2f}" in line
            assert f"{item.equivariance:.2f}" in line

    def test_the_p_value_is_that_of_the_verdict(self, report):
        changed = with_p_values(report, p_static=0.003, p_own_image=0.4)
        assert str(changed).startswith("manipulated (p = 0.036)")
        assert str(with_p_values(report, p_own_image=0.02)).startswith("no sign of manipulation (p = 0.04)")

    @pytest.mark.parametrize("test", ["p_excessive", "p_static"])
    def test_the_reason_names_the_methods_that_are_accused(self, report, test):
        changed = with_p_values(report, **{test: 0.004})
        accused, *others = report.evidence
        assert accused in changed.reason
        assert not any(name in changed.reason for name in others)

    @pytest.mark.parametrize(("test", "other"), [("p_excessive", "p_static"), ("p_static", "p_excessive")])
    def test_the_reason_names_only_significant_tests(self, report, test, other):
        one, barely_one, two = (with_p_values(report, **{test: 0.0, other: p}).reason for p in (1.0, 0.0045, 0.004))
        assert one == barely_one != two

    def test_reasons_differ(self, report):
        unreliable = {
            name: item._replace(excess=item.excess._replace(reliability=0.02), p_not_excessive=math.nan)
            for name, item in report.evidence.items()
        }
        name, maps = next(iter(report.maps.items()))
        undecided = with_p_values(report, p_own_image=0.5)
        reports = [
            report,
            with_p_values(report, p_static=0.0),
            undecided,
            replace(undecided, confidence=1.0),
            replace(undecided, images=report.images[:4]),
            replace(undecided, evidence=unreliable),
            replace(undecided, maps={name: maps * math.nan}),
        ]
        assert len({each.reason for each in reports}) == len(reports)
        assert "0.02" in reports[-2].reason
        assert name in reports[-1].reason

    def test_maps_that_are_not_finite_are_undecided(self, spots):
        """Infinity times zero behind the layer leaves every prediction as it is."""

        class Nan(nn.Module):
            def forward(self, a):
                return a + 0 * (a - a.detach()).abs().sqrt()

        model = Spotter().eval()
        model.pool = nn.Sequential(Nan(), model.pool)
        with pytest.warns(UserWarning, match="finite"):
            report = audit(model, model.layer, spots)
        assert report.verdict == "undecided"
        assert all(name in report.reason for name in report.maps)


class TestFigure:
    @pytest.mark.parametrize("count", [1, 20])
    def test_the_images_that_agree_least(self, report, count, tmp_path):
        figure = report.figure(count)
        *axes, _ = figure.axes  # the last one is the colour scale
        assert len(axes) == min(count, len(report.images)) * 5
        lowest = torch.stack(list(report.agreement.values())).amin(dim=0)
        for row, worst in zip(range(0, len(axes), 5), lowest.argsort().tolist(), strict=False):
            titles = [ax.get_title().splitlines() for ax in axes[row : row + 5]]
            assert titles[0][-1] == f"class {worst % 3}"
            assert [title[-1] for title in titles[2:]] == [f"r = {r[worst]:.2f}" for r in report.agreement.values()]
        assert axes[0].get_title().startswith("no sign of manipulation")
        figure.savefig(tmp_path / "report.png")

    def test_images_with_many_channels(self, report):
        assert replace(report, images=report.images.repeat(1, 2, 1, 1)).figure(1).axes

    def test_maps_of_one_dimension(self):
        report = audit(net := conv_net(dims=1), net.features, images(dims=1, size=12))
        with pytest.raises(ValueError, match="maps"):
            report.figure()

    def test_nothing_to_draw(self, report):
        with pytest.raises(ValueError, match="maps"):
            replace(report, maps={}, evidence={}).figure()
        with pytest.raises(ValueError, match="count"):
            report.figure(0)


def test_a_report_by_hand():
    maps = torch.rand(9, 4, 4)
    report = AuditReport(
        images=torch.rand(9, 3, 8, 8),
        target=torch.zeros(9),
        occlusion_maps=maps,
        maps={"a map": maps},
        evidence={},
        confidence=9.0,
        alpha=0.05,
        interim_looks=1,
        total_images=9,
        forwards_per_image=19.0,
        seed=0,
    )
    assert report.agreement["a map"].tolist() == pytest.approx([1.0] * 9)
    assert report.verdict == "undecided"
