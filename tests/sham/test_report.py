"""What a report computes and draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from nets import Spotter, conv_net, images
from torch import nn

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.sham import CamMethod, audit, occlusion_witness


def test_what_the_report_computes(spots):
    model = Spotter().eval()
    methods = [CamMethod(LayerGradCam), CamMethod(LayerDiffGradCam, reduction="max")]
    report = audit(model, model.layer, spots, target=[0, 1, 2] * 4, methods=methods, threshold=0.05)
    maps = [method.maps(model, model.layer, spots, report.target) for method in methods]
    witness = occlusion_witness(model, spots, report.target, (7, 7))
    torch.testing.assert_close(report.witness, witness)
    for index in range(12):
        a, b, w = (each[index].numpy().ravel() for each in (*maps, witness))
        agreement = [np.corrcoef(m, w)[0, 1] for m in (a, b)]
        assert [value[index].item() for value in report.agreement.values()] == pytest.approx(agreement, abs=1e-5)
        assert report.scores[index].item() == pytest.approx(1 - min(agreement), abs=1e-5)
        assert report.disagreement[index].item() == pytest.approx(1 - np.corrcoef(a, b)[0, 1], abs=1e-5)
    assert report.score == pytest.approx(report.scores.mean().item())
    assert torch.equal(report.suspicious, report.scores > 0.05)
    assert report.manipulated == (report.score > 0.05)


def test_disagreement_of_three(spots):
    model = Spotter().eval()
    methods = [CamMethod(LayerGradCam), CamMethod(LayerDiffGradCam), CamMethod(LayerDiffGradCam, contrast=[2])]
    report = audit(model, model.layer, spots, target=0, methods=methods)
    for index in range(12):
        flat = [each[index].numpy().ravel() for each in report.maps.values()]
        assert report.disagreement[index].item() == pytest.approx(1 - np.corrcoef(flat).min(), abs=1e-5)


def test_maps_that_are_no_numbers_do_not_pass(spots):
    """A gradient of infinity times zero behind the layer leaves every decision as it is."""

    class Nan(nn.Module):
        def forward(self, a):
            return a + 0 * (a - a.detach()).abs().sqrt()

    model = Spotter().eval()
    model.pool = nn.Sequential(Nan(), model.pool)
    report = audit(model, model.layer, spots)
    assert report.manipulated
    assert report.score == 2


@pytest.mark.parametrize("count", [1, 20])
def test_the_figure(spots, count, tmp_path):
    model = Spotter().eval()
    report = audit(model, model.layer, spots)
    figure = report.figure(count)
    assert len(figure.axes) == min(count, 12) * 5
    worst = report.scores.argmax().item()
    assert figure.axes[0].get_ylabel() == f"class {worst % 3}\nscore {report.scores[worst]:.2f}"
    figure.savefig(tmp_path / "report.png")


def test_a_figure_of_what_cannot_be_drawn():
    report = audit(net := conv_net(dims=1), net.features, images(dims=1, size=12))
    with pytest.raises(ValueError, match="count: got 4 for maps of 1 dimensions"):
        report.figure()
