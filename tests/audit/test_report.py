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
from captum_diffcam.audit import audit
from captum_diffcam.figures import SIGNED


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


def with_p(report, **values):
    """The same with other p-values of its first method, all other methods being beyond doubt."""
    honest = {"p_excessive": 1.0, "p_stays": 1.0, "p_moderate": 0.0, "p_moves": 0.0, "p_own": 0.0}
    evidence = {name: each._replace(**honest) for name, each in report.evidence.items()}
    first = next(iter(evidence))
    return replace(report, evidence=evidence | {first: evidence[first]._replace(**values)}, looks=2)


def test_a_map_that_is_no_number_hides_no_suspicion(report):
    names = list(report.evidence)
    for unknown in names:
        nothing = report.evidence[unknown].excess._replace(value=math.nan, reliability=math.nan)
        evidence = report.evidence | {unknown: report.evidence[unknown]._replace(excess=nothing)}
        changed = replace(report, evidence=evidence)
        known = [each.excess.value - each.moves for name, each in evidence.items() if name != unknown]
        assert changed.suspicion == max(known)
        assert changed.reliability == report.reliability


def test_how_maps_agree(report):
    flat = [each.flatten(1).numpy() for each in (report.witness, *report.maps.values())]
    for index in range(len(report.images)):
        table = np.corrcoef([each[index] for each in flat])
        assert [each[index].item() for each in report.agreement.values()] == pytest.approx(table[0, 1:], abs=1e-5)
        assert report.disagreement[index].item() == pytest.approx(1 - table[1:, 1:].min(), abs=1e-5)


@pytest.mark.parametrize(
    ("values", "p", "verdict"),
    [
        # Two tests of three maps at two looks: twelve chances to accuse somebody who is honest.
        ({"p_excessive": 0.004}, 0.048, "manipulated"),
        ({"p_excessive": 0.0045}, 0.054, "no sign of manipulation"),
        ({"p_stays": 0.004}, 0.048, "manipulated"),
        ({"p_excessive": math.nan, "p_stays": 0.001}, 0.012, "manipulated"),
    ],
)
def test_who_is_accused(report, values, p, verdict):
    changed = with_p(report, **values)
    assert changed.p_manipulated == pytest.approx(p)
    assert changed.verdict == verdict


@pytest.mark.parametrize("test", ["p_moderate", "p_moves", "p_own"])
@pytest.mark.parametrize(
    ("value", "p", "verdict"),
    [(0.024, 0.048, "no sign of manipulation"), (0.026, 0.052, "undecided"), (math.nan, 1.0, "undecided")],
)
def test_who_is_cleared(report, test, value, p, verdict):
    changed = with_p(report, **{test: value})
    assert changed.p_no_sign == pytest.approx(p)
    assert changed.verdict == verdict


def test_an_unsure_model_is_undecided(report):
    changed = replace(with_p(report, p_stays=0.0), sureness=1.3)
    assert changed.verdict == "undecided"
    assert "hardly surer of these classes than a guess" in str(changed)


def test_suspicion_is_that_of_the_worst_map(report):
    evidence = dict(report.evidence)
    name, worst = list(evidence.items())[1]
    changed = replace(report, evidence=evidence | {name: worst._replace(moves=-1.5)})
    assert changed.suspicion == pytest.approx(worst.excess.value + 1.5)
    assert changed.suspicion > report.suspicion


def test_what_would_decide_it(report):
    name, first = next(iter(report.evidence.items()))
    weak = first._replace(moves=0.1, moves_error=0.1, p_moves=0.2)
    undecided = replace(report, evidence=report.evidence | {name: weak}, looks=1)
    # Ninety-five per cent of Student's t, squared, times as many images, in eights.
    count = 8 * math.ceil(first.images * 1.796**2 / 8)
    assert undecided.reason.endswith(f"about {count} images would do, if they are like these {report.given}")
    hopeless = replace(undecided, evidence=report.evidence | {name: weak._replace(moves=0.001)})
    assert hopeless.reason.endswith("more images of this kind would hardly decide it")


def test_a_witness_that_is_not_reliable_says_so(report):
    evidence = {
        name: each._replace(excess=each.excess._replace(reliability=0.02), p_moderate=math.nan)
        for name, each in report.evidence.items()
    }
    assert "the witness does not agree with itself (reliability 0.02)" in replace(report, evidence=evidence).reason


def test_maps_that_are_no_numbers_are_undecided(spots):
    """A gradient of infinity times zero behind the layer leaves every decision as it is."""

    class Nan(nn.Module):
        def forward(self, a):
            return a + 0 * (a - a.detach()).abs().sqrt()

    model = Spotter().eval()
    model.pool = nn.Sequential(Nan(), model.pool)
    report = audit(model, model.layer, spots)
    assert report.verdict == "undecided"
    assert "LayerGradCam(), LayerDiffGradCam(), " in report.reason
    assert report.reason.endswith("there are maps that are no numbers")


@pytest.mark.parametrize("count", [1, 20])
def test_the_figure(report, count, tmp_path):
    figure = report.figure(count)
    *axes, scale = figure.axes
    assert [text.get_text() for text in scale.texts] == list(SIGNED)
    assert len(axes) == min(count, len(report.images)) * 5
    lowest = torch.stack(list(report.agreement.values())).amin(dim=0)
    for row, worst in zip(range(0, len(axes), 5), lowest.argsort().tolist(), strict=False):
        above = [ax.get_title() for ax in axes[row : row + 5]]
        assert above[0].splitlines()[-1] == f"class {worst % 3}"
        assert [text.splitlines()[-1] for text in above[2:]] == [
            f"r = {r[worst]:.2f}" for r in report.agreement.values()
        ]
    assert axes[0].get_title().startswith("no sign of manipulation\n")
    assert axes[1].get_title().strip() == "witness"
    figure.savefig(tmp_path / "report.png")


def test_a_figure_of_what_cannot_be_drawn():
    report = audit(net := conv_net(dims=1), net.features, images(dims=1, size=12))
    with pytest.raises(ValueError, match="count: got 4 for maps of 1 dimensions"):
        report.figure()
